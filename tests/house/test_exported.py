"""The public names, and no others."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec

import pytest

import ferkit
from ferkit import errors

PUBLIC = {
    "FaceDetector",
    "ExpressionClassifier",
    "Ensemble",
    "Pipeline",
    "Face",
    "Expression",
    "Result",
    "LabelSet",
    "adopt",
    "batch",
    "frames",
    "load_image",
    "list_weights",
    "FerkitError",
}


def test_exactly_the_public_names() -> None:
    leaves = {name for name in errors.__all__ if name != "FerkitError"}
    assert set(ferkit.__all__) == PUBLIC | leaves
    assert all(getattr(ferkit, name) is not None for name in ferkit.__all__)
    assert set(ferkit.__all__) <= set(dir(ferkit))


ROOMS = {
    "bulk": "BatchReport batch rows",
    "data": "Faces Listing Photos Portraits Sample list_data prepare read_csv read_faces read_ferplus read_folder read_photos read_portraits",
    "evaluation": "Measurement compare evaluate measure score score_outputs write_report",
    "explain": "Curves Explanation curves explain grad_cam occlusion overlay sheet",
    "train": "Callback LearningRates Progress Recipe Run Step build_model evaluate export find_learning_rate finetune fit fit_ensemble list_recipes load_recipe "
    "make_ensemble prepare push snapshot_weights train train_detector write_report",
    "video": "Frame frames",
}


@pytest.mark.parametrize("room", ROOMS)
def test_exactly_the_rooms_names(room: str) -> None:
    module = import_module(f"ferkit.{room}")
    assert sorted(module.__all__) == sorted(ROOMS[room].split())
    assert set(module.__all__) <= set(dir(module))
    if room != "train" or all(find_spec(name) for name in ("keras", "tensorflow", "scipy")):
        assert all(inspect.getdoc(getattr(module, name)) for name in module.__all__)
    with pytest.raises(AttributeError):
        module.nothing  # noqa: B018


def test_public_names_are_documented() -> None:
    for name in ferkit.__all__:
        value = getattr(ferkit, name)
        assert inspect.getdoc(value), name
        if inspect.isclass(value):
            for attribute, member in vars(value).items():
                if inspect.isfunction(member) and not attribute.startswith("_"):
                    assert inspect.getdoc(member), f"{name}.{attribute}"


def test_errors_are_also_built_ins() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, ferkit.FerkitError)
        if error is not ferkit.FerkitError:
            assert issubclass(error, (ValueError, OSError, ImportError)), name


def test_signatures_of_the_house_plan() -> None:
    def names(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert names(ferkit.Pipeline)[:2] == ["detector", "classifier"]
    assert names(ferkit.Pipeline.__call__)[:2] == ["self", "image"]
    assert names(ferkit.Pipeline.predict)[:3] == ["self", "images", "batch_size"]
    assert names(ferkit.FaceDetector)[0] == "name"
    assert names(ferkit.FaceDetector.detect) == ["self", "image"]
    assert names(ferkit.ExpressionClassifier)[:4] == ["weights", "labels", "runtime", "tta"]
    assert names(ferkit.ExpressionClassifier.predict) == ["self", "crops"]
    assert names(ferkit.ExpressionClassifier.predict_proba) == ["self", "crops"]
