"""Fine-tuning, from its parts to the command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import DataError, ExpressionClassifier, FaceDetector, InputError
from ferkit.cli.main import main
from ferkit.train.finetuning.linear_head import Choice, Head, Lesson, choose_head, fit_head
from ferkit.train.finetuning.records import About, Finetuned
from ferkit.train.finetuning.splitting import Table, check_parts, deal, gather, hold_out, list_parts
from ferkit.weights.records import MetricRow, Training
from ferkit.weights.releases import DEFAULT_WEIGHTS
from tests.helpers.faces import picture, write_faces
from tests.helpers.records import mismatches
from tests.helpers.training import needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def whole() -> tuple[ExpressionClassifier, FaceDetector]:
    return ExpressionClassifier(), FaceDetector("none")


def gathered(data: Path, whole: tuple[ExpressionClassifier, FaceDetector], seed: int = 0, **options: Any) -> Table:
    parts = list_parts(data, **options)
    check_parts(parts)
    return gather(parts, *whole, 0.2, seed)


def test_groups_never_straddle_the_split() -> None:
    rng = np.random.default_rng(0)
    truth = np.sort(rng.integers(0, 4, 200))
    group = truth * 100 + rng.integers(0, 15, 200)
    held = hold_out(truth, group, 0.2)
    assert not set(group[held]) & set(group[~held])
    for label in range(4):
        assert 0.15 <= held[truth == label].mean() <= 0.4
    folds = deal(truth, group, 5)
    assert all(len(set(folds[group == g])) == 1 for g in set(group))
    assert set(np.bincount(folds) // 10) <= {3, 4, 5}
    tiny = hold_out(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 2, 2]), 0.5)
    assert tiny.tolist() == [True, False, False, False, False]  # label 1 is one group: nothing is held out


@needs_keras
def test_the_head_agrees_with_scikit_learn() -> None:
    """Without a start, and with equal classes, it is the logistic regression that everybody knows."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 40)
    x = rng.normal(size=(120, 6)) + np.eye(3)[truth] @ rng.normal(size=(3, 6))
    blank = Head(np.zeros((6, 3)), np.zeros(3))
    lesson = Lesson(x[None].astype(np.float32), truth, np.arange(120))
    ours = fit_head(lesson, blank, 1.0)
    scaled = (x - x.mean(axis=0)) / ((x.std(axis=0) + 0.05) * np.sqrt(6))
    known = linear_model.LogisticRegression(C=1.0, max_iter=1000).fit(scaled, truth)

    def probabilities(scores: np.ndarray) -> np.ndarray:
        exp = np.exp(scores - scores.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)

    # Ours shrinks the biases a little; at equal classes that moves a probability by less than a hundredth.
    assert np.abs(probabilities(ours(x)) - known.predict_proba(scaled)).max() < 0.01
    # A strong penalty leaves a start where it is, a weak one moves it.
    start = Head(rng.normal(size=(6, 3)), np.zeros(3))
    assert np.abs(fit_head(lesson, start, 1e6).kernel - start.kernel).max() < 1e-3
    choice = choose_head(lesson, {"blank": blank, "wrong": start})
    assert choice.accuracy == pytest.approx((choice.logits.argmax(axis=1) == truth).mean())
    assert choice.accuracy > 0.6


def test_gather_is_a_function_of_contents(tmp_path: Path, whole: tuple[ExpressionClassifier, FaceDetector]) -> None:
    first = gathered(write_faces(tmp_path / "a", ("b", "a", "happiness"), 10), whole)
    assert first.labels.classes == ("happiness", "a", "b")
    assert len(first.held_out) == 6
    for file in (tmp_path / "a").rglob("*.png"):
        file.rename(file.with_name(f"z{99 - int(file.stem)}.png"))
    again = gathered(tmp_path / "a", whole)
    assert {f.tobytes() for f in first.held_out.images} == {f.tobytes() for f in again.held_out.images}
    other = gathered(tmp_path / "a", whole, 1)
    assert {f.tobytes() for f in first.held_out.images} != {f.tobytes() for f in other.held_out.images}


def test_a_given_test_folder_is_kept_apart(tmp_path: Path, whole: tuple[ExpressionClassifier, FaceDetector]) -> None:
    write_faces(tmp_path / "train", ("x", "y"), 6)
    write_faces(tmp_path / "test", ("x", "y"), 3, start=5)  # number 5 is in both
    table = gathered(tmp_path, whole)
    assert (len(table.training), len(table.held_out)) == (10, 6)
    assert sum("near copy" in reason for _, reason in table.skipped) == 2


