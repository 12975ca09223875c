"""What the tests share: data that is made here, data that lies beside the checkout, and a clean environment."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from ferkit import (
    ExpressionClassifier,
    Pipeline,
)
from tests.helpers.faces import patterns, write_fer_csv
from tests.helpers.hubs import WriteHub
from tests.helpers.paths import SHARED

# How long an example takes to draw depends on what else the machine does; no test is timed.
settings.register_profile("ferkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ferkit")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach the network; those that speak to a loopback hub allow it themselves."""
    monkeypatch.setenv("FERKIT_OFFLINE", "1")


@pytest.fixture
def hub() -> Iterator[WriteHub]:
    """A loopback hub that takes what is pushed."""
    hub = WriteHub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the data folder ../shared, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def fer_csv(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """fer2013.csv and fer2013new.csv, written out from the pack."""
    sys.path.insert(0, str(shared / "fer2013"))
    try:
        import read_fer2013
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("fer2013")
    faces, votes = folder / "fer2013.csv", folder / "fer2013new.csv"
    with faces.open("w") as f, votes.open("w") as v:
        f.write("emotion,pixels,Usage\n")
        v.write("Usage,Image name," + ",".join(read_fer2013.VOTES) + "\n")
        for usage in ("Training", "PublicTest"):
            for row, (image, label, vote) in enumerate(zip(*read_fer2013.load(usage), strict=True)):
                f.write(f"{label},{' '.join(map(str, image.ravel()))},{usage}\n")
                v.write(f"{usage},{row:07d}.png,{','.join(map(str, vote))}\n")
    return faces, votes


@pytest.fixture(scope="session")
def in_float32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default weights, which are stored as float16, written anew in float32: there Keras and ONNX differ by rounding alone."""
    import keras

    from ferkit.train.classifier.recipe import load_recipe
    from ferkit.train.classifier.release import write_release
    from ferkit.weights.store import resolve

    recipe = load_recipe("ferkit-s-v3")
    recipe = dataclasses.replace(recipe, release={**recipe.release, "precision": "float32"})
    folder = tmp_path_factory.mktemp("weights") / "in-float32"
    write_release(keras.models.load_model(resolve() / "model.keras", compile=False), recipe, folder, folder.name)
    return folder


@pytest.fixture(scope="session")
def yunet_file(shared: Path) -> Path:
    return shared / "models" / "face_detection_yunet_2026may.onnx"


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A public-domain portrait of 512x512, RGB uint8."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's astronaut: pip install scikit-image")
    return np.asarray(data.astronaut())


@pytest.fixture(scope="session")
def photo(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(astronaut).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    return patterns()


@pytest.fixture
def small_csv(tmp_path: Path) -> Path:
    return write_fer_csv(tmp_path / "fer2013.csv")


@pytest.fixture(scope="module")
def classifier() -> ExpressionClassifier:
    return ExpressionClassifier()


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()
