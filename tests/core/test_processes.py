"""Workers: everything pickles and copies, errors travel, a fork never hangs, and a daemon thread does not abort the end."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import ferkit
from ferkit import Ensemble, ExpressionClassifier, FaceDetector, FerkitError, LabelSet, MissingExtraError, Pipeline
from ferkit.detectors.face_detector import BACKENDS

from ..helpers.films import write as write_film

HOW = {"pickle": lambda thing: pickle.loads(pickle.dumps(thing)), "copy": copy.copy, "deepcopy": copy.deepcopy}
SPECIAL = {"MissingExtraError": ("onnxruntime", "onnxruntime", "It"), "Problem": (503, "busy", "Later.", 7)}


def error_types() -> list[type[Exception]]:
    root = Path(ferkit.__file__).parent
    for path in root.rglob("*.py"):
        if re.search(r"^class \w+\(.*(Error|Exception|Problem)\b.*\):", path.read_text(encoding="utf-8"), re.MULTILINE):
            importlib.import_module(".".join(("ferkit", *path.relative_to(root).with_suffix("").parts)))
    found: list[type[Exception]] = []
    waiting: list[type[Exception]] = [Exception]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("ferkit"):
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("how", HOW)
def test_every_error_pickles_and_copies(how: str) -> None:
    kinds = error_types()
    assert len(kinds) >= 8
    for kind in kinds:
        error = kind(*SPECIAL.get(kind.__name__, ("What came; what was expected.",)))
        error.note = "kept"  # type: ignore[attr-defined]
        again = HOW[how](error)
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert isinstance(again, FerkitError) == isinstance(error, FerkitError)


def _needs_an_extra(_: int) -> None:
    raise MissingExtraError("onnxruntime", "onnxruntime", "This")


def test_an_error_comes_back_from_a_worker() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.raises(MissingExtraError, match="onnxruntime"):
        pool.submit(_needs_an_extra, 0).result(timeout=100)


@pytest.mark.parametrize("how", HOW)
def test_classifiers_are_their_arguments(how: str, crops: np.ndarray) -> None:
    for made in (
        ExpressionClassifier(),
        ExpressionClassifier("fer2013-n-v6", labels="ferplus", tta="flip", min_confidence=0.99),
        ExpressionClassifier(labels=LabelSet("two", ("happy", "sad")), tta="random:3:7"),
        Ensemble.from_pretrained("fer2013-ensemble-v6", min_confidence=0.9),
        Ensemble([ExpressionClassifier("fer2013-n-v6"), ExpressionClassifier()], weights=[1, 3], combine="logit", name="mine"),
    ):
        again = HOW[how](made)
        assert again is not made
        assert type(again) is type(made)
        assert again.name == made.name
        assert again.labels == made.labels
        assert again.predict(crops[:3]) == made.predict(crops[:3])


@pytest.mark.parametrize("how", HOW)
def test_detectors_and_pipelines_are_their_arguments(how: str, astronaut: np.ndarray) -> None:
    for made in (FaceDetector(), FaceDetector("none"), FaceDetector(min_score=0.1, min_size=80.0)):
        assert HOW[how](made).detect(astronaut) == made.detect(astronaut)
    pipeline = Pipeline(FaceDetector(min_size=20), ExpressionClassifier("fer2013-n-v6", tta="flip"))
    assert HOW[how](pipeline)(astronaut) == pipeline(astronaut)
    pipeline.classifier = ExpressionClassifier("fer2013-n-v6", labels="ferplus")
    assert HOW[how](pipeline)(astronaut) == pipeline(astronaut)


class Named(Pipeline):
    """A user's own pipeline, with arguments of its own."""

    def __init__(self, place: str, *, floor: float = 0.5) -> None:
        super().__init__("none", ExpressionClassifier("fer2013-n-v6", min_confidence=floor))
        self.place = place


@pytest.mark.parametrize("how", HOW)
def test_subclasses_and_arguments_that_can_be_read_once(how: str, crops: np.ndarray) -> None:
    named = Named("door", floor=0.99)
    again = HOW[how](named)
    assert (type(again), again.place, again(crops[0])) == (Named, "door", named(crops[0]))
    named.classifier = ExpressionClassifier("fer2013-n-v6", labels="ferplus")
    assert HOW[how](named)(crops[0]) == named(crops[0])
    members = ["fer2013-n-v6", "fer2013-s-v6"]
    for made in (
        Ensemble(name for name in members),
        Ensemble(members),
        ExpressionClassifier("fer2013-n-v6", labels=iter(("happy", "sad"))),
    ):
        members.clear()  # what was given may be changed afterwards
        assert HOW[how](made).predict(crops[:2]) == made.predict(crops[:2])
    assert repr(HOW[how](FaceDetector(rotations=iter((0, 90))))) == "FaceDetector('ferkit', rotations=[0, 90])"


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_pickles(name: str, shared: Path) -> None:
    model = shared / "models" / "face_detection_yunet_2026may.onnx" if name == "yunet" else None
    try:
        made = FaceDetector(name, model=model, min_score=None if name == "none" else 0.5)
    except MissingExtraError:
        pytest.skip(f"this OpenCV has no {name}")
    assert pickle.loads(pickle.dumps(made)).detect(np.zeros((64, 64, 3), np.uint8)) == made.detect(np.zeros((64, 64, 3), np.uint8))


