"""What the tests share: data that is made here, data that lies beside the checkout, and a clean environment."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach the network; those that speak to a loopback hub allow it themselves."""
    monkeypatch.setenv("FERKIT_OFFLINE", "1")


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

    from ferkit.train.recipe import load_recipe
    from ferkit.train.release import write_release
    from ferkit.weights import resolve

    recipe = load_recipe("ferkit-s-v3")
    recipe = dataclasses.replace(recipe, release={**recipe.release, "precision": "float32"})
    folder = tmp_path_factory.mktemp("weights") / "in-float32"
    write_release(keras.models.load_model(resolve() / "model.keras", compile=False), recipe, folder, folder.name, None, [], 0)
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


def patterns() -> np.ndarray:
    """Grey 48x48 patterns, uint8 (24, 48, 48): smooth blobs, so that resampling and engines see ordinary input."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:48, 0:48] / 48
    out = []
    for _ in range(24):
        cx, cy, s, a, b = rng.random(5)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (0.02 + 0.2 * s)) + 0.5 * np.sin(6 * (a * x + b * y))
        out.append(np.interp(blob, (blob.min(), blob.max()), (10, 245)))
    return np.array(out).astype(np.uint8)


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    return patterns()


def write_fer_csv(path: Path, training: int = 24, public: int = 12, seed: int = 0) -> Path:
    """Write a small fer2013.csv whose labels can be learnt from the brightness."""
    rng = np.random.default_rng(seed)
    with path.open("w") as f:
        f.write("emotion,pixels,Usage\n")
        for usage, count in (("Training", training), ("PublicTest", public)):
            for i in range(count):
                label = i % 7
                face = np.clip(rng.normal(30 + 32 * label, 10, (48, 48)), 0, 255).astype(int)
                f.write(f"{label},{' '.join(map(str, face.ravel()))},{usage}\n")
    return path


def write_votes_csv(path: Path, training: int = 24, public: int = 12) -> Path:
    """Write FER+ votes for the faces of :func:`write_fer_csv`: eight for one label, two for the next."""
    lines = ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    for usage, count in (("Training", training), ("PublicTest", public)):
        for i in range(count):
            votes = ["8" if k == i % 8 else "2" if k == (i + 1) % 8 else "0" for k in range(10)]
            lines.append(f"{usage},f{i}.png,{','.join(votes)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def small_csv(tmp_path: Path) -> Path:
    return write_fer_csv(tmp_path / "fer2013.csv")
