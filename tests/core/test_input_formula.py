"""The formula of a network's input: one, whoever shows a face to a network. Each is held against ``classifier.logits``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ferkit
from ferkit import ExpressionClassifier
from ferkit.train.classifier.recipe import Recipe, load_recipe
from tests.helpers.training import TINY, needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.train, needs_keras]
SCALES = {
    "fixed": "mean = 0.5\nstd = 0.25\nwindow = 44",
    "standardised": "mean = 0.1\nstd = 0.8\nstandardise = true\nwindow = 44",
    "whole": "mean = -0.2\nstd = 1.5\nstandardise = true",
}


@pytest.fixture(scope="module", params=SCALES)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """Weights that were never trained, for each way to scale an input."""
    import keras

    from ferkit.train.classifier.networks import build_model
    from ferkit.train.classifier.release import write_release

    folder = tmp_path_factory.mktemp("formula") / request.param
    recipe_file = folder.with_suffix(".toml")
    recipe_file.write_text(TINY.replace("mean = 0.5\nstd = 0.25", SCALES[request.param]))
    recipe = load_recipe(recipe_file)
    keras.utils.set_random_seed(5)
    model = build_model("tiny", {"fer2013": 7}, size=recipe.window)
    model(np.zeros((1, recipe.window, recipe.window, 1), np.float32))
    for layer in model.layers:  # answers that differ from face to face
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(10 * np.asarray(layer.kernel))
    write_release(model, recipe, folder, folder.name)
    return folder, recipe


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    rng = np.random.default_rng(2)
    level, contrast = rng.uniform(60, 190, (9, 1, 1)), rng.uniform(5, 40, (9, 1, 1))
    return np.clip(rng.normal(level, contrast, (9, 48, 48)), 0, 255).astype(np.uint8)


def seen(faces: np.ndarray, recipe: Recipe) -> np.ndarray:
    edge = (48 - recipe.window) // 2
    return faces[:, edge : 48 - edge, edge : 48 - edge, None].astype(np.float32)


def test_a_teacher_sees_what_the_classifier_sees(weights: tuple[Path, Recipe], faces: np.ndarray) -> None:
    from ferkit.train.classifier.distilling import Teacher

    folder, recipe = weights
    wanted = ExpressionClassifier(folder).logits(faces)[0]
    odds = np.exp(wanted / 2.0)
    answer = Teacher([str(folder)], ["fer2013"], temperature=2.0)(seen(faces, recipe))["fer2013"]
    assert np.abs(answer - odds / odds.sum(axis=1, keepdims=True)).max() < 1e-4
    assert np.ptp(wanted, axis=0).max() > 0.05  # not one answer for all


def test_training_sees_what_the_classifier_sees(weights: tuple[Path, Recipe], faces: np.ndarray) -> None:
    import keras

    from ferkit.train.classifier.loop import predict_logits

    folder, recipe = weights
    model = keras.models.load_model(folder / "model.keras", compile=False)
    wanted = ExpressionClassifier(folder).logits(faces)[0]
    assert np.abs(predict_logits(model, faces, recipe)["fer2013"] - wanted).max() < 1e-4


def test_unfreezing_shows_the_network_what_the_classifier_sees(
    weights: tuple[Path, Recipe], faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferkit.data.faces import Faces
    from ferkit.train.finetuning import unfreezing as unfreeze
    from ferkit.train.finetuning.backbone import Backbone

    folder, recipe = weights
    classifier = ExpressionClassifier(folder)
    backbone = Backbone(folder, classifier)
    shown: list[np.ndarray] = []

    class Unchanged:
        """Draws no augmentation: the middle of each face, as prediction takes it."""

        def __init__(self, **_: Any) -> None: ...

        def __call__(self, images: np.ndarray, **_: Any) -> np.ndarray:
            return seen(images, recipe)

    class Stopped:
        """A model that only looks."""

        layers: tuple[Any, ...] = ()
        optimizer = type("Optimizer", (), {})()

        def compile(self, **_: Any) -> None: ...

        def train_on_batch(self, x: np.ndarray, *_: Any, **__: Any) -> float:
            shown.append(np.asarray(x))
            return 0.0

    monkeypatch.setattr(unfreeze, "FaceAugmentation", Unchanged)
    labels = np.arange(len(faces)) % 7
    list(unfreeze._trained(backbone, Stopped(), Faces(faces, labels), 0, None, 1))  # type: ignore[arg-type]
    order = np.random.default_rng((0, 0)).permutation(len(faces))
    answer = np.asarray(backbone.model(shown[0], training=False)["fer2013"])
    assert np.abs(answer - classifier.logits(faces[order])[0]).max() < 1e-4


@pytest.mark.slow
def test_exports_see_what_the_classifier_sees(weights: tuple[Path, Recipe], faces: np.ndarray, tmp_path: Path) -> None:
    from ferkit.train.release.single_files import check, export

    folder, _ = weights
    classifier = ExpressionClassifier(folder)
    files = export(folder, tmp_path)
    assert {path.suffix for path in files} == {".onnx", ".tflite"}
    assert max(worst for worst in check(files).values() if worst is not None) < 0.02

    session = pytest.importorskip("onnxruntime").InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    pictures = np.repeat(faces[..., None], 3, axis=3)
    logits, _ = session.run(["logits", "probabilities"], {"image": pictures})
    assert np.abs(logits - classifier.logits(faces)[0] @ classifier.mix).max() < 1e-3


def test_the_formula_stands_once() -> None:
    """Whoever divides pixels by 255 to show them to a network has a second formula, which forgets what the first one learns."""
    root, homes = Path(ferkit.__file__).parent, []
    for path in sorted(root.rglob("*.py")):
        code = re.sub(r'""".*?"""|"[^"\n]*"|#[^\n]*', "", path.read_text(encoding="utf-8"), flags=re.S)
        if re.search(r"(?<!/)/ ?255", code) and re.search(r"\bstd\b", code):
            homes.append(path.relative_to(root).as_posix())
    told = {"classifiers/adopting.py", "classifiers/model_file.py"}  # say a maker's scale in a spec's terms; no pixel passes there
    assert set(homes) - told == {"crops.py"}, homes