FORK = """
import os, sys, threading, time, warnings
import numpy as np
from ferkit import ExpressionClassifier, FaceDetector, Pipeline
warnings.simplefilter("ignore")  # of forking beside threads, which is the point
pipeline = Pipeline(FaceDetector({detector!r}), ExpressionClassifier("fer2013-n-v6", runtime={runtime!r}, tta="flip"))
picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
film = {film!r}
def answer():
    return "".join(result.to_json() for _, result in pipeline.video(film)) if film else pipeline(picture).to_json()
wanted = answer()
stop = threading.Event()
def busy():
    while not stop.is_set():
        answer()
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads: thread.start()
time.sleep(0.2)
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        os._exit(0 if answer() == wanted else 3)
    children.append(child)
    time.sleep(0.03)
stop.set()
for thread in threads: thread.join()
end, codes = time.monotonic() + 60, dict.fromkeys(children)
while None in codes.values() and time.monotonic() < end:
    for child in [c for c, code in codes.items() if code is None]:
        done, status = os.waitpid(child, os.WNOHANG)
        if done: codes[child] = os.waitstatus_to_exitcode(status)
    time.sleep(0.05)
for child, code in codes.items():
    if code is None: os.kill(child, 9)
print(list(codes.values()))
sys.exit(set(codes.values()) != {{0}})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.parametrize("runtime", ["opencv", "onnxruntime"])
@pytest.mark.parametrize("detector", ["ferkit", "none"])
def test_a_fork_while_others_predict_never_hangs(detector: str, runtime: str) -> None:
    if runtime == "onnxruntime" and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("needs onnxruntime")
    script = FORK.format(detector=detector, runtime=runtime, film="")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_fork_while_others_read_films_never_hangs(tmp_path: Path, astronaut: np.ndarray) -> None:
    pytest.importorskip("av")
    film = tmp_path / "film.mp4"
    write_film(film, [np.roll(astronaut, shift, axis=1) for shift in range(12)])
    script = FORK.format(detector="ferkit", runtime="opencv", film=str(film))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


DAEMON = """
import atexit, threading, time
import numpy as np
from ferkit import ExpressionClassifier, Pipeline, load_image
pipeline, picture = Pipeline(), np.zeros((480, 640, 3), np.uint8)
large = np.zeros((3000, 4000, 3), np.uint8)
atexit.register(lambda: print(len(pipeline(picture))))  # the program itself may still predict
def watch():
    while True: {work}
for _ in range({threads}): threading.Thread(target=watch, daemon=True).start()
time.sleep({seconds})
"""


@pytest.mark.parametrize(
    ("threads", "seconds", "work"),
    [
        *((threads, seconds, "pipeline(picture)") for threads, seconds in [(1, 0.5), (1, 0.52), (2, 0.3), (3, 0.41)]),
        *((2, seconds, "load_image(large, max_side=500)") for seconds in (0.3, 0.4)),
        (2, 0.3, 'ExpressionClassifier("fer2013-n-v6")'),
    ],
)
def test_daemon_threads_do_not_abort_the_end(threads: int, seconds: float, work: str) -> None:
    script = DAEMON.format(threads=threads, seconds=seconds, work=work)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_the_gate_may_be_entered_twice_while_it_closes() -> None:
    from ferkit.gate import Gate

    gate, inside, leave, forked = Gate(), threading.Event(), threading.Event(), threading.Event()

    def predict() -> None:
        with gate:
            inside.set()
            leave.wait(10)
            with gate:
                pass

    def fork() -> None:
        gate.before_fork()
        forked.set()
        gate.after_fork()

    threads = [threading.Thread(target=predict), threading.Thread(target=fork)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    assert not forked.wait(0.1)
    leave.set()
    assert forked.wait(10)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    with gate:
        gate.before_fork()  # a thread does not wait for itself
        gate.after_fork()


def test_opencvs_errors_leave_as_ferkits() -> None:
    """Wherever native code is entered: a program that catches FerkitError goes on, and the cause is there to be read."""
    import cv2

    from ferkit.gate import native
    from ferkit.video.annotate import _fitted
    from ferkit.video.tracks import Tracker

    nothing = np.zeros((0, 8, 3), np.uint8)

    def resized() -> None:
        with native, native:
            cv2.resize(nothing, (4, 4))

    for work in (resized, lambda: Tracker().update(nothing, 0.0, None), lambda: _fitted(np.zeros((9, 9, 3), np.complex64), 40, 20)):  # type: ignore[arg-type]
        with pytest.raises(FerkitError, match="OpenCV failed on what it was given") as caught:
            work()
        assert isinstance(caught.value.__cause__, cv2.error)
    with pytest.raises(ValueError, match="mine"), native:
        raise ValueError("mine")
