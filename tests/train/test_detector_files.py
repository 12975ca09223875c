"""The face detector as one file for other runtimes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit import DataError, FaceDetector, FerkitError, InputError, load_image
from ferkit.train.release.records import DetectionMeasured, DetectorExport
from tests.helpers.commands import ferkit
from tests.helpers.records import mismatches

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "docs" / "images" / "photo.jpg"
pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxruntime")), reason="needs onnx, onnxruntime"),
]


def opened(path: Path) -> object:
    from ferkit.train.release.detector_files import opened as run

    return run(path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ferkit.train import export

    (file,) = export("ferkit-face-v4", tmp_path_factory.mktemp("exported"), ("onnx",), photo=PHOTO)
    return file


def crowd() -> np.ndarray:
    """One face in several sizes, one of them cut, on a wide picture: what both looks and every rule have to do with."""
    photo = Image.fromarray(load_image(PHOTO))
    canvas = Image.new("RGB", (1200, 800), (90, 120, 90))
    for side, place in ((640, (0, 160)), (300, (650, 20)), (120, (980, 40)), (400, (820, 430)), (60, (660, 380))):
        canvas.paste(photo.resize((side, side)), place)
    return np.asarray(canvas)


def large() -> np.ndarray:
    """One face in a smooth picture, in which the first look sees more of them."""
    return np.asarray(Image.fromarray(load_image(PHOTO)).resize((1280, 1280)))


@pytest.mark.parametrize(("picture", "least", "faces"), [(crowd, 0.624, 4), (crowd, 0.3, 4), (large, 0.624, 1)])
def test_an_export_finds_what_ferkit_finds(exported: Path, picture: Callable[[], np.ndarray], least: float, faces: int) -> None:
    """Boxes, scores and landmarks, on a picture with many faces; the rules too, which have to do where the least score is low."""
    pixels = picture()
    expected = sorted(FaceDetector(min_score=least).detect_rgb(pixels), key=lambda face: -face.score)
    boxes, scores, landmarks = opened(exported)(pixels, least)  # type: ignore[operator]
    assert len(expected) >= faces
    np.testing.assert_allclose(scores, [face.score for face in expected], atol=1e-3)
    np.testing.assert_allclose(boxes, [face.box for face in expected], atol=0.5)
    off = np.abs(landmarks - np.array([face.landmarks for face in expected])).max(axis=(1, 2))
    assert (off < 0.05 * (boxes[:, 3] - boxes[:, 1])).all()


@pytest.mark.parametrize(("bias", "faces"), [(-20.0, 0), (20.0, 1)])
def test_what_a_view_from_near_says_counts(bias: float, faces: int) -> None:
    """In an export too."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    from ferkit.detectors.ferkit_face import FerkitFace
    from ferkit.train.release.detector_graph import detector_graph
    from ferkit.weights.store import resolve_detector

    folder = resolve_detector("ferkit-face-v4")
    network, points = ((folder / name).read_bytes() for name in ("model.onnx", "points.onnx"))
    changed = onnx.load_from_string(points)
    (tensor,) = (tensor for tensor in changed.graph.initializer if tensor.name == "face.n37.bias")
    tensor.CopyFrom(numpy_helper.from_array(np.array([bias], np.float32), tensor.name))
    points = changed.SerializeToString()
    pixels = load_image(PHOTO)
    assert len(FerkitFace.from_bytes(network, 0.624, points).detect(pixels)) == faces
    (boxes,) = onnxruntime.InferenceSession(detector_graph(network, points)).run(
        ["boxes"], {"image": pixels, "min_score": np.array(0.624, np.float32)}
    )
    assert len(boxes) == faces


