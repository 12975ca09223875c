"""Training from nothing on labels, sizes, colors and networks of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ferkit import ExpressionClassifier, InputError, LabelSet
from ferkit.data import Faces
from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, needs_keras]

OWN = LabelSet("custom", ("calm", "tense", "tired"))


def own_recipe(**tables: Any) -> Any:
    from ferkit.train.classifier.recipe import Recipe

    base: dict[str, Any] = {
        "name": "own",
        "seed": 1,
        "model": {"name": "tiny"},
        "data": {"mean": 0.5, "std": 0.25},
        "heads": [{"labels": "fer2013"}],
        "optimizer": {"learning_rate": 0.05, "ema": 0.5},
        "training": {"batch_size": 8},
        "stages": [{"epochs": 2, "size": 48}],
    }
    return Recipe.from_dict({**base, **tables})


def colored(count: int = 24, side: int = 96, seed: int = 0) -> Faces:
    """Faces whose label is their hue, which grey does not show."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = np.full((count, side, side, 3), 40, np.uint8)
    for i, label in enumerate(labels):
        images[i, ..., label] = 120
        images[i] += rng.integers(0, 40, (side, side, 3), dtype=np.uint8)
    return Faces(images, labels, OWN)


SMALL = {"training": {"batch_size": 8}, "augment": {"crop": 44}}


def test_color_faces_of_another_size_with_labels_of_ones_own(tmp_path: Path) -> None:
    from ferkit.train import fit
    from ferkit.train.classifier.release import write_release

    recipe = own_recipe(
        data={"mean": [0.4, 0.4, 0.4], "std": [0.3, 0.25, 0.2], "size": 96, "window": 88, "channels": 3},
        stages=[{"epochs": 12, "size": 88}],
        **SMALL,
    )
    run = fit(recipe, colored(), tmp_path / "run", validation=colored(12, seed=1), log=lambda line: None)
    assert [head.label_set.classes for head in run.recipe.heads] == [OWN.classes]
    assert run.model.input_shape[-1] == 3
    write_release(run.model, run.recipe, tmp_path / "run", "own-v1", colored(12, seed=1), views=(1,))
    classifier = ExpressionClassifier(tmp_path / "run")
    assert (classifier.labels.classes, classifier.channels, classifier.size) == (OWN.classes, 3, 96)
    fresh = colored(9, side=70, seed=2)
    assert (classifier.predict_proba(fresh.images).argmax(axis=1) == fresh.labels).mean() == 1.0
    assert (ExpressionClassifier(tmp_path / "run", tta="flip").predict_proba(fresh.images).argmax(axis=1) == fresh.labels).all()
    assert classifier.features(fresh.images).shape[0] == 9
    assert "multiply-adds on a face in color of 96x96 pixels" in (tmp_path / "run" / "card.md").read_text(encoding="utf-8")


def test_weights_in_color_are_fine_tuned_in_color(tmp_path: Path) -> None:
    """What is written says so, and a network that is trained on is judged on the faces that prediction sees."""
    from ferkit.train.classifier.loop import build_from_recipe
    from ferkit.train.classifier.release import write_release
    from ferkit.train.finetuning.backbone import Backbone
    from ferkit.train.finetuning.bundle import write_bundle
    from ferkit.train.finetuning.linear_head import Head
    from ferkit.train.finetuning.records import About
    from ferkit.train.finetuning.unfreezing import _logits

    recipe = own_recipe(
        data={"mean": 0.5, "std": 0.25, "size": 64, "window": 56, "channels": 3}, stages=[{"epochs": 1, "size": 56}], **SMALL
    )
    recipe = recipe.for_labels(OWN)
    write_release(build_from_recipe(recipe), recipe, tmp_path / "base", "base-v1")
    base = ExpressionClassifier(tmp_path / "base")
    backbone = Backbone(tmp_path / "base", base)
    model = backbone.with_head(Head(np.random.default_rng(0).normal(size=(backbone.head_inputs, 3)), np.zeros(3)), "custom")
    about = About("mine-v1", data="", source="", licence="", seed=0, faces=1, held_out=1, folds=None, persons=0)
    (tmp_path / "mine").mkdir()
    assert write_bundle(tmp_path / "mine", model, backbone, OWN, 1.0, 0.0, about).schema == base.spec.schema == 2
    mine, faces = ExpressionClassifier(tmp_path / "mine"), colored(6, side=64)
    assert mine.channels == 3
    assert np.abs(_logits(backbone, model, faces) - mine.logits(faces.images)[0]).max() < 1e-4


