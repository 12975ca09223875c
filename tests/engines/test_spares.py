"""Networks for several threads: one for each thread inside, no more than there are CPUs, and the same answers."""

from __future__ import annotations

import asyncio
import importlib.util
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ferkit import ExpressionClassifier, FaceDetector, InputError, Pipeline
from ferkit.engines.spares import Spares
from ferkit.weights.releases import BUNDLED_DETECTOR

needs_onnxruntime = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason='needs the extra "onnxruntime"')


def test_no_two_threads_have_the_same_one() -> None:
    made: list[list[int]] = []

    def make() -> list[int]:
        made.append([])
        return made[-1]

    spares = Spares(make, most=3)
    together = threading.Barrier(3, timeout=10)

    def use(number: int) -> None:
        with spares.one() as mine:
            mine.append(number)
            if number < 3:
                together.wait()  # three are inside at once
            time.sleep(0.001)
            assert mine.pop() == number
            assert not mine

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(40)))
    assert len(made) == 3


def test_one_thread_makes_one() -> None:
    made: list[object] = []
    spares = Spares(lambda: made.append(object()) or made[-1], most=8)
    for _ in range(5):
        with spares.one():
            pass
    assert len(made) == 1


def test_what_is_forgotten_is_made_anew_and_what_is_lent_comes_back() -> None:
    made: list[object] = []
    spares = Spares(lambda: made.append(object()) or made[-1], most=2)
    with spares.one() as lent:
        with spares.one():
            pass
        spares.forget()
        with spares.one() as third:
            assert third is made[2]
    with spares.one() as again:
        assert again is lent
    assert len(made) == 3


def test_one_that_cannot_be_made_keeps_nobody_waiting() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        if len(made) == 2:
            raise MemoryError
        return len(made)

    spares = Spares(make, most=2)
    with spares.one():
        with pytest.raises(MemoryError), spares.one():
            pass
        with spares.one() as second:
            assert second == 3


def test_eight_threads_and_asyncio_answer_as_one(astronaut: np.ndarray) -> None:
    pipeline = Pipeline(None, "fer2013-n-v6")
    images = [astronaut, astronaut[::-1], astronaut[:, ::-1], astronaut[10:, 10:]] * 2
    wanted = [pipeline(image) for image in images]

    async def every() -> list[object]:
        return await asyncio.gather(*(asyncio.to_thread(pipeline, image) for image in images))

    with ThreadPoolExecutor(8) as threads:
        for found in (list(threads.map(pipeline, images)), asyncio.run(every())):
            for one, other in zip(found, wanted, strict=True):
                assert [face.expression.label for face in one] == [face.expression.label for face in other]
                for mine, theirs in zip(one, other, strict=True):
                    assert mine.box == pytest.approx(theirs.box, abs=1e-3)
                    assert dict(mine.expression.probabilities) == pytest.approx(dict(theirs.expression.probabilities), abs=1e-5)


@needs_onnxruntime
def test_the_detector_runs_on_an_engine_too(astronaut: np.ndarray) -> None:
    plain, other = Pipeline(None, "fer2013-n-v6"), Pipeline(None, "fer2013-n-v6", runtime="onnxruntime", providers=["cpu"], threads=1)
    assert "runtime='onnxruntime'" in repr(other.detector)
    assert repr(Pipeline(BUNDLED_DETECTOR, "fer2013-n-v6", runtime="onnxruntime", threads=1).detector) == repr(
        FaceDetector(runtime="onnxruntime", threads=1)
    )  # by its release's name too
    for pipeline in (other, pickle.loads(pickle.dumps(other))):
        (mine,), (theirs,) = pipeline(astronaut), plain(astronaut)
        assert mine.box == pytest.approx(theirs.box, abs=0.01)
        assert np.allclose(mine.landmarks, theirs.landmarks, atol=0.01)
        assert mine.expression.label == theirs.expression.label
        assert type(pipeline.detector._backend._first).__name__ == "OnnxRuntimeEngine"


def test_engines_of_what_has_none_are_refused() -> None:
    with pytest.raises(InputError, match="'none' runs in OpenCV alone"):
        FaceDetector("none", runtime="onnxruntime")
    with pytest.raises(InputError, match="Unknown runtime 'nothing'"):
        FaceDetector(runtime="nothing")
    for given in ({"threads": 1}, {"threads": 0}, {"providers": []}):
        with pytest.raises(InputError, match="for what is opened by name"):
            Pipeline(FaceDetector("none"), ExpressionClassifier("fer2013-n-v6"), **given)
    assert Pipeline("none", "fer2013-n-v6", threads=1).detector.whole


def test_an_engine_with_one_output_cannot_run_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.engines.table import ENGINES

    class Lone:
        def __init__(self, *_: object) -> None: ...

        def run(self, batch: np.ndarray) -> np.ndarray:
            return batch

    monkeypatch.setitem(ENGINES, "lone", Lone)
    with pytest.raises(InputError, match="engine Lone answers one output"):
        FaceDetector(runtime="lone")
