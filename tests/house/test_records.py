"""Records are what they say, and the JSON and TOML that people hold keeps its keys, its order and its bytes."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit.bulk.commit import footer_of
from ferkit.bulk.records import Generation, Group, GroupFooter, Manifest, Stage, Status
from ferkit.bulk.status import status
from ferkit.bulk.storage import Place
from ferkit.data.faces import Faces
from ferkit.data.preparing import Preparation, prepare
from ferkit.doctor import Installation, examine
from ferkit.evaluation.comparing import compare
from ferkit.evaluation.measuring import evaluate, metric_rows
from ferkit.evaluation.records import Report
from ferkit.weights.records import Architecture, Comparison, DetectionRow, FileEntry, MetricRow, NetworkInput, Training
from ferkit.weights.specs import DetectorSpec, WeightsSpec, load_spec
from tests.helpers.faces import write_fer_csv
from tests.helpers.records import mismatches

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted((ROOT / "weights").rglob("spec.json"))
RECIPES = sorted((Path(ferkit.__file__).parent / "train" / "classifier" / "recipes").glob("*.toml"))
REPORT = "accuracy n ci95 macro_f1 mean_recall ece per_label confusion reliability coverage_risk aurc weights split labels truth tta skipped data learnt"
ROW = "labels truth split tta n accuracy ci95 macro_f1 mean_recall ece"


class Inner(TypedDict, total=False):
    share: float


class Example(TypedDict):
    name: str
    counts: dict[str, int]
    inner: Inner | None
    rows: list[Inner]


GOOD: dict[str, Any] = {"name": "a", "counts": {"b": 1}, "inner": None, "rows": [{"share": 1}, {}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"name": 1}, [".name: 1 is not of <class 'str'>"]),
        ({"counts": {"b": 0.5}}, [".counts.b: 0.5 is not of <class 'int'>"]),
        ({"counts": {"b": True}}, [".counts.b: True is not of <class 'int'>"]),
        ({"rows": [{"share": "x"}]}, [".rows.0.share: 'x' is not of <class 'float'>"]),
        ({"more": 1}, [" has more, which Example does not know"]),
    ],
)
def test_what_differs_is_found(change: dict[str, Any], told: list[str]) -> None:
    assert list(mismatches(GOOD | change, Example)) == told
    assert list(mismatches({}, Example)) == [f" lacks {name}" for name in GOOD]
    assert list(mismatches(GOOD | {"inner": {"share": ""}}, Example))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name)
def test_released_specs_are_their_records_and_stay(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    spec, table = load_spec(path.parent), json.loads(text)
    rows = DetectionRow if isinstance(spec, DetectorSpec) else MetricRow
    assert not list(mismatches(table["files"], dict[str, FileEntry]))
    assert not list(mismatches(table["training"], Training))
    assert not list(mismatches(table["architecture"], Architecture))
    assert not list(mismatches(table["metrics"], list[rows]))  # type: ignore[valid-type]
    if isinstance(spec, WeightsSpec):
        assert not list(mismatches(table["input"], NetworkInput))
    written = json.loads(json.dumps(spec.to_dict()))
    if "superseded" in path.parts and "outputs" in written:
        for output, stored in zip(written["outputs"], table["outputs"], strict=True):
            if "colors" not in stored and not output.get("colors"):  # younger than some of these files
                output.pop("colors", None)
    assert json.dumps(written, indent=1, ensure_ascii=False) + "\n" == text


@pytest.mark.train
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name)
def test_cards_are_written_from_their_specs_alone(path: Path, tmp_path: Path) -> None:
    """Also those of superseded weights, in the words of today. ferkit-face-v3 and v4 have tables beside, of pictures that are made by rule."""
    from ferkit.train.detector.release import card_lines
    from ferkit.train.release.card import write_card

    spec = load_spec(path.parent)
    if isinstance(spec, DetectorSpec):
        written = "\n".join(card_lines(spec)) + "\n"
        assert (
            "YuNet" not in "".join(card_lines(dataclasses.replace(spec, name="mine"))).partition("- Recipe")[0]
        )  # nobody knows who marked those
    else:
        write_card(tmp_path / "card.md", spec)
        written = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "runs/" not in written, "a card names no folder that only its maker has"
    there = (path.parent / "card.md").read_text(encoding="utf-8")
    if spec.name in ("ferkit-face-v3", "ferkit-face-v4"):
        there, written = there.partition("These pictures were made")[0], written.partition("## Trained")[0]

    def lasting(text: str) -> list[str]:
        # The paragraph on fairness is in the cards of current releases, whose faces were looked at.
        return [line for line in text.split("\n") if line and "[fairness](" not in line]

    assert lasting(there) == lasting(written)


@pytest.mark.train
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_their_records_and_stay(path: Path) -> None:
    """A run is told from another by its recipe's tables: they hold what the file says, and nothing else."""
    from ferkit.train.classifier import recipe_tables
    from ferkit.train.classifier.recipe import Recipe, load_recipe

    table, recipe = tomllib.loads(path.read_text(encoding="utf-8")), load_recipe(path.stem)
    kept = recipe.to_dict()
    for key, hint in recipe_tables.TABLES.items():
        assert not list(mismatches(kept[key], hint))
    assert not list(mismatches(kept["optimizer"], recipe_tables.OptimizerTable))
    for key, value in table.items():
        if isinstance(value, dict) and "base" not in table:
            assert kept[key] == value
    assert list(kept) == (
        [
            "name",
            "seed",
            "model",
            "data",
            "heads",
            "stages",
            "crop",
            "augment",
            "mix",
            "teacher",
            "photos",
            "optimizer",
            "training",
            "release",
            "balance",
            "early_stopping",
            "plateau",
            "snapshots",
        ]
    )
    assert Recipe.from_dict(json.loads(json.dumps(kept))).to_dict() == kept


