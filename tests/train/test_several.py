"""Several labels at once, and values: from the columns of a manifest to weights that every reading command takes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit import DataError, Ensemble, ExpressionClassifier, InputError, LabelSet, Pipeline
from ferkit.data.faces import Faces
from ferkit.explain import explain
from ferkit.train.release.records import ClassifierExport
from tests.helpers.commands import ferkit as command
from tests.helpers.faces import write_faces
from tests.helpers.records import mismatches
from tests.helpers.schemas import validator
from tests.helpers.training import TINY, needs_keras

pytestmark = needs_keras
KINDS = ("labels", "values")
COLUMNS = {"labels": ("bright", "striped"), "values": ("brightness", "texture")}
OPTION = {"labels": "--multi-label", "values": "--regression"}
SHORT = TINY.replace("epochs = 2\nsize = 24", "epochs = 12\nsize = 24").replace("epochs = 2\nsize = 32", "epochs = 12\nsize = 32")


def face(brightness: float, texture: float) -> np.ndarray:
    """A face whose values can be learnt: how bright it is, and how strong its stripes are, both 0 to 1."""
    noise = np.random.default_rng(int(1e6 * brightness + 1e3 * texture)).normal(0, 4, (48, 48))
    stripes = 45 * texture * np.where(np.arange(48) // 3 % 2, 1, -1)
    return np.clip(60 + 120 * brightness + stripes[:, None] + noise, 0, 255).astype(np.uint8)


def write_manifest(root: Path, kind: str, count: int = 64, held: int = 24) -> Path:
    """Write pictures and their table; one entry in nine is empty, and values are far from 0 and 1."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(count + held):
        brightness, texture = rng.random(2)
        Image.fromarray(face(brightness, texture)).save(root / f"{number}.png")
        split = "train" if number < count else "validation"
        targets = [int(brightness > 0.5), int(texture > 0.5)] if kind == "labels" else [round(200 + 50 * brightness, 3), round(texture, 4)]
        unknown = number % 9 == 5
        rows.append([f"{number}.png", split, "" if unknown else targets[0], targets[1], f"person {number % 7}"])
    path = root / "faces.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "split", *COLUMNS[kind], "who"], *rows])
    return path


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    root = tmp_path_factory.mktemp(request.param)
    data = write_manifest(root, request.param)
    (root / "tiny.toml").write_text(SHORT, encoding="utf-8")
    done = command(
        *("train", "--recipe", root / "tiny.toml", "--data", data, "--out", root / "out"),
        *(OPTION[request.param], ",".join(COLUMNS[request.param])),
    )
    assert done.exit_code == 0, done.output + str(done.exception)
    assert "ignored the columns who" in done.stderr
    return request.param, data, root / "out"


@pytest.mark.slow
def test_weights_are_learnt_and_measured(trained: tuple[str, Path, Path]) -> None:
    kind, _data, out = trained
    spec = json.loads((out / "spec.json").read_text(encoding="utf-8"))
    assert [(o["name"], o["kind"], o["labels"]) for o in spec["outputs"]] == [(kind, kind, list(COLUMNS[kind]))]
    assert spec["schema"] == 2
    assert spec["metrics"][0]["kind"] == kind
    card = (out / "card.md").read_text(encoding="utf-8")
    assert "ferkit evaluate --weights out --data faces.csv --split PublicTest" in card
    assert COLUMNS[kind][0] in card
    classifier = ExpressionClassifier(out)
    assert classifier.labels.kind == kind
    pairs = np.random.default_rng(9).random((40, 2))
    answers = classifier.predict_proba(np.stack([face(*pair) for pair in pairs]))
    if kind == "labels":
        assert (((answers > 0.5) == (pairs > 0.5)).mean(axis=0) > 0.8).all()
        assert answers.sum(axis=1).min() < 0.9 or answers.sum(axis=1).max() > 1.1  # each by itself
    else:
        assert answers[:, 0].min() > 195
        assert answers[:, 0].max() < 255
        assert np.corrcoef(answers[:, 0], pairs[:, 0])[0, 1] > 0.8
        assert np.corrcoef(answers[:, 1], pairs[:, 1])[0, 1] > 0.8


