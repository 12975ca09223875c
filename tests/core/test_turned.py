"""Turned pictures: found from every side when asked, and marked as unsure where they were not asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import Expression, Face, FaceDetector, InputError, Pipeline
from ferkit.cli.main import main
from ferkit.geometry import area, intersection, iou
from ferkit.turning import judged, surest, turn_back, turn_upright, upright

FACE = (176, 62, 272, 190)  # of the astronaut
TURNS = (0, 90, 180, 270)


def turned(image: np.ndarray, turn: int) -> np.ndarray:
    """Turn clockwise."""
    return np.ascontiguousarray(np.rot90(image, -turn // 90))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(rotations=TURNS)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("scale", [0.3, 1, 3])
def test_a_turned_picture_reads_as_the_upright_one(pipeline: Pipeline, astronaut: np.ndarray, turn: int, scale: float) -> None:
    side = round(512 * scale)
    image = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.BICUBIC))[: round(0.8 * side)]
    straight = max(Pipeline()(image).faces, key=lambda f: f.score)
    result = pipeline(turned(image, turn))
    face = max(result.faces, key=lambda f: f.score)
    assert face.turn == turn
    assert face.to_dict()["turn"] == turn
    back = turn_upright(face, turn, result.width, result.height)
    assert iou([back.box], [straight.box])[0, 0] > 0.9
    assert straight.landmarks is not None
    assert back.landmarks is not None
    assert np.abs(np.array(back.landmarks) - straight.landmarks).max() < 0.05 * straight.height
    assert face.expression is not None
    assert straight.expression is not None
    assert face.expression.label == straight.expression.label
    assert face.roll is not None
    assert straight.roll is not None
    assert abs((face.roll - turn - straight.roll + 180) % 360 - 180) < 4


@pytest.mark.parametrize("turn", TURNS[1:])
@pytest.mark.parametrize("scale", [0.3, 0.5, 1, 2])
def test_a_turned_face_that_nobody_asked_for_is_unsure(astronaut: np.ndarray, scale: float, turn: int) -> None:
    """Few sideways faces are found at all, so that less sure ones are asked for; each is there once, as a turned face."""
    side = round(512 * scale)
    image = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.BICUBIC))
    there = turn_back(Face(FACE), turn, 512, 512).box
    pipeline = Pipeline(FaceDetector(min_score=0.3))
    faces = [face for face in pipeline(turned(image, turn)).faces if _mostly_in(np.array(face.box) / scale, there)]
    assert [face.turn for face in faces if face.turn] == [turn]
    face = next(face for face in faces if face.turn)
    assert iou([np.array(face.box) / scale], [there])[0, 0] > 0.3
    assert face.expression is not None
    assert face.expression.label is None
    assert ("upside down" if turn == 180 else f"turned by {turn} degrees") in str(face.expression.reason)
    assert f"rotations=(0, {turn})" in json.dumps(face.to_dict())
    straight = max(pipeline(image).faces, key=lambda f: f.score)
    assert straight.turn is None
    assert "turn" not in straight.to_dict()
    assert straight.expression is not None
    assert straight.expression.label is not None


@pytest.mark.parametrize("side", [200, 700, 1400, 2000])
def test_a_close_up_upside_down_is_one_unsure_face(astronaut: np.ndarray, side: int) -> None:
    """Nobody asked for it: what looks like faces within it from the wrong side is one face from the other."""
    close = Image.fromarray(astronaut).crop((120, 0, 360, 260)).rotate(180).resize((side, side))
    (face,) = Pipeline()(close)
    assert (face.turn, face.expression.label if face.expression else "") == (180, None)


def _mostly_in(box: np.ndarray, other: tuple[float, ...]) -> bool:
    return bool(intersection([box], [other])[0, 0] > 0.5 * area([box])[0])


def test_a_turn_that_was_not_among_those_asked_for_is_unsure() -> None:
    """A face found from one side that is turned there too is turned by both, and is read only if that was asked for."""
    side = turn_back(Face((10, 5, 20, 17), turn=90), 180, 60, 40)
    assert side.turn == 270
    expression = Expression("happy", 0.9, {"happy": 0.9, "sad": 0.1})
    label = {asked: judged(side, expression, asked).expression.label for asked in ((), (0, 180), TURNS)}  # type: ignore[union-attr]
    assert label == {(): None, (0, 180): None, TURNS: "happy"}


@pytest.mark.parametrize("turn", TURNS)
def test_boxes_and_points_turn_with_their_picture(turn: int) -> None:
    """A marked pixel is found again where the face's landmark says; the box holds it."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[7, 11] = 255
    face = Face((10, 5, 20, 17), 0.9, ((11, 7),) * 5)
    view = upright(image, turn)
    seen = turn_upright(face, turn, 60, 40)
    assert seen.landmarks is not None
    x, y = seen.landmarks[0]
    assert view[round(y), round(x)].all()
    assert seen.box[0] <= x <= seen.box[2]
    assert (seen.width, seen.height) == ((10, 12) if turn in (0, 180) else (12, 10))
    again = turn_back(seen, turn, 60, 40)
    assert again.box == face.box
    assert again.landmarks == face.landmarks
    assert again.turn == turn