@pytest.mark.parametrize("shape", [(700, 900, 3), (33, 1000, 3), (8, 8, 3)])
def test_a_picture_without_faces_gives_empty_answers(exported: Path, shape: tuple[int, ...]) -> None:
    boxes, scores, landmarks = opened(exported)(np.zeros(shape, np.uint8), 0.624)  # type: ignore[operator]
    assert (boxes.shape, scores.shape, landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


def test_a_file_says_what_it_is(exported: Path) -> None:
    import onnxruntime

    facts = onnxruntime.InferenceSession(str(exported)).get_modelmeta().custom_metadata_map
    about = json.loads(exported.with_suffix(".json").read_text(encoding="utf-8"))
    assert not list(mismatches(about, DetectorExport))
    assert facts["ferkit.weights"] == about["weights"] == "ferkit-face-v4"
    assert json.loads(facts["ferkit.min_score"]) == about["min_score"] == 0.624
    assert facts["ferkit.licence"] == "MIT"


def test_check_compares_with_ferkit(exported: Path, tmp_path: Path) -> None:
    from ferkit.train import export
    from ferkit.train.release.single_files import check

    assert check([exported])["ferkit-face-v4.onnx, onnxruntime"] < 0.01  # type: ignore[operator]
    (other,) = export("ferkit-face-v4", tmp_path, ("onnx",), precision="float16", photo=PHOTO)
    assert other.stat().st_size < 0.6 * exported.stat().st_size
    assert check([other])["ferkit-face-v4-float16.onnx, onnxruntime"] < 0.01  # type: ignore[operator]
    beside = other.with_name("ferkit-face-v4-float16.photo.npz")
    with np.load(beside) as golden:
        kept = dict(golden)
    np.savez_compressed(beside, allow_pickle=False, **kept | {"boxes": kept["boxes"] + 40})
    with pytest.raises(FerkitError, match="disagree"):
        check([other])
    beside.unlink()
    with pytest.raises(InputError, match="is checked on a photo"):
        check([other])


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder as ``train-detector`` reads it, of one photo in two sizes."""
    for part in ("dev/images", "train/images"):
        (tmp_path / part).mkdir(parents=True)
    pixels = crowd()
    Image.fromarray(pixels).save(tmp_path / "dev" / "images" / "a.png")
    for number in range(4):
        Image.fromarray(np.ascontiguousarray(pixels[:, 100 * number :])).save(tmp_path / "train" / "images" / f"{number}.png")
    marked = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (face.box for face in FaceDetector().detect_rgb(pixels))]
    table = {"a.png": {"source": "drawn", "faces": [{"box": box, "ignore": 0} for box in marked]}}
    (tmp_path / "dev" / "gt.json").write_text(json.dumps(table), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_int8_is_measured(faces: Path, tmp_path: Path) -> None:
    done = ferkit("export", "ferkit-face-v4", "--out", tmp_path / "out", "--precision", "int8", "--data", faces)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(tmp_path / "out" / "ferkit-face-v4-int8.onnx")]  # nothing of the quantiser's
    measured = json.loads((tmp_path / "out" / "ferkit-face-v4-int8.json").read_text(encoding="utf-8"))["measured"]
    assert not list(mismatches(measured, DetectionMeasured))
    assert measured["pictures"] == 1
    assert measured["ap50"]["ferkit"] == 1.0
    assert measured["ap50"]["export"] > 0.5


def test_what_a_detector_cannot_be_is_said(tmp_path: Path) -> None:
    from ferkit.train import export

    for options in ({"formats": ("litert",)}, {"formats": ("onnx",), "labels": "fer2013"}):
        with pytest.raises(InputError, match="is a face detector"):
            export("ferkit-face-v4", tmp_path / "out", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs faces"):
        export("ferkit-face-v4", tmp_path / "out", ("onnx",), precision="int8")
    with pytest.raises(DataError):
        export("ferkit-face-v4", tmp_path / "out", ("onnx",), data=tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "empty.png")
    with pytest.raises(InputError, match="has no face"):
        export("ferkit-face-v4", tmp_path / "out", ("onnx",), photo=tmp_path / "empty.png")
