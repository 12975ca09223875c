"""Recipes as data, and what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ferkit import DataError, InputError
from ferkit.labels import FER6
from ferkit.train.classifier.recipe import list_recipes, load_recipe
from ferkit.train.classifier.recipe_tables import ENTRIES
from tests.helpers.recipes import COUNTS, faces, recipe
from tests.helpers.training import TINY, needs_keras

pytestmark = pytest.mark.train


def test_recipes_are_data(tmp_path: Path) -> None:
    for name in list_recipes():
        assert load_recipe(name).name == name
    recipe = load_recipe("ferkit-s")
    sizes = [recipe.size_at(epoch) for epoch in range(recipe.epochs)]
    assert sizes == sorted(sizes)
    for name in ("nonsense", tmp_path / "missing.toml", tmp_path):
        with pytest.raises(InputError, match="ferkit-s"):
            load_recipe(name)
    for text in ("a = [", "name = 'x'", TINY + "[surprise]\nx = 1\n", TINY.replace("epochs = 2", "epochs = 0")):
        (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            load_recipe(tmp_path / "bad.toml")


@needs_keras
def test_recipes_and_the_code_know_the_same_entries() -> None:
    from ferkit.train.classifier.augment import AugmentOptions, FaceAugmentation
    from ferkit.train.classifier.loop import build_from_recipe

    accepted = {field.name for field in dataclasses.fields(AugmentOptions)}
    assert set(ENTRIES["augment"]) == accepted
    for name in list_recipes():
        loaded = load_recipe(name)
        FaceAugmentation(**loaded.augment)
        if loaded.model["name"] not in ("resnet34", "vgg16", "vgg8"):  # large, and built above
            model = build_from_recipe(loaded)
            assert set(model.output) == {head.labels for head in loaded.heads}
            assert model.input_shape[1] in (None, loaded.window)


def test_the_recipes_of_the_accuracy_plan_load() -> None:
    plan = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy"
    recipes = [load_recipe(path) for path in sorted((plan / "short").glob("*.toml"))]
    assert {loaded.name for loaded in recipes} == {f"short-{name}" for name in ("plain", "light", "mixup", "cutmix", "sam", "novotes")}
    assert {loaded.epochs for loaded in recipes} == {8}
    further = {path.stem: load_recipe(path) for path in (plan / "further").glob("*.toml")}
    assert set(further) == {"b-v5", "larger", "b-larger", "b-larger-2", "b-larger-3", "s-joint", "s-joint-3"}
    assert (further["b-v5"].optimizer["sam"], further["larger"].window, further["b-larger"].window) == (0.05, 56, 56)
    assert further["b-larger-3"].teacher["weights"] == ["fer2013-s-v5", "fer2013-b-v5", "runs/b-larger"]
    default = load_recipe("ferkit-s-v3")
    seeds = [load_recipe(path) for path in (plan / "seeds").glob("*.toml")]
    assert {loaded.seed for loaded in seeds} == {4, 5}
    assert all(dataclasses.replace(loaded, name=default.name, seed=default.seed) == default for loaded in seeds)


def test_the_seed_systems_are_recipes() -> None:
    assert set(COUNTS) - {"tiny"} <= set(list_recipes())
    assert load_recipe("conv3").balance == {"disgust": 10}
    assert load_recipe("mini-xception").size == 64
    assert load_recipe("vgg16").data["standardise"] is True
    for name in ("shallow", "wide", "resnet34"):
        seven, six = load_recipe(name), load_recipe(f"{name}-6")
        assert [head.labels for head in six.heads] == [FER6.name]
        assert dataclasses.replace(six, name=name, heads=seven.heads) == seven
    # The systems' rows were trained with the square; only their next runs would get the aligned crop.
    for name in list_recipes():
        assert load_recipe(name).crop["mode"] == ("aligned" if name.startswith("ferkit-") else "square")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": {"rotaton": 1}}, r"\[augment\] of recipe 'test': unknown rotaton; expected crop, rotation"),
        ({"data": {"mean": 0.0, "std": 1.0, "scale": 2}}, "unknown scale; expected mean, std, standardise, size"),
        ({"data": {"mean": 0.0}}, "needs mean and std"),
        ({"crop": {"zoom": 1}}, "unknown zoom"),
        ({"training": {"batch": 8}}, "unknown batch; expected batch_size"),
        ({"optimizer": {"name": "lion", "learning_rate": 1}}, "Unknown optimiser 'lion'.*sgd, adam, rmsprop"),
        ({"optimizer": {"name": "adam", "learning_rate": 1, "momentum": 0.9}}, r"\(adam\): unknown momentum; expected .*beta_1"),
        ({"optimizer": {"name": "adam"}}, "needs learning_rate"),
        ({"optimizer": {"learning_rate": 1, "schedule": "step"}}, "Unknown schedule 'step'"),
        ({"release": {"precision": "int8"}}, "Unknown precision 'int8'.*float32 or float16"),
        ({"optimizer": {"learning_rate": 1, "schedule": "constant", "cycles": 3}}, "cycles needs schedule"),
        ({"optimizer": {"learning_rate": 1, "cycles": 3, "warmup_epochs": 1}}, "cycles are equal cosines"),
        ({"optimizer": {"learning_rate": 1}, "plateau": {"factor": 0.1, "patience": 2}}, r"\[plateau\] needs schedule"),
        ({"plateau": {"factor": 2, "patience": 2}}, "plateau factor of 2"),
        ({"early_stopping": {"monitor": "val_loss"}}, "patience of None"),
        ({"early_stopping": {"patience": 3, "best": 1}}, "unknown best"),
        ({"snapshots": {"every": 0}}, "snapshots every 0"),
        ({"snapshots": {"every": "cycle"}}, "need cycles"),
    ],
)
def test_recipes_refuse_what_they_would_ignore(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(**changes)


def test_recipe_files_name_what_they_lack_and_derive(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"

    def refused(text: str) -> str:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_recipe(path)
        return str(caught.value)

    assert "unknown optimiser; expected name, seed" in refused('base = "conv3"\n[optimiser]\nname = "sgd"\n')
    assert "[[heads]]" in refused('base = "conv3"\n[[heads]]\nlabel = "fer6"\n')
    assert "expected epochs, size" in refused('base = "conv3"\n[[stages]]\nepoch = 1\n')
    assert "lacks seed, model" in refused('name = "x"\n')
    assert "based on itself" in refused(f'base = "{path}"\n')
    assert "based on itself" in refused('base = "mine.toml"\n')
    (tmp_path / "theirs.toml").write_text('base = "conv3"\n[optimizer]\nlearning_rate = 0.25\n', encoding="utf-8")
    path.write_text('base = "theirs.toml"\nname = "mine"\n', encoding="utf-8")  # beside it, wherever one stands
    assert load_recipe(path).optimizer["learning_rate"] == 0.25
    assert "Unknown recipe 'nothing'" in refused('base = "nothing"\n')
    path.write_text('base = "conv3"\nname = "mine"\n[optimizer]\nlearning_rate = 0.5\n', encoding="utf-8-sig")  # as Windows' editor does
    mine, conv3 = load_recipe(path), load_recipe("conv3")
    assert mine.optimizer == conv3.optimizer | {"learning_rate": 0.5}
    assert mine.augment == conv3.augment


@needs_keras
def test_watching_needs_validation(tmp_path: Path) -> None:
    from ferkit.train import fit

    with pytest.raises(DataError, match="watches 'val_loss'; that needs validation"):
        fit(recipe(early_stopping={"patience": 2}), faces(), tmp_path / "out")


@needs_keras
@pytest.mark.parametrize("monitor", ["val_fer2013_acc", "accuracy_of_training"])
def test_a_figure_that_no_epoch_has_is_not_watched(monitor: str, tmp_path: Path) -> None:
    """A misspelt monitor would stop the run after ``patience`` epochs, with no best one to restore."""
    from ferkit.train import fit

    watching = recipe(early_stopping={"patience": 1, "monitor": monitor})
    with pytest.raises(InputError, match=f"watches '{monitor}', which no epoch has; expected one of .*val_fer2013_accuracy"):
        fit(watching, faces(), tmp_path / "out", validation=faces(14))
    assert (tmp_path / "out").exists() is not monitor.startswith("val_")  # what validation tells is known before the first epoch