def test_one_face_from_several_sides_is_one() -> None:
    """Also where two sides agree on its turn; two faces of one side stay two."""
    sure, other, apart = Face((0, 0, 10, 10), 0.9, turn=0), Face((2, 2, 9, 9), 0.8, turn=180), Face((20, 0, 30, 10), 0.7, turn=90)
    child, larger = Face((6, 6, 9, 9), 0.6, turn=0), Face((-2, -2, 12, 12), 0.5, turn=0)
    assert surest([(0, sure), (180, other), (90, apart), (0, child), (180, larger)]) == [sure, apart, child]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("scale", [0.5, 1])
def test_each_face_of_a_turned_picture_is_there_once(astronaut: np.ndarray, turn: int, scale: float) -> None:
    """Whatever sides are asked for beside the right one: no second, larger box that another side made of the same face."""
    side = round(512 * scale)
    image = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.BICUBIC))
    there = turn_back(Face(FACE), turn, 512, 512).box
    for rotations in (TURNS, (turn, (turn + 180) % 360)):
        faces = FaceDetector(rotations=rotations).detect_rgb(turned(image, turn))
        mine = [face for face in faces if _mostly_in(np.array(face.box) / scale, there) or _mostly_in(np.array(there) * scale, face.box)]
        assert [face.turn for face in mine] == [turn]
        assert iou([np.array(mine[0].box) / scale], [there])[0, 0] > 0.6


def test_roll_is_the_eyes_line() -> None:
    points = ((10.0, 10.0), (20.0, 20.0), (15.0, 20.0), (10.0, 25.0), (15.0, 28.0))
    assert Face((0, 0, 30, 30), 1.0, points).roll == pytest.approx(45)
    assert Face((0, 0, 30, 30), 1.0, tuple((30 - x, 30 - y) for x, y in points)).roll == pytest.approx(-135)
    assert Face((0, 0, 30, 30)).roll is None


@pytest.mark.parametrize("rotations", [(45,), "180", "", 90, ("up",), (360,), (90.5,), (True,), (float("nan"),), ([90],)])
def test_other_turns_are_refused(rotations: object) -> None:
    with pytest.raises(InputError, match="expected some of 0, 90, 180 and 270"):
        FaceDetector(rotations=rotations)  # type: ignore[arg-type]


def test_rotations_beside_other_arguments() -> None:
    with pytest.raises(InputError, match="'none' searches nothing"):
        FaceDetector("none", rotations=(0, 180))
    with pytest.raises(InputError, match="beside a detector that is open"):
        Pipeline(FaceDetector(), rotations=(0, 180))
    assert "rotations=(0, 180)" in repr(FaceDetector(rotations=(0, 180)))
    assert FaceDetector(rotations=np.array([90, 180])).rotations == (0, 90, 180)  # type: ignore[arg-type]


def test_the_command(astronaut: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    Image.fromarray(turned(astronaut, 90)).save(path)
    found = CliRunner().invoke(main, ["predict", str(path), "--rotations", "all", "--format", "jsonl"])
    faces = json.loads(found.stdout)["faces"]
    assert max(faces, key=lambda face: face["score"])["turn"] == 90
    refused = CliRunner().invoke(main, ["predict", str(path), "--rotations", "45"])
    assert refused.exit_code == 2
    assert "expected some of 0,90,180,270" in refused.stderr + str(refused.exception)
