"""What can be known before the work is told before it: nothing here may cost an epoch."""

from __future__ import annotations

import builtins
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferkit import DataError, FaceDetector, FerkitError, InputError, MissingExtraError, WeightsError
from ferkit.files import writable
from ferkit.train.classifier.recipe import load_recipe
from ferkit.weights.store import resolve
from tests.helpers.faces import write_faces, write_fer_csv
from tests.helpers.recipes import faces
from tests.helpers.recipes import recipe as made
from tests.helpers.training import TINY, needs_keras

pytestmark = [pytest.mark.train, needs_keras]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any reading of data or any step of training fails the test."""
    import keras

    from ferkit.train.classifier import reading
    from ferkit.train.detector import training as detector
    from ferkit.train.finetuning import assembly

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("work before the check")

    for module, name in ((reading, "read_cut_faces"), (detector, "fit_detector"), (assembly, "gather")):
        monkeypatch.setattr(module, name, fail)
    monkeypatch.setattr(keras.Model, "train_on_batch", fail)


def test_train_looks_first(tmp_path: Path, recipe: Path, no_work: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.train import train

    data = write_fer_csv(tmp_path / "fer2013.csv")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"file is a file; expected a folder"):
        train(recipe, data, tmp_path / "file" / "run")
    with pytest.raises(DataError, match=r"none\.csv is not there"):
        train(recipe, data, tmp_path / "run", ferplus=tmp_path / "none.csv")
    with pytest.raises(InputError, match="max_minutes = -1; expected a number, above 0"):
        train(recipe, data, tmp_path / "run", max_minutes=-1)
    begun = tmp_path / "begun.toml"
    begun.write_text(TINY.replace("batch_size = 8", 'batch_size = 8\ninitial = "runs/nowhere"'), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"Recipe 'tiny-test' needs weights that are not here.*runs/nowhere"):
        train(begun, data, tmp_path / "run")
    begun.write_text(TINY.replace('name = "tiny"\n', 'name = "tests.helpers.networks:layer_normalised"\n'), encoding="utf-8")
    with pytest.raises(InputError, match="LayerNormalization, which the ONNX export does not know"):
        train(begun, data, tmp_path / "run")
    real = builtins.__import__

    def without_onnx(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "onnx":
            raise ModuleNotFoundError(name, name=name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(MissingExtraError, match="onnx"):
        train(recipe, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_paths_below_the_home_folder_are_found(tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is looked for first, and by the readers too."""
    from ferkit.train import train
    from ferkit.train.classifier import training

    (tmp_path / "portraits").mkdir()
    for name in ("votes.csv", "portraits/labels.csv"):
        (tmp_path / name).write_text("", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    def stop(_recipe: Any, _data: Any, **told: Any) -> None:
        raise InterruptedError(told["ferplus"], told["photos"])

    monkeypatch.setattr(training, "read_run", stop)
    with pytest.raises(InterruptedError) as stopped:
        train(recipe, "fer2013.csv", tmp_path / "run", ferplus="~/votes.csv", photos="~/portraits")
    assert stopped.value.args == (tmp_path / "votes.csv", tmp_path / "portraits")


def test_finetune_looks_first(tmp_path: Path, no_work: None) -> None:
    from ferkit.train import finetune

    data, whole = write_faces(tmp_path / "data", ("a", "b"), 3), FaceDetector("none")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        finetune(data, tmp_path / "file" / "out", detector=whole)
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        finetune(data, tmp_path / "out", detector=whole, publictest=tmp_path / "none.csv")
    with pytest.raises(InputError, match="holdout = 'a fifth'; expected a number, at least 0\\.05"):
        finetune(data, tmp_path / "out", detector=whole, holdout="a fifth")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed = -1; expected a whole number"):
        finetune(data, tmp_path / "out", detector=whole, seed=-1)
    with pytest.raises(DataError, match=r"1 label folder\(s\) with two pictures \(a\)"):
        finetune(write_faces(tmp_path / "one", ("a",), 3), tmp_path / "out", detector=whole)
    shutil.copytree(resolve("fer2013-n-v6"), tmp_path / "mine")
    (tmp_path / "mine" / "learnt.json").write_text('{"faces"', encoding="utf-8")
    with pytest.raises(WeightsError, match=r"learnt\.json cannot be read"):
        finetune(data, tmp_path / "out", tmp_path / "mine", detector=whole)


def test_a_detector_without_landmarks_is_told_first(tmp_path: Path, no_work: None) -> None:
    import cv2

    from ferkit.train import train_detector
    from ferkit.train.detector.recipe import load_detector_recipe

    images = tmp_path / "data" / "train" / "images"
    images.mkdir(parents=True)
    cv2.imwrite(str(images / "0.png"), np.full((96, 96, 3), 99, np.uint8))
    labels = [{"file": "images/0.png", "faces": [{"box": [10, 10, 70, 70], "use": "pos"}]}]
    (images.parent / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    (tmp_path / "out").mkdir()
    np.savez(tmp_path / "out" / "faces.npz", pixels=np.zeros((1, 128, 128, 3), np.uint8))  # of a run on other photos that ended at once
    with pytest.raises(DataError, match="None of 1 photos has a face whose landmarks could be learnt"):
        train_detector(tmp_path / "data", tmp_path / "out")
    with pytest.raises(InputError, match="The teacher is str"):
        train_detector(tmp_path / "data", tmp_path / "out", teacher="yunet")  # type: ignore[arg-type]
    for change, told in (
        ({"batch_size": 0}, "batch_size"),
        ({"ema": 1}, "ema"),
        ({"pictures": "many"}, "pictures"),
        ({"precision": "half"}, "precision"),
    ):
        with pytest.raises(InputError, match=f"{told} in recipe"):
            replace(load_detector_recipe(), **change)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, where nobody may write, not even root")
def test_a_folder_that_may_not_be_written() -> None:
    with pytest.raises(InputError, match="cannot be written"):
        writable(Path("/proc/ferkit"))


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/below", "a\0b"])
def test_a_name_that_no_folder_can_have_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        writable(tmp_path / name)


def test_a_folder_in_one_that_may_not_be_entered_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        writable(tmp_path / "out")


def test_a_drive_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(InputError, match=r"cannot be written \(there is no "):
        writable(tmp_path / "out")


def test_a_folder_behind_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("link", "link/below"):
        with pytest.raises(InputError, match=r"link is a link to .*nowhere, which is not there"):
            writable(tmp_path / name)


def test_a_full_disk_is_told_first(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="MB free; a run needs at least"):
        writable(tmp_path / "out", 1 << 60)
    assert writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "learning_rate = 0.05",
            'learning_rate = "fast"',
            "learning_rate in .optimizer. of recipe 'tiny-test' = 'fast'; expected a number",
        ),
        ("learning_rate = 0.05", "learning_rate = -0.1", "expected a number, at least 0"),
        ("learning_rate = 0.05", "learning_rate = nan", "learning_rate .* = nan"),
        ("batch_size = 8", "batch_size = 0", "batch_size .* = 0; expected a whole number, at least 1"),
        ("batch_size = 8", "batch_size = 8.5", "batch_size .* = 8.5; expected a whole number"),
        ("crop = 44", 'crop = 44\nrotation = "ten"', "rotation in .augment. .* = 'ten'; expected a number"),
        ("crop = 44", "crop = 44\nscale = [1.2, 0.8]", "scale .* the smaller first"),
        ("crop = 44", "crop = 44\nerase_area = 0.1", "erase_area .* two numbers"),
        ("std = 0.25", "std = 0", "std in .data."),
        ("ema = 0.9", "ema = 9", "ema .* at most 0.999999"),
        ("ema = 0.9", "ema = 1", "ema .* at most 0.999999"),
        ("ema = 0.9", "sam = 0", "sam .* expected a number, at least"),
        ('name = "tiny"', "name = 5", "name = 5 in .model."),
        ("std = 0.25", "std = 0.25\nwindow = 100", "A window of 100 pixels .* of faces of 48"),
        ("crop = 44", "crop = 64", "crop .* at most 48"),
        ("crop = 44", 'crop = 44\nfill = "mirror"', "fill = 'mirror' .* reflect or nearest"),
        ('labels = "fer2013"', "labels = 5", "labels = 5 of a head"),
        ('labels = "fer2013"', 'labels = "fer2013"\nweight = 0', "weight 0: nothing would be learnt"),
        ("[augment]", "[balance]\nnobody = 2\n[augment]", ".balance. .* unknown nobody; expected labels of its heads"),
        ("[augment]", '[release]\ndefault_output = "nope"\n[augment]', "default_output = 'nope' .* expected one of fer2013"),
        ("[augment]", '[teacher]\nweights = "fer2013-n-v6"\n[augment]', "weights = 'fer2013-n-v6' in .teacher."),
        ("[augment]", "[teacher]\nweights = [5]\n[augment]", "expected a list of names or folders"),
        ("label_smoothing = 0.1", "label_smoothing = true", "label_smoothing of the head 'fer2013'"),
        ("epochs = 2\nsize = 24", 'epochs = "two"\nsize = 24', "epochs of stage 1"),
        ("seed = 3", "seed = -3", "seed of recipe"),
        (
            "batch_size = 8",
            'batch_size = 8\nprecision = "half"',
            "precision in .training. of recipe 'tiny-test' = 'half'; .* mixed_float16",
        ),
        ("batch_size = 8", 'batch_size = 8\nsettle = "no"', "settle = 'no' .* true or false"),
        ("[augment]", "[early_stopping]\npatience = 2\nmonitor = 5\n[augment]", "monitor = 5 in .early_stopping. .* expected text"),
        ("[augment]", '[[heads]]\nlabels = "fer2013"\n[augment]', "The head fer2013 of recipe 'tiny-test' is there twice"),
    ],
)
def test_values_of_recipes(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "r.toml"
    assert old in TINY
    path.write_text(TINY.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "tiny"', 'name = "tiny"\ndropout = 2', "Architecture 'tiny' cannot be built with .*dropout = 2"),
        ('name = "tiny"', 'name = "tiny"\ndropout = "a"', "cannot be built with .*dropout = 'a'"),
        ("[augment]", '[crop]\nscale = "a"\n[augment]', "A crop with scale 'a'"),
        ("[augment]", "[crop]\ncentre = [1]\n[augment]", "A crop with scale"),
        ("[augment]", "[crop]\nscale = -1\n[augment]", "Crop scale -1"),
    ],
)
def test_values_that_the_network_and_the_crop_refuse(tmp_path: Path, no_work: None, old: str, new: str, told: str) -> None:
    """Before the data are looked for, which are not there."""
    from ferkit.train import train

    path = tmp_path / "r.toml"
    path.write_text(TINY.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        train(path, tmp_path / "nothing", tmp_path / "out")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from ferkit.train import fit

    real, steps = keras.Model.train_on_batch, []

    def diverging(self: Any, *batch: Any, **options: Any) -> Any:
        steps.append(1)
        return real(self, *batch, **options) | ({"loss": float("nan")} if len(steps) == 6 else {})

    monkeypatch.setattr(keras.Model, "train_on_batch", diverging)
    with pytest.raises(FerkitError, match="The loss is nan at epoch 2 of 3, step 2 of 4"):
        fit(made(), faces(), tmp_path / "run")
    assert len(steps) == 6
    assert len(json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))["epochs"]) == 1