@pytest.mark.slow
def test_every_reading_command_takes_them(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    kind, data, out = trained
    photo = tmp_path / "face.png"
    Image.fromarray(face(0.9, 0.9)).save(photo)
    result = Pipeline("none", str(out))(str(photo))
    said = result[0].expression
    assert said is not None
    assert said.label is None
    assert list(said.numbers) == list(COLUMNS[kind])
    result.draw().save(tmp_path / "drawn.png")
    assert "<table>" in result._repr_html_()
    found = command("predict", photo, "--detector", "none", "--weights", out)
    row = json.loads(found.stdout)[0]["faces"][0]
    assert ("values" in row, "labels" in row, "confidence" in row) == (kind == "values", kind == "labels", False)
    table = list(csv.DictReader(command("predict", photo, "--detector", "none", "--weights", out, "--format", "csv").stdout.splitlines()))
    assert float(table[0][COLUMNS[kind][0]]) == pytest.approx(said.numbers[COLUMNS[kind][0]], abs=1e-4)
    assert table[0]["label"] == (";".join(said.labels or ()))
    report = json.loads(command("evaluate", "--weights", out, "--data", data, "--format", "json").stdout)
    assert report["kind"] == kind
    assert report["n"] == 24
    unknown = report["per_output"][COLUMNS[kind][0]]
    assert unknown["n"] < 24  # what nobody knows does not count
    figure = "average_precision" if kind == "labels" else "ccc"
    low, high = report["mean"]["ci95"][figure]
    assert low <= report["mean"][figure] <= high
    assert report["mean"][figure] > 0.6
    assert "95 % interval" in command("evaluate", "--weights", out, "--data", data, "--tta", "flip").stdout
    validator("predict").validate(json.loads(found.stdout))
    validator("evaluate").validate(report)


@pytest.mark.slow
def test_exports_answer_as_ferkit_does(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    kind, data, out = trained
    done = command("export", out, "--out", tmp_path, "--format", "onnx", "--data", data, "--check")
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert not list(mismatches(about, ClassifierExport))
    assert list(about["outputs"]) == (["values"] if kind == "values" else ["logits", "probabilities"])
    assert about["measured"]["n"] == 24
    assert about["measured"]["differs"] < (5 if kind == "values" else 0.02)
    small = command("export", out, "--out", tmp_path / "small", "--format", "onnx", "--data", data, "--precision", "int8")
    assert small.exit_code == 0, small.output


@pytest.mark.slow
def test_what_cannot_take_them_says_so(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    _kind, data, out = trained
    clip, photo = tmp_path / "clip.mp4", tmp_path / "face.png"
    Image.fromarray(face(0.5, 0.5)).save(photo)
    write_faces(tmp_path / "faces", ("happy", "sad"), 3)
    refused: list[Any] = [
        lambda: Ensemble([ExpressionClassifier(out)]),
        lambda: explain(Pipeline("none", str(out)), photo),
        lambda: next(iter(Pipeline("none", str(out)).video(str(clip)))),
        lambda: ExpressionClassifier(out, min_confidence=0.5),
    ]
    for call in refused:
        with pytest.raises(InputError, match="needs weights that choose one of several classes"):
            call()
    for words in (
        ("serve", "--weights", out, "--port", "0"),
        ("batch", tmp_path / "faces", tmp_path / "rows", "--weights", out),
        ("finetune", "--data", tmp_path / "faces", "--out", tmp_path / "fine", "--weights", out),
        ("evaluate", "--weights", out, "--data", data, "--report", tmp_path / "page"),
    ):
        done = command(*words)
        assert done.exit_code, words
        assert "one of several classes" in done.output + str(done.exception), (words, done.output)


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    from ferkit.train import load_recipe

    (tmp_path / "tiny.toml").write_text(SHORT, encoding="utf-8")
    return load_recipe(tmp_path / "tiny.toml")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('kind = "values"', "has no classes"),
        ('kind = "numbers"', "expected one of classes, labels, values"),
        ('kind = "labels"\nclasses = ["a"]\nloss = "mse"', "expected sigmoid"),
        ('kind = "values"\nclasses = ["a"]\nlabel_smoothing = 0.1', "label_smoothing is for classes"),
        ('kind = "values"\nclasses = ["a"]\nmean = [0]', "mean and std"),
        ('kind = "values"\nclasses = ["a"]\nmean = [0, 1]\nstd = [1, 1]', "a number for each of its values"),
        ('kind = "values"\nclasses = ["a"]\nmean = ["low"]\nstd = [1]', "mean of the head 'mine' = 'low'; expected a number"),
        ('kind = "values"\nclasses = ["a"]\n[balance]\na = 2', "balance is for classes"),
    ],
)
def test_recipes_are_refused(tmp_path: Path, head: str, message: str) -> None:
    from ferkit.train import load_recipe

    text = TINY.replace('labels = "fer2013"\nlabel_smoothing = 0.1', f'labels = "mine"\n{head}')
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_recipe(tmp_path / "own.toml")


def test_a_recipe_names_the_columns(tmp_path: Path) -> None:
    """What --regression does stands in a recipe too, with another loss; and a finished run's recipe.toml trains it again."""
    from ferkit.train import load_recipe

    head = 'labels = "affect"\nkind = "values"\nclasses = ["valence", "arousal"]\nloss = "ccc"'
    (tmp_path / "own.toml").write_text(TINY.replace('labels = "fer2013"\nlabel_smoothing = 0.1', head), encoding="utf-8")
    own = load_recipe(tmp_path / "own.toml")
    assert own.answers == LabelSet("affect", ("valence", "arousal"), kind="values")
    assert own.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    assert load_recipe("ferkit-n").to_dict()["heads"][0].keys() == {"labels", "weight", "label_smoothing", "classes"}


def faces_of(kind: str, targets: list[list[float]]) -> Faces:
    own = np.array(targets, np.float32)
    names = tuple(f"t{k}" for k in range(own.shape[1]))
    return Faces(np.zeros((len(own), 48, 48), np.uint8), np.zeros(len(own), np.int64), LabelSet(kind, names, kind=kind), soft=own)


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("labels", [[1.0], [1.0], [1.0]], "t0 is always 1"),
        ("values", [[2.5], [2.5], [np.nan]], "t0 is always 2.5"),
        ("values", [[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]], "t1 is never known"),
    ],
)
def test_nothing_to_learn_is_said_before(recipe: Any, tmp_path: Path, kind: str, targets: list[list[float]], message: str) -> None:
    from ferkit.train import fit

    data = faces_of(kind, targets)
    with pytest.raises(DataError, match=message):
        fit(replace(recipe.for_labels(data.label_set), training={"batch_size": 2}), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_losses_are_what_they_are_called() -> None:
    """By hand: unknown targets and weightless faces cost nothing, and CCC is Lin's."""
    from keras import ops

    from ferkit.evaluation.outputs import concordance
    from ferkit.train.classifier.answers import loss_of, targets_of
    from ferkit.train.classifier.heads import Head

    def cost(head: Head, faces: Faces, answers: list[list[float]]) -> np.ndarray:
        return np.asarray(
            ops.convert_to_numpy(loss_of(head)(ops.convert_to_tensor(targets_of(faces, head)), ops.convert_to_tensor(answers)))
        )

    labels = Head("labels", classes=("t0", "t1"), kind="labels")
    faces = faces_of("labels", [[1, np.nan], [0, 1]])
    assert cost(labels, faces, [[0.0, 9.0], [0.0, 0.0]]) == pytest.approx([np.log(2) / 2, np.log(2)], abs=1e-6)
    unit = {"mean": (0.0, 0.0), "std": (1.0, 1.0), "classes": ("t0", "t1"), "kind": "values"}
    faces = faces_of("values", [[1, np.nan], [0, 3], [2, 1]])
    answers = [[2.0, 5.0], [0.0, 1.0], [1.0, 2.0]]
    assert cost(Head("values", **unit), faces, answers) == pytest.approx([0.5, 2.0, 1.0], abs=1e-6)
    expected = 1 - np.mean([concordance(np.array([2.0, 0, 1]), np.array([1.0, 0, 2])), concordance(np.array([1.0, 2]), np.array([3.0, 1]))])
    assert cost(Head("values", loss="ccc", **unit), faces, answers) == pytest.approx([expected] * 3, abs=1e-5)
    weighed = replace(faces, weights=np.array([0, 1, 3], np.float32))
    assert cost(Head("values", **unit), weighed, answers) == pytest.approx([0.0, 2.0 * 0.75, 1.0 * 2.25], abs=1e-6)


@pytest.mark.slow
def test_a_values_run_resumes_exactly(recipe: Any, tmp_path: Path) -> None:
    from ferkit.train import fit

    rng = np.random.default_rng(0)
    pairs = rng.random((24, 1))
    data = Faces(
        np.stack([face(*pair, 0.5) for pair in pairs]), np.zeros(24, np.int64), LabelSet("values", ("v",), kind="values"), soft=pairs * 9
    )
    short = replace(recipe.for_labels(data.label_set), stages=recipe.stages[:1])
    whole = fit(short, data, tmp_path / "whole", validation=data)
    assert not fit(short, data, tmp_path / "parts", validation=data, max_minutes=1e-9).finished
    parts = fit(short, data, tmp_path / "parts", validation=data, resume=True)
    for one, other in zip(whole.model.get_weights(), parts.model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert {"val_loss", "val_values_ccc", "val_values_mae", "mae"} <= set(whole.history[-1])