def test_bad_folders_are_told(tmp_path: Path, whole: tuple[ExpressionClassifier, FaceDetector]) -> None:
    with pytest.raises(DataError, match="not a folder"):
        gathered(tmp_path / "none", whole)
    with pytest.raises(DataError, match="one folder per label"):
        gathered(tmp_path, whole)
    write_faces(tmp_path, ("x",), 3)
    with pytest.raises(DataError, match="at least two"):
        gathered(tmp_path, whole)
    write_faces(tmp_path, ("x", "y"), 3)
    (tmp_path / "empty").mkdir()
    write_faces(tmp_path, ("x", "y", "single"), 1)
    for number in (1, 2):
        (tmp_path / "single" / f"{number}.png").write_bytes((tmp_path / "single" / "0.png").read_bytes())
    (tmp_path / "x" / "bad.jpg").write_bytes(b"no picture")
    table = gathered(tmp_path, whole)
    assert table.labels.classes == ("x", "y")
    told = "\n".join(reason for _, reason in table.skipped)
    assert "empty: no images in this folder" in told
    assert "'single' is left out: 3 usable face(s), not two different ones" in told
    assert "bad.jpg: not an image" in told
    finder = FaceDetector()
    with pytest.raises(DataError, match=r"no usable face.*detector='none'"):
        gathered(tmp_path, (whole[0], finder))


@needs_keras
def test_a_backbone_shows_eighteen_different_views(whole: tuple[ExpressionClassifier, FaceDetector]) -> None:
    from ferkit.train.finetuning.backbone import Backbone, views_for

    faces = whole[0].prepare(np.stack([picture(kind, kind) for kind in range(2)]))
    backbone = Backbone(None, whole[0])
    views = backbone.features(faces)
    assert views.shape == (18, 2, backbone.head_inputs)
    apart = np.abs(views[:, None] - views[None]).max(axis=(2, 3)) + np.eye(18)
    assert apart.min() > 1e-3, "two views are the same"
    mirrored = backbone.features(np.ascontiguousarray(faces[:, :, ::-1]))
    assert np.abs(mirrored[0] - views[1]).max() < 1e-4  # the second view is the first one's mirror image
    assert np.abs(mirrored[1] - views[0]).max() < 1e-4
    assert np.abs(views[0] - whole[0].features(faces)).max() == 0  # by the engine that predicts
    many = [len(views_for(n)) for n in (1, 100, 333, 1000, 2000, 10_000)]
    assert many == [18, 18, 18, 8, 4, 2]


