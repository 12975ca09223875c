"""Weights answer only what they were taught, cards say only what is so, and few faces are told as few."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ferkit import ExpressionClassifier, WeightsError
from ferkit.evaluation.figures import score, told
from ferkit.evaluation.measuring import Measurement
from ferkit.weights.specs import Output, WeightsSpec
from ferkit.weights.store import resolve
from tests.helpers.commands import ferkit
from tests.helpers.faces import write_faces
from tests.helpers.training import TINY, needs_keras

pytestmark = pytest.mark.train


def test_a_share_of_few_faces_is_a_count() -> None:
    assert told(1, 1) == "1 of 1 (95 % interval 21 % to 100 %)"
    assert told(19, 19).startswith("19 of 19 (")
    assert told(20, 20).startswith("100.0 % (95 % interval 83.9 % to 100.0 %, n = 20)")
    figures = score(np.eye(3, dtype=np.float32)[[0, 1, 1]], np.array([0, 1, 0]), ["a", "b", "c"])
    assert figures["per_label"]["a"]["right"] == 1
    assert figures["per_label"]["a"]["ci95"] == pytest.approx([0.0945, 0.9055], abs=1e-3)
    assert figures["per_label"]["c"]["ci95"] is None


def test_no_report_claims_a_hundred_percent_from_one_face(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from ferkit.evaluation.report import write_report

    p, truth = np.eye(2, dtype=np.float32)[[0, 1]], np.array([0, 1])
    head = {"weights": "w", "split": "s", "labels": "custom", "truth": "t", "tta": "none", "skipped": []}
    report = {**score(p, truth, ["happy", "sad"]), **head}
    measurement = Measurement(report, np.zeros((2, 48, 48), np.uint8), p, truth, ("ann/1.jpg", "ben/<2>.jpg"))
    page = write_report(measurement, tmp_path).read_text(encoding="utf-8")
    assert "1 of 1 (95 % interval 21 % to 100 %)" in page
    assert "<b>2 of 2</b>" in page
    assert "All 2 files" in page
    assert "ben/&lt;2&gt;.jpg" in page
    tables = page.split("</style>")[1].split("Confidence")[0]
    assert "100.0%" not in tables


@needs_keras
def test_labels_without_a_face_are_not_shipped(tmp_path: Path) -> None:
    """FER2013's head with two of its labels: the others had no target, and so have no answer."""
    from ferkit.train import train

    for place, split in enumerate(("train", "validation")):
        write_faces(tmp_path / "data" / split, ("Happiness", "sad"), 10, start=20 * place)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY.replace("epochs = 2", "epochs = 1"), encoding="utf-8")
    out = train(recipe, tmp_path / "data", tmp_path / "run-v1", detector="none")
    classifier = ExpressionClassifier(out)
    assert classifier.labels.classes == ("happy", "sad")
    assert classifier.columns == 7
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    assert classifier.predict_proba(faces).shape == (3, 2)
    assert set(classifier.spec.metrics[0]["per_label"]) == {"happy", "sad"}
    card = (out / "card.md").read_text(encoding="utf-8")
    for untrue in ("PublicTest", "PrivateTest", "fer2013new.csv", "small web pictures", "choose among recipes", "FER+"):
        assert untrue not in card.split("## Data and licences")[0].replace("--split PublicTest", ""), untrue
    assert "the validation part of data" in card
    assert "of 10 (95 % interval" in card
    done = ferkit("evaluate", "--data", tmp_path / "data", "--split", "Training", "--weights", out, "--detector", "none")
    assert done.exit_code == 0, done.output
    assert "learnt from 20 of these 20 faces" in done.stderr


def test_an_output_of_untaught_columns() -> None:
    pytest.importorskip("keras")
    from ferkit.train.classifier.release import only_taught

    fer = Output("a", ("x", "y", "z"), ((0, 1, 2),))
    both = Output("b", ("x", "y", "z"), ((0, 1, 2), (5, 4, 3)), (1.0, 1.0))
    one, two = only_taught((fer, both), np.array([True, True, False, False, True, True]))
    assert (one.labels, one.columns) == (("x", "y"), ((0, 1),))
    assert (two.labels, two.columns) == (("x", "y"), ((0, 1), (5, 4)))
    assert only_taught((fer,), np.array([True, False, False])) == ()


def test_a_file_inside_of_weights_is_recognised(tmp_path: Path) -> None:
    folder = resolve("fer2013-n-v6")
    for file in ("model.onnx", "model.keras", "spec.json", "card.md"):
        for command in (("predict", tmp_path / "x.jpg"), ("evaluate", "--data", tmp_path)):
            refused = ferkit(*command, "--weights", folder / file)
            assert refused.exit_code == 1
            assert f"{file} is one file of the weights 'fer2013-n-v6'; give their folder, {folder}" in refused.stderr
    with pytest.raises(WeightsError, match="give their folder"):
        ExpressionClassifier(folder / "model.onnx")


@needs_keras
def test_a_network_that_is_trained_on_sees_what_prediction_sees() -> None:
    """Faces that are standardised in use are standardised when the whole network is trained on, too."""
    from ferkit.train.finetuning.unfreezing import network_input

    class Backbone:
        classifier = ExpressionClassifier("fer2013-n-v6")

    spec: WeightsSpec = Backbone.classifier.spec
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
    for standardise in (False, True):
        changed = dataclasses.replace(spec, input={**spec.input, "standardise": standardise})
        Backbone.classifier._spec = changed
        wanted = np.moveaxis(Backbone.classifier.normalise(faces), 1, -1)
        assert np.abs(network_input(Backbone(), faces[..., None]) - wanted).max() < 1e-6  # type: ignore[arg-type]
        assert bool(abs(wanted[0].std() - 1 / spec.input["std"]) < 0.01) == standardise


@needs_keras
def test_a_worse_network_is_never_kept() -> None:
    """A stage has to be better by more than chance, and to have no fewer faces right."""
    from ferkit.train.finetuning.unfreezing import _best

    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    head = np.where(np.arange(2) == truth[:, None], 1.0, 0.0) + rng.normal(0, 0.8, (200, 2))
    luck = head + rng.normal(0, 0.02, head.shape)
    surer = np.where(np.arange(2) == truth[:, None], 1.5, 0.0) + rng.normal(0, 0.8, (200, 2))
    wrong = 0.3 * head[:, ::-1]
    better = np.where(np.arange(2) == truth[:, None], 4.0, 0.0) + rng.normal(0, 0.5, (200, 2))
    assert _best(np.stack([head, wrong, wrong]), truth) == 0
    assert _best(np.stack([better, surer, head]), truth) == 0
    assert _best(np.stack([head, better, wrong]), truth) == 1
    assert _best(np.stack([head, surer, better]), truth) == 2
    assert _best(np.stack([head, luck, luck]), truth) == 0
