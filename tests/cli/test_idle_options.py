"""Options that would do nothing beside others are refused by name, instead of being ignored without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import ferkit

TRAIN = "train --recipe ferkit-n --data faces.csv"


@pytest.mark.parametrize(
    ("line", "idle"),
    [
        (f"{TRAIN} --find-lr --resume --log-to tensorboard --max-failures 1", "--log-to, --resume, --max-failures"),
        (f"{TRAIN} --find-lr --ferplus fer2013new.csv --photos photos", "--ferplus, --photos"),
        (f"{TRAIN} --out runs/a --max-failures 5", "--max-failures"),
        ("batch out --status --workers 3 --no-landmarks --detector none", "--detector, --landmarks, --workers"),
        ("batch out --verify --kind video --metrics-file a.prom --steal", "--kind, --steal, --metrics-file"),
        ("batch out --verify --status", "--verify"),
        ("export --web page --onnxruntime-web ort --out files", "--out"),
        ("export --web page --onnxruntime-web ort --check --labels ferplus", "--labels, --check"),
        ("export --web page --onnxruntime-web ort --precision int8 --format onnx", "--format, --precision"),
        ("finetune --data faces --out w-v1 --val other --holdout 0.3", "--holdout"),
        ("finetune --data faces --out w-v1 --folds 5 --holdout 0.3", "--holdout"),
        ("evaluate --data faces --mean 0.5 --std 0.5", "--mean, --std"),
        ("evaluate --data faces --weights fer2013-n-v6 --input-size 64", "--input-size"),
        ("evaluate --data faces --weights model.onnx --labels a,b --runtime opencv", "--runtime"),
        ("ensemble fer2013-n-v6 fer2013-s-v6 --out e-v1 --detector yunet", "--detector"),
        ("video film.mp4 --blur-faces --table rows.csv", "--blur-faces"),
        ("video film.mp4 --features -o copy.mp4", "--features"),
        ("webcam --features", "--features"),
    ],
)
def test_an_idle_option_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, idle: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = ferkit(*line.split())
    assert done.exit_code == 2, done.output
    assert f": {idle} would do nothing; leave out one or the other." in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir()), "and before anything is done"


def test_training_needs_a_folder_and_finding_a_rate_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = ferkit(*TRAIN.split())
    assert (missing.exit_code, "Missing option '--out'" in missing.stderr) == (2, True)
    for rest in ([], ["--out", "runs/a"]):  # which was demanded once
        tried = ferkit(*TRAIN.split(), "--find-lr", *rest)
        assert "faces.csv" in tried.stderr.splitlines()[-1], "the data are looked for"
        assert "trying learning rates of ferkit-n" in tried.stderr


def test_names_of_labels_need_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = ferkit(*["ensemble", "fer2013-n-v6", "fer2013-s-v6", "--out", "e-v1", "--labels", "1=surprise"])
    assert (done.exit_code, "--labels OLD=NEW needs --data" in done.stderr) == (2, True)
