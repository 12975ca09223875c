"""Specs of every kind: what they refuse, what they fill in, and that they come back as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ferkit import InputError, WeightsError
from ferkit.crops import CropGeometry
from ferkit.weights.hashes import check, file_entry, sha256_of
from ferkit.weights.specs import (
    DetectorSpec,
    EnsembleOutput,
    EnsembleSpec,
    Output,
    WeightsSpec,
    load_classifier_spec,
    load_spec,
)

FILES = {"model.onnx": file_entry(b"network")}
MOODS = Output("moods", ("up", "down"), ((0, 1),))
CLASSIFIER: dict[str, Any] = {
    "name": "a-v1",
    "files": FILES,
    "input": {"size": 48, "mean": 0.5, "std": 0.25},
    "crop": CropGeometry(),
    "outputs": (MOODS,),
    "default_output": "moods",
    "training": {"data": "mine"},
    "selection": "none",
    "metrics": (),
    "licence": "MIT",
}
DETECTOR: dict[str, Any] = {
    "name": "d-v1",
    "files": FILES,
    "min_score": 0.5,
    "training": {"data": "mine"},
    "selection": "none",
    "metrics": (),
    "licence": "MIT",
}
ENSEMBLE: dict[str, Any] = {
    "name": "e-v1",
    "members": ({"name": "a-v1", "sha256": "0" * 64, "weights": "a-v1"},),
    "outputs": (EnsembleOutput("moods", ("up", "down"), (1,)),),
    "default_output": "moods",
    "combine": "logit",
}


def test_what_a_spec_fills_in() -> None:
    spec = WeightsSpec(**CLASSIFIER)
    assert (spec.schema, spec.channels, spec.window, spec.columns, spec.network_file) == (1, 1, 48, 2, "model.onnx")
    assert MOODS.temperature == 1.0
    assert MOODS.weights == (1.0,)
    assert (DetectorSpec(**DETECTOR).schema, DetectorSpec(**DETECTOR).kind) == (1, "detector")
    ensemble = EnsembleSpec(**ENSEMBLE)
    assert (ensemble.schema, ensemble.kind, ensemble.selection, ensemble.licence) == (1, "ensemble", "none", "not stated")
    assert ensemble.outputs[0].temperature == 1.0


def test_what_a_spec_says_of_its_network() -> None:
    given = {"size": 112, "window": 104, "channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}
    spec = WeightsSpec(**CLASSIFIER | {"input": given, "architecture": {"columns": 9}, "schema": 2})
    assert (spec.channels, spec.window, spec.columns) == (3, 104, 9)
    assert WeightsSpec(**CLASSIFIER | {"architecture": {"columns": 1}}).columns == 2  # labels say more than the figure
    other = WeightsSpec(**CLASSIFIER | {"files": {"model.tflite": FILES["model.onnx"]}, "network": {"file": "model.tflite"}})
    assert other.network_file == "model.tflite"
    assert "network" in other.to_dict()
    assert "network" not in spec.to_dict()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 0}, "schema 0; this ferkit reads 1 and 2"),
        ({"schema": 3}, "schema 3"),
        ({"files": {}}, "lists no model.onnx; it has no files"),
        ({"files": {"model.keras": {}}}, "lists no model.onnx; it has model.keras"),
        ({"input": {"size": 48, "mean": 0}}, "lacks input.std"),
        ({"default_output": "fer2013"}, "have no labels 'fer2013'; expected one of moods"),
    ],
)
def test_classifiers_that_contradict_themselves(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        WeightsSpec(**CLASSIFIER | change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "classifier"}, "kind 'classifier', schema 1; expected a detector's"),
        ({"schema": 0}, "schema 0"),
        ({"schema": 2}, "schema 2"),
        *(({"min_score": score}, f"min_score {score}") for score in (-0.5, 0, 1, 1.5)),
        ({"files": {"points.onnx": {}}}, "lists no model.onnx; it has points.onnx"),
    ],
)
def test_detectors_that_contradict_themselves(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        DetectorSpec(**DETECTOR | change)


@pytest.mark.parametrize("change", [{"kind": "detector"}, {"schema": 0}, {"schema": 2}, {"default_output": "fer2013"}])
def test_ensembles_that_contradict_themselves(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EnsembleSpec(**ENSEMBLE | change)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"columns": ((0, 1), (2, 3))}, "every head needs one weight"),
        ({"columns": ((0,),)}, "2 columns, one a label"),
        ({"columns": ((0, 1), (2,)), "weights": (1, 1)}, "2 columns"),
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"colors": ((1, 2, 3),)}, "1 colors; expected one for each of its 2 labels"),
    ],
)
def test_outputs_that_contradict_themselves(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Output(**{"name": "moods", "labels": ("up", "down"), "columns": ((0, 1),)} | options)


def test_an_output_takes_lists_as_json_has_them() -> None:
    listed: Any = {"name": "m", "labels": ["a", "b"], "columns": [[0, 1], [2, 3]], "weights": [1, 2], "colors": [[1, 2, 3], [4, 5, 6]]}
    output = Output(**listed)
    assert output == Output("m", ("a", "b"), ((0, 1), (2, 3)), (1.0, 2.0), colors=((1, 2, 3), (4, 5, 6)))
    assert output.label_set.classes == ("a", "b")
    assert output.label_set.colours == ((1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize("kind", ["classifier", "detector", "ensemble"])
def test_a_spec_comes_back(kind: str, tmp_path: Path) -> None:
    spec = {"classifier": WeightsSpec(**CLASSIFIER), "detector": DetectorSpec(**DETECTOR), "ensemble": EnsembleSpec(**ENSEMBLE)}[kind]
    table = json.loads(json.dumps(spec.to_dict())) | {"of a later ferkit": 1}
    (tmp_path / "spec.json").write_text(json.dumps(table), encoding="utf-8")
    assert load_spec(tmp_path) == spec
    (tmp_path / "spec.json").write_text(json.dumps(table), encoding="utf-8-sig")  # as some editors do
    assert load_spec(tmp_path) == spec
    loads = {"classifier": WeightsSpec.load, "detector": DetectorSpec.load, "ensemble": EnsembleSpec.load}
    for other, load in loads.items():
        if other == kind:
            assert load(tmp_path) == spec
        else:
            with pytest.raises(WeightsError):
                load(tmp_path)
    if kind == "detector":
        with pytest.raises(WeightsError, match="a face detector; expected weights that classify"):
            load_classifier_spec(tmp_path)
    else:
        assert load_classifier_spec(tmp_path) == spec


def test_specs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no spec\.json"):
        load_spec(tmp_path)
    for text in ("{", "[]", "3", '{"name": "a"}', '{"kind": "ensemble"}'):
        (tmp_path / "spec.json").write_text(text, encoding="utf-8")
        with pytest.raises(WeightsError, match="is not a spec of ferkit weights"):
            load_spec(tmp_path)
    (tmp_path / "spec.json").write_text('{"name": "a", "files": {}}', encoding="utf-8")
    with pytest.raises(WeightsError, match="Spec lacks crop, default_output, input, licence, metrics, outputs, selection, training"):
        load_spec(tmp_path)


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (CLASSIFIER, {"files": {"model.onnx": {"size": 7}}}),
        (DETECTOR, {"files": {"model.onnx": {"sha256": "0" * 64}}}),
        (DETECTOR, {"files": {"model.onnx": "0" * 64}}),
        (ENSEMBLE, {"members": ({"name": "a-v1", "weights": "a-v1"},)}),
        (ENSEMBLE, {"members": ({"sha256": "0" * 64, "weights": "a-v1"},)}),
        (ENSEMBLE, {"members": ({"name": "a-v1", "sha256": "0" * 64},)}),
    ],
)
def test_specs_that_lack_what_is_looked_up_later(given: dict[str, Any], change: dict[str, Any], tmp_path: Path) -> None:
    kind = EnsembleSpec if given is ENSEMBLE else DetectorSpec if given is DETECTOR else WeightsSpec
    table = json.loads(json.dumps(kind(**given).to_dict())) | json.loads(json.dumps(change))
    (tmp_path / "spec.json").write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"is not a spec of ferkit weights: Of (the file|a member)"):
        load_spec(tmp_path)


def test_hashes(tmp_path: Path) -> None:
    assert file_entry(b"abc") == {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "size": 3}
    check(tmp_path / "a", b"abc", sha256_of(b"abc"), 3, "do it again")
    with pytest.raises(WeightsError, match=r"a is damaged: 2 bytes with SHA-256 .*, expected 3 bytes .* Run: do it again"):
        check(tmp_path / "a", b"ab", sha256_of(b"abc"), 3, "do it again")


@pytest.mark.parametrize("kind", ["classes", "labels", "values"])
def test_an_output_writes_its_kind_where_an_earlier_ferkit_would_not_guess_it(kind: str) -> None:
    output = Output("o", ("a", "b"), ((0, 1),), kind=kind)
    assert output.to_dict().get("kind") == (None if kind == "classes" else kind)
    assert Output(**output.to_dict()) == output