def test_a_detectors_recipe_is_its_records() -> None:
    """The class has the defaults and the table what differs: the same entries, in the same order."""
    from ferkit.train.detector.landmark_crops import PointAugmentation, PointAugmentTable
    from ferkit.train.detector.photos import Augmentation, AugmentTable
    from ferkit.train.detector.recipe import load_detector_recipe

    recipe = load_detector_recipe()
    for table in (recipe.augment, *(stage.augment for stage in recipe.stages)):
        assert not list(mismatches(table, AugmentTable))
    assert not list(mismatches(recipe.landmarks.augment, PointAugmentTable))
    assert recipe.augment
    assert list(AugmentTable.__annotations__) == [field.name for field in dataclasses.fields(Augmentation)]
    assert list(PointAugmentTable.__annotations__) == [field.name for field in dataclasses.fields(PointAugmentation)]


def test_an_installation_is_its_record() -> None:
    found = examine()
    assert not list(mismatches(json.loads(json.dumps(found)), Installation))
    assert list(found) == list(Installation.__annotations__)


def test_a_job_is_its_records(tmp_path: Path) -> None:
    """What a batch job leaves behind is read by other programs, and by the ferkit that goes on with it."""
    pytest.importorskip("pyarrow", reason='needs the extra batch: pip install "ferkit[batch]"')
    (tmp_path / "in").mkdir()
    for number in range(2):
        Image.new("RGB", (40, 40), (50 * number, 90, 90)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "empty.png").touch()
    out = tmp_path / "out"
    ferkit.batch(tmp_path / "in", out, weights="fer2013-n-v6", detector="none", shard_images=2, workers=1)
    job = json.loads((out / "_ferkit" / "job.json").read_text(encoding="utf-8"))
    assert list(job) == ["inputs", "base", "options", "facts", "labels", "video", "groups", "generations", "schema"]
    assert not list(mismatches(job["groups"], list[Group]))
    assert list(job["groups"][0]) == ["plan", "first", "last", "file"]
    assert not list(mismatches(job["generations"], list[Generation]))
    manifest = json.loads((out / "_manifest.json").read_text(encoding="utf-8"))
    assert not list(mismatches(manifest, Manifest))
    assert list(manifest) == ["schema", "fingerprint", "images", "faces", "errors", "rows", "files"]
    assert list(manifest["files"][0]) == ["file", "rows", "bytes", "sha256"]
    footer = footer_of(Place(str(out)), manifest["files"][0]["file"])
    assert not list(mismatches(footer, GroupFooter))
    assert list(footer) == ["fingerprint", "images", "faces", "errors", "shards"]
    assert [list(one) for one in footer["shards"]] == [["shard", "images", "faces", "errors"]] * 2
    (stages,) = (out / "_ferkit" / "receipts").iterdir()
    assert not list(mismatches(json.loads(stages.read_text(encoding="utf-8")), list[Stage]))
    told = status(str(out))
    assert not list(mismatches(told, Status))
    assert " ".join(told) == ("output state shards done images faces errors image_seconds remaining_worker_seconds slowest held_by")
    assert (told["state"], told["images"], told["errors"]) == ("done", 3, {"empty": 1})


@pytest.mark.train
def test_the_docs_name_every_entry_of_a_recipe() -> None:
    from ferkit.train.classifier.recipe_tables import ENTRIES, OptimizerTable

    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = [block for block in page.split("\n\n") if block.startswith("| `[")]
    named = {table: set(re.findall(r"`(\w+)`", block)) for block in blocks for table in re.findall(r"`\[+(\w+)\]+`", block.split("\n")[0])}
    for table, entries in (ENTRIES | {"optimizer": tuple(OptimizerTable.__annotations__)}).items():
        if table not in ("crop", "mix"):  # the one is on the weights' page, the other in a row of the list of tables
            assert set(entries) <= named[table], table


@pytest.fixture(scope="module")
def faces() -> Faces:
    rng = np.random.default_rng(0)
    return Faces(rng.integers(0, 256, (30, 48, 48), np.uint8), np.arange(30) % 7)


def test_an_evaluation_is_its_record(faces: Faces) -> None:
    report = evaluate("fer2013-n-v6", faces)
    assert list(report) == REPORT.split()
    assert not list(mismatches(json.loads(json.dumps(report)), Report))


def test_rows_of_a_spec_are_their_records(faces: Faces) -> None:
    rows = metric_rows(ROOT / "weights" / "fer2013-n-v6", faces, views=(1, 2))
    assert not list(mismatches(json.loads(json.dumps(rows)), list[MetricRow]))
    assert [list(row) for row in rows[:2]] == [[*ROW.split(), "per_label", "recall"], ROW.split()]


def test_a_comparison_is_its_record() -> None:
    found = compare(np.array([True, False, True]), np.array([True, True, False]))
    assert not list(mismatches(found, Comparison))
    assert list(found) == ["n", "before", "after", "difference", "ci95", "gained", "lost", "p_value"]


def test_a_preparation_is_its_record(tmp_path: Path) -> None:
    report = prepare(write_fer_csv(tmp_path / "f.csv", 14, 7), tmp_path / "out")
    assert not list(mismatches(report, Preparation))
    text = (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    assert json.dumps(report, indent=1, ensure_ascii=False) + "\n" == text
    assert list(report) == ["splits", "copies", "skipped"]
    assert list(report["copies"]) == ["near", "within", "across", "groups"]
    first = json.loads((tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert list(first) == ["source", "path", "label", "box", "landmarks", "score"]
