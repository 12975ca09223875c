"""A stranger's detector, classifier and engine, each a few lines that inherit nothing, run wherever ferkit's own do."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ferkit import ExpressionClassifier, Face, FaceDetector, InputError, LabelSet, Pipeline
from ferkit.crops import CropGeometry
from ferkit.engines.table import ENGINES
from ferkit.evaluation import evaluate
from ferkit.protocols import Classifier, Crops, Detector
from tests.helpers import films
from tests.helpers.faces import write_fer_csv
from tests.helpers.training import TINY, needs_keras

ROOT = Path(__file__).resolve().parents[2]


class Middle:
    """Finds one face in the middle of every picture."""

    def detect_rgb(self, pixels: NDArray[np.uint8]) -> list[Face]:
        height, width = pixels.shape[:2]
        return [Face((width / 4, height / 4, 3 * width / 4, 3 * height / 4))]


class Brightness:
    """Calls bright crops happy."""

    name = "brightness"
    labels = LabelSet("moods", ("happy", "sad"))
    crop = CropGeometry()

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        happy = np.array([np.asarray(crop).mean() / 255 for crop in crops], np.float32)
        return np.stack([happy, 1 - happy], axis=1)


def picture(brightness: int) -> NDArray[np.uint8]:
    return np.full((120, 160, 3), brightness, np.uint8)


def test_the_protocols_fit_what_is_in_the_package() -> None:
    detector: Detector = FaceDetector("none")  # a type checker compares them, here and below
    classifier: Classifier = ExpressionClassifier()
    assert Pipeline(detector, classifier)(picture(90)).faces[0].expression is not None


def test_in_a_pipeline() -> None:
    pipeline = Pipeline(Middle(), Brightness())
    bright, dark = pipeline.predict([picture(250), picture(10)])
    assert (bright.faces[0].expression.label, dark.faces[0].expression.label) == ("happy", "sad")  # type: ignore[union-attr]
    assert bright.weights == "brightness"
    assert bright.faces[0].box == (40, 30, 120, 90)
    assert json.loads(bright.to_json())["faces"][0]["probabilities"].keys() == {"happy", "sad"}
    assert bright.to_csv().splitlines()[0].endswith("happy,sad")


def test_in_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs ferkit[video]")
    pytest.importorskip("scipy", reason="needs ferkit[video]")
    rng = np.random.default_rng(0)
    still = np.asarray(Image.fromarray(rng.integers(120, 255, (12, 16, 3), dtype=np.uint8)).resize((160, 120)))
    films.write(tmp_path / "film.mp4", [still] * 30)
    results = [result for _, result in Pipeline(Middle(), Brightness()).video(tmp_path / "film.mp4")]
    assert len(results) == 30
    assert {face.expression.label for result in results for face in result.faces} == {"happy"}  # type: ignore[union-attr]
    assert {face.track_id for result in results for face in result.faces} == {1}


def test_in_an_evaluation(tmp_path: Path) -> None:
    for label, brightness in (("happy", 230), ("sad", 30)):
        (tmp_path / label).mkdir()
        for number in range(4):
            Image.fromarray(picture(brightness + number)).save(tmp_path / label / f"{number}.png")
    report = evaluate(Brightness(), tmp_path, detector=Middle())
    assert (report["accuracy"], report["n"], report["weights"], report["tta"]) == (1.0, 8, "brightness", "none")


def test_an_engine_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant:
        def __init__(self, model: bytes, providers: object = None, threads: int | None = None) -> None:
            self.bytes = len(model)

        def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            assert batch.shape[1:] == (1, 44, 44)
            return np.tile(np.arange(15, dtype=np.float32), (len(batch), 1))

    monkeypatch.setitem(ENGINES, "constant", Constant)
    answered = ExpressionClassifier(runtime="constant", labels="fer2013").predict(np.zeros((3, 48, 48), np.uint8))
    assert [expression.label for expression in answered] == ["neutral"] * 3  # the last of the first head's seven columns


@pytest.mark.train
@needs_keras
def test_a_network_is_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in a recipe; its weights are as good as any."""
    from ferkit.train import train

    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    code = re.search(r"```text\n(# mynets\.py.*?)```", text, re.S)
    assert code is not None
    (tmp_path / "mynets.py").write_text(code[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "small.toml"
    recipe.write_text(re.sub(r'\[model\]\nname = "tiny"', '[model]\nname = "mynets:small"\nwidth = 8', TINY), encoding="utf-8")
    out = train(recipe, write_fer_csv(tmp_path / "fer2013.csv"), tmp_path / "mine-v1")
    assert ExpressionClassifier(out).predict_proba(np.zeros((2, 48, 48), np.uint8)).shape == (2, 7)
    for wrong, message in (('"mynets:none"', "cannot be imported"), ('"mynets:small"\ndepth = 3', "does not take its arguments")):
        recipe.write_text(re.sub(r'name = "mynets:small"', f"name = {wrong}", recipe.read_text(encoding="utf-8")), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            train(recipe, tmp_path / "fer2013.csv", tmp_path / "other")
        recipe.write_text(re.sub(r'name = "mynets:none"', 'name = "mynets:small"', recipe.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.slow
def test_a_type_checker_accepts_them(tmp_path: Path) -> None:
    """And refuses what lacks a method."""
    pytest.importorskip("mypy", reason="needs mypy: pip install mypy")
    good = "from ferkit import Pipeline\nfrom tests.house.test_extending import Brightness, Middle\nPipeline(Middle(), Brightness())\n"
    bad = "from ferkit import Pipeline\nclass Blind:\n    pass\nPipeline(Blind())\n"
    for code, fits in ((good, True), (bad, False)):
        file = tmp_path / "stranger.py"
        file.write_text(code, encoding="utf-8")
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--follow-imports", "silent", str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == fits, done.stdout
        assert fits or 'incompatible type "Blind"' in done.stdout


def test_in_the_service() -> None:
    """A detector and a classifier that nobody can open by name, behind the HTTP interface."""
    pytest.importorskip("fastapi", reason='needs the extra serve: pip install "ferkit[serve]"')
    testclient = pytest.importorskip("fastapi.testclient", reason="needs httpx: pip install httpx")
    from ferkit.serve.app import create_app
    from ferkit.serve.settings import Settings

    app = create_app(Settings(lanes=2, hosts=("testserver",)), detector=Middle(), classifiers=[Brightness()])
    with testclient.TestClient(app) as client:
        offered = client.get("/v1/weights").json()
        assert [(w["name"], [s["name"] for s in w["labels"]]) for w in offered["weights"]] == [("brightness", ["moods"])]
        assert (offered["detector"], offered["reads_films"]) == ("Middle", False)
        answered = client.post("/v1/predict", content=png(picture(250))).json()
        [face] = answered["images"][0]["faces"]
        assert (face["label"], face["box"]) == ("happy", [40, 30, 120, 90])
        assert client.post("/v1/predict?weights=fer2013-s-v6", content=png(picture(9))).status_code == 422
        assert client.post("/v1/predict?draw=1", content=png(picture(10))).headers["content-type"] == "image/png"
        assert client.post("/v1/video", content=b"\0\0\0\x18ftypmp42").status_code == 501
    beside = create_app(Settings(lanes=1, hosts=("testserver",), weights=("fer2013-n-v6",)), classifiers=[Brightness()])
    with testclient.TestClient(beside) as client:
        assert [w["name"] for w in client.get("/v1/weights").json()["weights"]] == ["brightness", "fer2013-n-v6"]
        answered = client.post("/v1/predict?weights=fer2013-n-v6&labels=ferplus", content=png(picture(99))).json()
        assert (answered["weights"], answered["labels"]) == ("fer2013-n-v6", "ferplus")


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