@pytest.mark.parametrize(
    ("table", "key", "value", "told"),
    [
        ("augment", "mosaic", 2, r"mosaic in \[augment\] = 2; expected a number, at least 0, at most 1"),
        ("augment", "rotation", "ten", "rotation in .augment. = 'ten'"),
        ("augment", "face", [300, 9], "face in .augment. .* the smaller first"),
        ("augment", "face", 9, "face in .augment. .* two numbers"),
        ("augment", "enlarge", 0, "enlarge in .augment. = 0; expected a number, at least 1"),
        ("augment", "zoom", 1, "zoom"),
        ("augment", "kept", [0.9], "kept in .augment. .* two numbers"),
        ("augment", "cut_face", [80], "cut_face in .augment. .* two numbers"),
        ("augment", "sideways", 2, "sideways in .augment. = 2"),
        ("model", "widths", [8, 24], "widths in .model. .* a list of 5 whole numbers"),
        ("model", "widths", [8, 24, 48, 64, -1], "widths in .model. = -1"),
        ("model", "blocks", 1, "blocks in .model. .* a list of 4"),
        ("model", "neck", 0, "neck in .model. = 0; expected a whole number, at least 1"),
        ("model", "depth", 3, "unknown depth; expected widths, hidden, blocks, neck"),
        ("points.model", "neck", 1.5, "neck in .points.model. = 1.5"),
        ("points.augment", "noise", -1, "noise in .points.augment. = -1"),
    ],
)
def test_values_of_a_detectors_recipe(tmp_path: Path, table: str, key: str, value: Any, told: str) -> None:
    from ferkit.train.detector.recipe import _RECIPE, load_detector_recipe

    text = _RECIPE.read_text(encoding="utf-8").split(f"\n[{table}]")
    rows = [] if len(text) == 1 else [row for row in text[1].split("\n[", 1)[0].splitlines() if row.split(" ")[0] != key]
    rest = "" if len(text) == 1 or "\n[" not in text[1] else "\n[" + text[1].split("\n[", 1)[1]
    path = tmp_path / "r.toml"
    path.write_text(f"{text[0]}{rest}\n[{table}]\n{key} = {json.dumps(value)}\n" + "\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match=told):
        load_detector_recipe(path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, where nobody may write, not even root")
def test_outputs_of_prepare_and_export_are_tried_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.data import prepare, preparing
    from ferkit.train.release import single_files

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("work before the check")

    monkeypatch.setattr(preparing.Source, "of", fail)
    monkeypatch.setattr(single_files, "ExpressionClassifier", fail)
    data = write_faces(tmp_path / "data", ("a", "b"), 2)
    with pytest.raises(InputError, match="cannot be written"):
        prepare(data, "/proc/ferkit")
    with pytest.raises(InputError, match="cannot be written"):
        single_files.export(None, "/proc/ferkit")
    with pytest.raises(InputError, match="size='48'; expected a side"):
        prepare(data, tmp_path / "out", size="48")  # type: ignore[arg-type]