@needs_keras
@pytest.mark.slow
@pytest.mark.parametrize("unfreeze", [False, True])
def test_the_temperature_is_what_the_unseen_answers_ask_for(unfreeze: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head five times too sure of itself gets about five times the temperature; a network trained on by its own cross-validation."""
    from dataclasses import replace

    from ferkit.evaluation.calibration import fit_temperature
    from ferkit.train.finetuning import assembly, unfreezing

    wanted: list[float] = []

    def chosen(lesson: Lesson, *rest: Any) -> Choice:
        choice = choose_head(lesson, *rest)
        wanted.append(fit_temperature(5 * choice.logits, lesson.truth))
        return replace(choice, logits=5 * choice.logits)

    def judged(logits: np.ndarray, truth: np.ndarray) -> float:
        wanted.append(3.21)
        assert fit_temperature(logits, truth) > 0
        return wanted[-1]

    monkeypatch.setattr(assembly, "choose_head", chosen)
    monkeypatch.setattr(unfreezing, "fit_temperature", judged)
    monkeypatch.setattr(unfreezing, "STAGES", tuple(replace(stage, epochs=1) for stage in unfreezing.STAGES))
    monkeypatch.setattr(unfreezing, "_best", lambda *_: 1)  # the upper layers are kept
    data = write_faces(tmp_path / "data", ("zig", "zag"), 10)
    report = assembly.finetune(data, tmp_path / "out", detector=FaceDetector("none"), unfreeze=unfreeze)
    assert report["temperature"] == pytest.approx(wanted[-1], abs=1e-4)
    assert abs(report["temperature"] - 1) > 0.05
    assert ExpressionClassifier(tmp_path / "out").spec.outputs[0].temperature == report["temperature"]


@needs_keras
def test_a_bundle_whose_file_answers_otherwise_is_refused(
    tmp_path: Path, whole: tuple[ExpressionClassifier, FaceDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferkit import FerkitError
    from ferkit.labels import LabelSet
    from ferkit.train.finetuning import bundle
    from ferkit.train.finetuning.backbone import Backbone

    backbone = Backbone(None, whole[0])
    kernel = np.random.default_rng(0).normal(size=(backbone.head_inputs, 2))
    model, other = (backbone.with_head(Head(k, np.zeros(2)), "custom") for k in (kernel, 2 * kernel))
    about = About("a-v1", data="", source="", licence="", seed=0, faces=1, held_out=1, folds=None, persons=0)
    right = bundle.export_onnx
    monkeypatch.setattr(bundle, "export_onnx", lambda _model, *rest: right(other, *rest))
    with pytest.raises(FerkitError, match=r"Keras and ONNX differ by .* on 8 pictures"):
        bundle.write_bundle(tmp_path, model, backbone, LabelSet("custom", ("x", "y")), 1.0, 0.0, about)


@needs_keras
@pytest.mark.slow
def test_made_up_labels_end_to_end(tmp_path: Path) -> None:
    """Three labels that nobody has heard of: finetune, predict, evaluate with a report, fine-tune again, serve's classifier."""
    labels = ("zig", "zag", "zog")
    data = write_faces(tmp_path / "data", labels, 12)
    (data / "zig" / "broken.png").write_bytes(b"")
    out = tmp_path / "mine"
    command = ["finetune", "--data", str(data), "--out", str(out), "--detector", "none", "--format", "json", "--unfreeze"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1  # the broken picture
    assert "broken.png: empty" in done.stderr
    report = json.loads(done.stdout)
    assert report["weights"] == "mine-v1"
    assert report["held_out"]["n"] == 6
    assert report["held_out"]["accuracy"] >= 0.8  # a bar's place is easily seen
    assert report["before"] == {}
    assert report["paired"] is None
    assert report["start"] == "blank"
    assert not list(mismatches(report, Finetuned))
    assert list(report) == [
        "weights",
        "base",
        "labels",
        "data",
        "training",
        "held_out_faces",
        "persons",
        "start",
        "penalty",
        "cross_validation",
        "unfrozen",
        "temperature",
        "held_out",
        "folds",
        "before",
        "paired",
        "held_out_files",
        "publictest",
        "seconds",
        "skipped",
    ]
    assert {p.name for p in out.iterdir()} == {
        "model.onnx",
        "model.keras",
        "spec.json",
        "card.md",
        "golden.npz",
        "finetune.json",
        "learnt.json",
    }

    classifier = ExpressionClassifier(out)
    assert set(classifier.labels) == set(labels)
    assert classifier.spec.metrics[0]["n"] == 6
    with np.load(out / "golden.npz") as golden:
        assert np.abs(classifier.predict_proba(golden["images"]) - golden["probabilities"]).max() < 1e-5
    assert CliRunner().invoke(main, ["weights", "verify", str(out)]).exit_code == 0
    done = CliRunner().invoke(main, ["predict", str(data / "zog" / "0.png"), "--weights", str(out), "--detector", "none"])
    assert json.loads(done.stdout)[0]["faces"][0]["label"] == "zog"
    (data / "zig" / "broken.png").unlink()
    done = CliRunner().invoke(main, ["evaluate", "--data", str(data), "--weights", str(out), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["accuracy"] > 0.9

    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "already exists" in refused.stderr
    again = CliRunner().invoke(
        main, ["finetune", "--data", str(data), "--out", str(tmp_path / "b-v2"), "--detector", "none", "--weights", str(out)]
    )
    assert again.exit_code == 0, again.output
    assert "b-v2" in again.stdout
    assert "95 % interval" in again.stdout
    spec = ExpressionClassifier(tmp_path / "b-v2").spec
    assert not list(mismatches(json.loads(json.dumps(spec.metrics)), list[MetricRow]))
    assert not list(mismatches(spec.training, Training))
    assert not list(mismatches(json.loads((tmp_path / "b-v2" / "finetune.json").read_text(encoding="utf-8")), Finetuned))
    assert spec.training["base"]["name"] == "mine-v1"
    assert "before" in spec.metrics[0]  # the base answers these labels too


@needs_keras
@pytest.mark.slow
def test_other_names_of_known_labels_start_from_the_base(tmp_path: Path, small_csv: Path) -> None:
    from ferkit.train import finetune

    data = write_faces(tmp_path / "data", ("happiness", "sadness"), 8)
    report = finetune(data, tmp_path / "out", detector=FaceDetector("none"), publictest=small_csv)
    assert report["start"] in ("photos", "fer2013", "ferplus", "mixed")
    assert set(report["before"]) == {"photos", "fer2013", "ferplus", "mixed"}
    assert report["paired"]["before"] == max(report["before"].values())
    assert report["publictest"]["n"] == 4  # of twelve faces with seven labels
    assert f"Fine-tuned from `{DEFAULT_WEIGHTS}`" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


@needs_keras
def test_wrong_arguments(tmp_path: Path) -> None:
    from ferkit.train import finetune

    with pytest.raises(InputError, match=r"holdout = 0\.9; expected a number, at least 0\.05, at most 0\.5"):
        finetune(tmp_path, tmp_path / "out", holdout=0.9)
    with pytest.raises(DataError, match="one folder per label"):
        finetune(tmp_path, tmp_path / "out", detector=FaceDetector("none"))
    assert not (tmp_path / "out").exists()
