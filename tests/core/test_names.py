"""Names are accepted wherever objects are, of one network and of an ensemble alike; engines take providers and threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import Ensemble, ExpressionClassifier, FaceDetector, InputError, Pipeline, WeightsError, list_weights
from ferkit.cli.main import main
from ferkit.engines.threads import available_cpus, cpu_quota, requested_threads, thread_count
from ferkit.train import evaluate
from ferkit.weights.store import bundled_folder

CROPS = np.random.default_rng(0).integers(0, 255, (5, 48, 48)).astype(np.uint8)
RELEASES = [release for release in list_weights() if release.kind != "detector"]
ENSEMBLE = next(release.name for release in RELEASES if release.kind == "ensemble")


@pytest.mark.parametrize("name", [release.name for release in RELEASES])
def test_a_name_of_either_kind_opens_anywhere(name: str, photo: Path) -> None:
    classifier = ExpressionClassifier(name)
    assert classifier.name == name
    pipeline = Pipeline("ferkit", name)
    assert pipeline.classifier.name == name
    assert isinstance(pipeline.detector, FaceDetector)
    face = pipeline(photo)[0]
    assert face.expression is not None
    assert (face.expression.disagreement is not None) == (name == ENSEMBLE)
    assert sum(face.expression.probabilities.values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("options", [{}, {"labels": "ferplus"}, {"labels": ("happy", "sad")}, {"tta": "flip"}])
def test_an_ensemble_through_a_classifier_is_the_ensemble(options: dict[str, object]) -> None:
    ensemble, classifier = Ensemble.from_pretrained(ENSEMBLE, **options), ExpressionClassifier(ENSEMBLE, **options)  # type: ignore[arg-type]
    assert np.array_equal(classifier.predict_proba(CROPS), ensemble.predict_proba(CROPS))
    assert [e.disagreement for e in classifier.predict(CROPS)] == [e.disagreement for e in ensemble.predict(CROPS)]
    assert np.array_equal(classifier.prepare(CROPS), ensemble.prepare(CROPS))
    assert (classifier.labels, classifier.crop, classifier.tta) == (ensemble.labels, ensemble.crop, ensemble.tta)
    assert [m.name for m in classifier.members] == [m.name for m in ensemble.members]
    assert classifier.columns == classifier.logits(CROPS).shape[2]


def test_an_ensemble_abstains_and_names_its_lack_of_one_spec() -> None:
    unsure = ExpressionClassifier(ENSEMBLE, min_confidence=1.0).predict(CROPS)
    assert {e.label for e in unsure} == {None}
    with pytest.raises(WeightsError, match="take one of fer2013-"):
        ExpressionClassifier(ENSEMBLE).spec  # noqa: B018
    one = ExpressionClassifier("fer2013-n-v6")
    assert one.members == (one,)


def test_an_ensemble_of_names() -> None:
    named = Ensemble(["fer2013-n-v6", "fer2013-s-v6"])
    opened = Ensemble([ExpressionClassifier("fer2013-n-v6"), ExpressionClassifier("fer2013-s-v6")])
    assert np.array_equal(named.predict_proba(CROPS), opened.predict_proba(CROPS))
    nested = Ensemble([ENSEMBLE, "fer2013-n-v6"])
    assert nested.predict_proba(CROPS).shape == (5, 7)


def test_evaluate_takes_names(faces_folder: Path) -> None:
    by_name = evaluate("fer2013-n-v6", faces_folder, split="PublicTest", detector="none")
    assert by_name == evaluate(ExpressionClassifier("fer2013-n-v6"), faces_folder, split="PublicTest", detector=FaceDetector("none"))


@pytest.fixture
def faces_folder(tmp_path: Path) -> Path:
    from PIL import Image

    for label in ("happy", "sad"):
        (tmp_path / label).mkdir()
        for number in range(3):
            Image.fromarray(CROPS[number] if label == "sad" else 255 - CROPS[number]).save(tmp_path / label / f"{number}.png")
    return tmp_path


def test_unknown_names_say_what_is_known() -> None:
    with pytest.raises(InputError, match="expected one of ferkit"):
        Pipeline("nobody")
    with pytest.raises(WeightsError, match="fer2013-s-v6"):
        Pipeline("none", "fer2099")


def test_the_names_of_weights_list_open_detectors(astronaut: np.ndarray) -> None:
    found = FaceDetector("ferkit-face-v4")
    assert (repr(found), found.detect(astronaut)) == ("FaceDetector('ferkit')", FaceDetector().detect(astronaut))
    assert Pipeline("ferkit-face-v4", "fer2013-n-v6").detector.name == "ferkit"


@pytest.mark.parametrize("members", ["fer2013-ensemble-v6", bundled_folder() / "fer2013-ensemble-v6", ["fer2013-ensemble-v6"]])
def test_an_ensemble_of_one_name(members: Any) -> None:
    one = ExpressionClassifier("fer2013-ensemble-v6")
    for made in (Ensemble(members), Ensemble(one)):
        np.testing.assert_allclose(made.predict_proba(CROPS), one.predict_proba(CROPS), atol=1e-6)


@pytest.mark.parametrize("thing", [3, b"fer2013-n-v6", ["fer2013-n-v6", "fer2013-s-v6"], object(), {"a": 1}])
def test_what_is_neither_name_nor_object_is_refused_at_once(thing: Any) -> None:
    with pytest.raises(InputError, match="not a classifier: it lacks"):
        Pipeline("none", thing)
    with pytest.raises(InputError, match="not a detector: it lacks detect_rgb"):
        Pipeline(thing)
    with pytest.raises(InputError, match="does not name weights"):
        ExpressionClassifier(thing)


@pytest.mark.parametrize("value", ["0.5", True, float("nan"), -0.1, 1.01, [0.5]])
def test_thresholds_that_are_none(value: Any) -> None:
    for make in (
        lambda: ExpressionClassifier("fer2013-n-v6", min_confidence=value),
        lambda: ExpressionClassifier("fer2013-ensemble-v6", min_confidence=value),
        lambda: Ensemble(["fer2013-n-v6"], min_confidence=value),
        lambda: FaceDetector(min_score=value),
    ):
        with pytest.raises(InputError, match="from 0 to 1"):
            make()
    assert ExpressionClassifier("fer2013-n-v6", min_confidence=np.float32(0.5)) is not None


@pytest.mark.parametrize("names", [["cpu"], ["CPUExecutionProvider"], "cpu", ("CPU",)])
def test_providers_by_any_of_their_names(names: object) -> None:
    pytest.importorskip("onnxruntime")
    classifier = ExpressionClassifier("fer2013-n-v6", runtime="onnxruntime", providers=names, threads=1)  # type: ignore[arg-type]
    assert np.allclose(classifier.predict_proba(CROPS), ExpressionClassifier("fer2013-n-v6").predict_proba(CROPS), atol=1e-4)
    both = ExpressionClassifier(ENSEMBLE, runtime="onnxruntime", providers=names)  # type: ignore[arg-type]
    assert both.predict_proba(CROPS).shape == (5, 7)


@pytest.mark.parametrize("names", [["tpu"], ["cpu", "QuantumExecutionProvider"], []])
def test_unknown_providers_are_an_error_that_lists_the_known(names: list[str]) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="CPUExecutionProvider"):
        ExpressionClassifier("fer2013-n-v6", runtime="onnxruntime", providers=names)
    answer = CliRunner().invoke(main, ["predict", "x.jpg", "--runtime", "onnxruntime", *(f"--provider={n}" for n in names or ["npu"])])
    assert answer.exit_code == 2
    assert "CPUExecutionProvider" in answer.output


def test_a_provider_that_does_not_start_is_never_replaced_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])

    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(InputError, match="CUDAExecutionProvider cannot be started"):
        ExpressionClassifier("fer2013-n-v6", runtime="onnxruntime", providers=["cuda", "cpu"])


def test_providers_are_onnxruntimes() -> None:
    with pytest.raises(InputError, match=r'runtime="onnxruntime"'):
        ExpressionClassifier("fer2013-n-v6", providers=["cpu"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", 10**6])
@pytest.mark.parametrize("runtime", ["opencv", "onnxruntime"])
def test_threads_out_of_range(threads: object, runtime: str) -> None:
    with pytest.raises(InputError, match="threads="):
        ExpressionClassifier("fer2013-n-v6", runtime=runtime, threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1000000"])
def test_the_variable_out_of_range(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERKIT_THREADS", value)
    with pytest.raises(InputError, match="FERKIT_THREADS="):
        thread_count()


def test_the_variable_and_what_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FERKIT_THREADS", raising=False)
    assert requested_threads() is None
    assert 1 <= thread_count() <= (os.cpu_count() or 1)
    monkeypatch.setenv("FERKIT_THREADS", "7")
    assert (thread_count(), thread_count(3)) == (7, 3)
    monkeypatch.setenv("FERKIT_THREADS", " ")
    assert requested_threads() is None


def in_a_process(code: str, **environment: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_opencvs_threads() -> None:
    code = "import cv2; from ferkit import *; FaceDetector(); print(cv2.getNumThreads()); cv2.setNumThreads(5); ExpressionClassifier()"
    code += "; print(cv2.getNumThreads()); ExpressionClassifier(threads=3); print(cv2.getNumThreads())"
    assert in_a_process(code, FERKIT_THREADS="1") == ["1", "5", "3"]  # what the program sets later stays, until it asks here
    assert int(in_a_process(code, FERKIT_THREADS="")[0]) <= available_cpus()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_cpus_that_a_process_may_run_on() -> None:
    code = "import os; os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[0]]); import cv2; cv2.setNumThreads(4)"
    code += (
        "; from ferkit import *; FaceDetector(); print(cv2.getNumThreads()); from ferkit.engines.threads import *; print(thread_count())"
    )
    assert in_a_process(code, FERKIT_THREADS="") == ["1", "1"]


def test_onnxruntimes_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    seen: list[int] = []
    real = onnxruntime.InferenceSession

    def spy(model: bytes, options: object, **rest: object) -> object:
        seen.append(options.intra_op_num_threads)  # type: ignore[attr-defined]
        return real(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setenv("FERKIT_THREADS", "2")
    ExpressionClassifier("fer2013-n-v6", runtime="onnxruntime")
    ExpressionClassifier("fer2013-n-v6", runtime="onnxruntime", threads=1)
    monkeypatch.delenv("FERKIT_THREADS")
    monkeypatch.setattr("ferkit.engines.onnxruntime.thread_count", lambda threads=None: threads or 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)  # a container's share of a large machine
    ExpressionClassifier("fer2013-n-v6", runtime="onnxruntime")
    assert seen == [2, 1, 1]


def group(root: Path, path: str, **files: str) -> None:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text + "\n")


@pytest.mark.parametrize(
    ("membership", "groups", "expected"),
    [
        ("0::/", {"": {"cpu_max": "150000 100000"}}, 1.5),  # a container, version 2
        ("0::/", {"": {"cpu_max": "max 100000"}}, None),
        ("0::/a/b", {"a": {"cpu_max": "200000 100000"}, "a/b": {"cpu_max": "max 100000"}}, 2.0),  # a group above limits too
        ("0::/a/b", {"a": {"cpu_max": "200000 100000"}, "a/b": {"cpu_max": "50000 100000"}}, 0.5),
        ("4:cpu,cpuacct:/", {"cpu,cpuacct": {"cpu_cfs_quota_us": "300000", "cpu_cfs_period_us": "100000"}}, 3.0),  # version 1
        ("1:cpu:/s", {"cpu/s": {"cpu_cfs_quota_us": "25000", "cpu_cfs_period_us": "50000"}}, 0.5),
        ("1:cpu:/gone", {"cpu": {"cpu_cfs_quota_us": "100000", "cpu_cfs_period_us": "100000"}}, 1.0),  # the host's path, not ours
        ("1:cpu:/", {"cpu": {"cpu_cfs_quota_us": "-1", "cpu_cfs_period_us": "100000"}}, None),
        ("2:memory:/x\n0::/", {"memory/x": {"cpu_max": "1 1"}}, None),
        ("nonsense", {"": {"cpu_max": "much"}}, None),
    ],
)
def test_quotas_of_control_groups(
    membership: str, groups: dict[str, dict[str, str]], expected: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, files in groups.items():
        group(tmp_path / "cgroup", path, **files)
    (tmp_path / "membership").write_text(membership + "\n")
    found = cpu_quota(tmp_path / "cgroup", tmp_path / "membership")
    assert found == expected
    monkeypatch.setattr("ferkit.engines.threads.cpu_quota", lambda: found)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cpus() == (8 if expected is None else max(1, -int(-expected // 1)))


def test_no_groups_at_all(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path / "neither") is None
