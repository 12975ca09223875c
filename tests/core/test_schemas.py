"""docs/schemas/ describes what the commands print."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import list_weights
from ferkit.cli.main import main
from tests.helpers.schemas import validator

jsonschema = pytest.importorskip("jsonschema", reason='needs the extra test: pip install "ferkit[test]"')
ROOT = Path(__file__).resolve().parents[2]
ENSEMBLE = next(release.name for release in list_weights() if "ensemble" in release.name)
PHOTO = ROOT / "docs" / "images" / "photo.jpg"


def answer(*arguments: str) -> str:
    run = CliRunner().invoke(main, list(arguments))
    assert run.exit_code == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "options",
    [[], ["--features"], ["--labels", "ferplus", "--min-confidence", "1.0"], ["--detector", "none"], ["--weights", ENSEMBLE]],
    ids=" ".join,
)
def test_predict(options: list[str], tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "empty.png")
    said = json.loads(answer("predict", str(PHOTO), str(tmp_path / "empty.png"), *options))
    validator("predict").validate(said)
    assert said[0]["faces"]


def test_predict_tells_what_differs() -> None:
    said = json.loads(answer("predict", str(PHOTO)))
    for path in ((0, "width"), (0, "schema"), (0, "faces", 0, "box"), (0, "faces", 0, "landmarks"), (0, "faces", 0, "probabilities")):
        other = copy.deepcopy(said)
        inner = other
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        assert not validator("predict").is_valid(other), path
    said[0]["faces"][0]["confidence"] = 93
    assert not validator("predict").is_valid(said)


def test_evaluate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{n % 7},{' '.join(map(str, rng.integers(0, 256, 48 * 48)))},PublicTest" for n in range(14)]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n", encoding="utf-8")
    said = json.loads(answer("evaluate", "--data", str(tmp_path / "fer2013.csv"), "--format", "json"))
    validator("evaluate").validate(said)
    del said["confusion"]
    assert not validator("evaluate").is_valid(said)


def test_rows_of_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')
    from tests.helpers import films

    with Image.open(PHOTO) as photo:
        face = np.asarray(photo.convert("RGB").resize((360, 360)))
    films.write(tmp_path / "film.mp4", [face] * 30 + [np.zeros_like(face)] * 30)
    lines = [json.loads(line) for line in answer("video", str(tmp_path / "film.mp4")).splitlines()]
    for line in lines:
        validator("row").validate(line)
    seen = next(line for line in lines if line["label"] == "happy")
    assert lines[-1]["label"] is None
    assert not validator("row").is_valid({**seen, "box": [1, 2, 3]})