def test_the_command_trains_on_a_folder_of_own_labels(tmp_path: Path) -> None:
    from ferkit.train import train

    faces = colored()
    for split, count in (("train", 24), ("validation", 9)):
        for i in range(count):
            folder = tmp_path / "data" / split / OWN[int(faces.labels[i])]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(faces.images[i]).save(folder / f"{i}.png")
    recipe = own_recipe(
        data={"mean": 0.5, "std": 0.25, "size": 64, "window": 56, "channels": 3}, stages=[{"epochs": 2, "size": 56}], **SMALL
    )
    train(recipe, tmp_path / "data", tmp_path / "run", detector="none")
    classifier = ExpressionClassifier(tmp_path / "run")
    assert classifier.labels.classes == OWN.classes
    assert classifier.prepare(faces.images[:2]).shape == (2, 64, 64, 3)
    assert "calm" in (tmp_path / "run" / "card.md").read_text(encoding="utf-8")


def test_a_saved_network_keeps_its_weights_and_gets_heads(tmp_path: Path) -> None:
    import keras

    from ferkit.train import build_model

    inputs = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(6, 3, name="theirs")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(maps)))
    network.save(tmp_path / "theirs.keras")
    made = build_model(str(tmp_path / "theirs.keras"), {"custom": 3}, channels=3)
    assert made.output_names == ["custom"]
    assert made.output["custom"].shape == (None, 3)
    assert np.allclose(made.get_layer("theirs").get_weights()[0], network.get_layer("theirs").get_weights()[0])
    with pytest.raises(InputError, match="expected pictures with 1 channel"):
        build_model(str(tmp_path / "theirs.keras"), 3)
    with pytest.raises(InputError, match="does not exist"):
        build_model(str(tmp_path / "none.keras"), 3)


@pytest.mark.parametrize("kind", ["Sequential", "functional"])
def test_a_network_of_ones_own_with_one_head_needs_no_names(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from ferkit.train import fit
    from ferkit.train.classifier.release import write_release

    def make(shape: tuple[int, ...], outputs: dict[str, int]) -> Any:
        layers = [keras.layers.Conv2D(4, 3, strides=4, activation="relu"), keras.layers.GlobalAveragePooling2D()]
        layers.append(keras.layers.Dense(*outputs.values()))
        if kind == "Sequential":
            return keras.Sequential([keras.Input((None, None, 1)), *layers])
        x = image = keras.Input((None, None, 1))
        for layer in layers:
            x = layer(x)
        return keras.Model(image, x)

    monkeypatch.setitem(sys.modules, "mynets", SimpleNamespace(make=make, two=lambda shape, outputs: make(shape, {"a": 3})))
    data = Faces(colored(side=48).images[..., 0], colored().labels, OWN)
    run = fit(own_recipe(model={"name": "mynets:make"}), data, tmp_path / "run", validation=data, log=lambda line: None)
    write_release(run.model, run.recipe, tmp_path / "run", "own-v1", data, views=(1,))
    assert ExpressionClassifier(tmp_path / "run").labels.classes == OWN.classes
    from ferkit.train import build_model

    with pytest.raises(InputError, match="'mynets:two' answers without names; expected a dictionary with a, b"):
        build_model("mynets:two", {"a": 3, "b": 2})
    with pytest.raises(InputError, match=r"'mynets:two' answers \{'b': 3\}; expected \{'b': 2\}"):
        build_model("mynets:two", {"b": 2})


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"data": {"mean": 0.5, "std": 0.2, "channels": 2}}, "expected 1, grey faces, or 3"),
        ({"data": {"mean": [0.5, 0.5], "std": 0.2, "channels": 3}}, "one for each of 3 channel"),
        ({"data": {"mean": [0.5, 0.5, 0.5], "std": 0.2}}, "one for each of 1 channel"),
        ({"data": {"mean": 0.5, "std": 0.2, "channels": 3}, "teacher": {"weights": ["x"], "weight": 0.5}}, "see grey faces"),
        ({"heads": [{"labels": "moods", "classes": "calm"}]}, "expected a list of names"),
    ],
)
def test_values_that_contradict_each_other(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        own_recipe(**tables)


def test_a_recipe_that_inherits_labels_says_so() -> None:
    recipe = own_recipe(training={"batch_size": 8, "initial": "fer2013-s-v6"})
    with pytest.raises(InputError, match=r"training\.initial for the labels angry"):
        recipe.for_labels(OWN)


def test_grey_augmentation_is_what_it_was() -> None:
    """The numbers of a grey batch do not depend on how colors are handled: three equal planes give three times the grey one."""
    from ferkit.train.classifier.augment import FaceAugmentation

    grey = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.float32)
    layer = FaceAugmentation(degrade=0.0)
    one = np.asarray(layer(grey, size=40, seed=5))
    three = np.asarray(layer(np.repeat(grey[..., None], 3, axis=3), size=40, seed=5))
    assert one.shape == (3, 40, 40, 1)
    assert np.abs(three - one).max() < 1e-3
