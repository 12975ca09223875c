"""Several processes that train one network: the same numbers as one, whatever of them dies, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ferkit import FerkitError, InputError
from tests.helpers.faces import write_fer_csv
from tests.helpers.jobs import parent, processes, running
from tests.helpers.recipes import faces, recipe
from tests.helpers.shadows import shadowing
from tests.helpers.training import TINY, needs_keras
from tests.helpers.waiting import until

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.train, needs_keras]
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason='needs JAX: pip install "ferkit[distributed]"')
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="ends processes as Linux does")

AUGMENTS = {
    "plain": ({"crop": 44}, {}),
    "erase": ({"crop": 44, "erase": 1.0, "shear": 0.1, "gain": (0.8, 1.2)}, {}),
    "degrade": ({"crop": 44, "degrade": 0.7, "blur": 1.0, "noise": 8.0}, {}),
    "mixup": ({"crop": 44}, {"mixup": 0.3}),
    "cutmix": ({"crop": 44}, {"cutmix": 1.0}),
    "both": ({"crop": 44, "degrade": 0.5, "blur": 1.0, "noise": 4.0}, {"mixup": 0.3, "cutmix": 1.0}),
}


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_rows_of_all_processes_are_the_batch(name: str) -> None:
    """Bit by bit: augmented, erased, degraded and mixed faces, and their targets."""
    from ferkit.train.classifier.augment import FaceAugmentation
    from ferkit.train.classifier.batches import Batches
    from ferkit.train.common.ranks import Ranks

    options, mixed = AUGMENTS[name]
    made = recipe(augment=options, mix=mixed, training={"batch_size": 16})
    augment = FaceAugmentation(**options)
    for step in range(3):
        whole_x, whole_y = Batches(faces(64), made, augment, epoch=1)[step]
        for count in (2, 4):
            parts = [Batches(faces(64), made, augment, epoch=1, ranks=Ranks(count, number))[step] for number in range(count)]
            assert {len(x) for x, _ in parts} == {16 // count}
            assert np.array_equal(np.concatenate([x for x, _ in parts]), whole_x)
            assert np.array_equal(np.concatenate([y["fer2013"] for _, y in parts]), whole_y["fer2013"])


def test_one_process_augments_its_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.train.classifier import augment as module
    from ferkit.train.classifier.batches import Batches
    from ferkit.train.common.ranks import Ranks

    sampled: list[int] = []
    bilinear = module._bilinear
    monkeypatch.setattr(module, "_bilinear", lambda flat, *rest: (sampled.append(int(flat.shape[0])), bilinear(flat, *rest))[1])
    made = recipe(augment={"crop": 44}, training={"batch_size": 16})
    Batches(faces(64), made, module.FaceAugmentation(crop=44), epoch=0, ranks=Ranks(4, 1))[0]
    assert sampled == [4]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every process is told, without the folder of the run."""
    from ferkit.train.classifier.recipe import load_recipe

    folder = tmp_path_factory.mktemp("data")
    stages = "[[stages]]\nepochs = 3\nsize = 24\n"
    (folder / "tiny.toml").write_text(
        TINY.replace("batch_size = 8", "batch_size = 32").partition("[[stages]]")[0] + stages, encoding="utf-8"
    )
    data = write_fer_csv(folder / "fer2013.csv", 320, 70)
    rest = {"ferplus": None, "photos": None, "detector": None, "max_minutes": None, "relabel": None}
    return {"recipe": load_recipe(folder / "tiny.toml"), "data": str(data), **rest}


def trained(arguments: dict[str, Any], out: Path, workers: int, address: str | None = None, failures: int = 3) -> Path:
    from ferkit.train.classifier.together import fit_together

    assert fit_together({**arguments, "out": str(out)}, workers, address, failures)
    return out


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What one process compiled, the next one reads: compiling is most of these runs' time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module")
def two(arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that nobody disturbed."""
    return trained(arguments, tmp_path_factory.mktemp("two") / "run", 2)


def state(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "checkpoint.npz") as stored:
        return {name: stored[name] for name in stored.files if name != "meta"}


def history(run: Path) -> list[dict[str, Any]]:
    rows = json.loads((run / "history.json").read_text(encoding="utf-8"))["epochs"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def close(one: Path, other: Path) -> None:
    """Criterion 16: each figure of the history within 1e-3, each tensor within 1e-3 of its largest weight."""
    assert len(history(one)) == len(history(other)) == 3
    for first, second in zip(history(one), history(other), strict=True):
        assert first == pytest.approx(second, abs=1e-3)
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        assert np.abs(values.astype(float) - theirs[name]).max() <= 1e-3 * max(np.abs(values).max(), 1e-6), name


def identical(one: Path, other: Path) -> None:
    assert history(one) == history(other)
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        assert np.array_equal(values, theirs[name]), name


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_two_processes_equal_one_and_four(workers: int, two: Path, arguments: dict[str, Any], tmp_path: Path) -> None:
    close(trained(arguments, tmp_path / "run", workers), two)


def members() -> list[int]:
    """Return the processes of this program's group, the first first."""

    def command(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    return sorted(pid for pid in processes() if parent(pid) == os.getpid() and b"ferkit.train.common.member" in command(pid))


@needs_jax
@on_linux
@pytest.mark.slow
def test_a_killed_group_starts_again_from_the_checkpoint(
    two: Path, arguments: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process in the second epoch's validation, then the first after a step; the third time both, as a checkpoint is written."""
    run = tmp_path / "run"
    monkeypatch.setattr("ferkit.train.classifier.together._CALL", "tests.helpers.dying:member")

    def both() -> list[int]:
        return found if len(found := members()) == 2 else []

    killed = killing(lambda: Path(f"{run}.step").exists() and writing(run), both)
    trained(arguments, run, 2)
    assert len(killed()) == 2
    said = capfd.readouterr().err
    assert all(f"all start again from the last checkpoint ({number} of 3)" in said for number in (1, 2, 3)), said
    assert "process 2 of 2 ended with SIGKILL" in said.partition("(1 of 3)")[0], said
    assert "process 1 of 2 ended with SIGKILL" in said.partition("(1 of 3)")[2].partition("(2 of 3)")[0], said
    identical(run, two)
    assert not members()


def writing(run: Path) -> bool:
    """Whether a checkpoint is half written."""
    return any(path.name != "checkpoint.npz" and "checkpoint" in path.name for path in run.iterdir())


def killing(when: Callable[[], Any], victims: Callable[[], list[int]]) -> Callable[[], list[int]]:
    """Kill some once something is so; call what is returned for whom it was."""
    killed: list[int] = []

    def watch() -> None:
        while not when() or not (found := victims()):
            time.sleep(0.001)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        killed.extend(found)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def done() -> list[int]:
        thread.join(timeout=5)
        return killed

    return done


@needs_jax
@on_linux
@pytest.mark.slow
def test_a_group_that_dies_too_often_is_given_up_and_goes_on(two: Path, arguments: dict[str, Any], tmp_path: Path) -> None:
    """On one process, then on two: a checkpoint knows no number of processes."""
    run = tmp_path / "run"
    done = killing((run / "checkpoint.npz").exists, lambda: members()[1:])
    with pytest.raises(FerkitError, match="given up after 1 deaths; process 2 of 2 ended with SIGKILL"):
        trained(arguments, run, 2, failures=0)
    assert len(done()) == 1
    close(trained(arguments, run, 1), two)


@needs_jax
@on_linux
@pytest.mark.slow
def test_the_command_trains_and_leaves_no_process_behind(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Stopped by kill, it leaves nobody; the same command with --resume writes weights that others load."""
    from ferkit import ExpressionClassifier

    folder = Path(arguments["data"]).parent
    command = [
        sys.executable,
        "-m",
        "ferkit",
        "train",
        "--recipe",
        folder / "tiny.toml",
        "--data",
        arguments["data"],
        "--out",
        tmp_path / "run",
    ]
    command += ["--workers", "2", "--resume"]
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run" / "checkpoint.npz").exists():
        assert first.poll() is None
        time.sleep(0.02)
    children = [pid for pid in processes() if parent(pid) == first.pid]
    first.kill()
    first.wait()
    end = time.monotonic() + 5
    while any(map(running, children)):
        assert time.monotonic() < end, "processes outlived their supervisor"
        time.sleep(0.02)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ExpressionClassifier(tmp_path / "run").labels


@needs_jax
@pytest.mark.parametrize("shadowed", [True, False])
def test_where_a_process_finds_modules(shadowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its program does, in the current folder too if that does so (as in Python's shell); and else not: it has a signal.py."""
    from ferkit.train.common.group import Local, free_port

    folder, own = shadowing(tmp_path / "here"), tmp_path / "own"
    own.mkdir()
    (own / "mine.py").write_text("def told(ranks, tell):\n    tell('here')\n")
    monkeypatch.chdir(folder if shadowed else own)
    path = [*([str(own)] if shadowed else [""]), *filter(None, sys.path)]
    member = Local(("mine:told", {}), f"127.0.0.1:{free_port('127.0.0.1')}", 1, 0, path)
    try:
        until(lambda: member.poll() is not None, "it ends", 120)
        ended = member.poll()
        assert ended is not None
        assert (ended.code, member.lines()) == (0, ["here"]), ended
    finally:
        member.end()


def test_a_killed_process_that_waits_for_the_system_is_left_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network's disk that does not answer, say; whoever ends the run would wait as long as it."""
    from ferkit.train.common import group

    class Stuck(group.Local):
        def __init__(self) -> None:
            self._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    member = Stuck()
    with monkeypatch.context() as patch:
        patch.setattr(member._process, "kill", lambda: None)
        patch.setattr(group, "_END_S", 0.01)
        member.end()  # and comes back
    assert member.poll() is None
    member._process.kill()
    member._process.wait()


def test_an_error_of_a_process_is_the_runs(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Not a death: it would happen again."""
    from ferkit.train.common.group import Ended, supervise

    class Failing:
        ended = 0

        def poll(self) -> Ended:
            return Ended(1, InputError("no such recipe"))

        def lines(self) -> list[str]:
            return ["a line", ("on_start", {})]

        def end(self) -> None:
            Failing.ended += 1

    from ferkit.train.common.listeners import Listeners

    said: list[str] = []
    heard: list[Any] = []
    with pytest.raises(InputError, match="no such recipe"):
        supervise(lambda: [Failing(), Failing()], 3, Listeners(said.append, [SimpleNamespace(on_fail=heard.append)]))
    assert (said, Failing.ended) == (["a line"], 2)
    assert list(map(repr, heard)) == ["InputError('no such recipe')"]


def test_a_death_is_told_to_callbacks_before_the_group_starts_again(tmp_path: Path) -> None:
    """A logger that a run began in would otherwise refuse to begin it anew."""
    from ferkit.train.common.group import Ended, supervise
    from ferkit.train.common.listeners import Listeners

    left, heard = [9, 9, 0], list[str]()

    def start() -> list[Any]:
        how = Ended(-left.pop(0))
        return [SimpleNamespace(poll=lambda: how, lines=lambda: [("on_start", {})], end=lambda: None)]

    callback = SimpleNamespace(on_start=lambda run: heard.append("start"), on_fail=lambda error: heard.append(str(error)))
    supervise(start, 3, Listeners(lambda line: None, [callback]))
    death = "process 1 of 1 ended with SIGKILL"
    assert heard == ["start", death, "start", death, "start"]


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from ferkit.train.classifier.together import check_together

    made = recipe(training={"batch_size": 32})
    if keras.backend.backend() != "jax":
        with pytest.raises(InputError, match="need Keras on JAX; it runs on "):
            check_together(made, 2, 3)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InputError, match="3 workers cannot share batches of 32 evenly"):
        check_together(made, 3, 3)
    with pytest.raises(InputError, match="sam, which needs TensorFlow"):
        check_together(dataclasses.replace(made, optimizer={**made.optimizer, "sam": 0.05}), 2, 3)
    with pytest.raises(InputError, match="max_failures=-1"):
        check_together(made, 2, -1)
    check_together(made, 4, 0)


def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='needs the extra "ray"')
    from ferkit.train.common.nodes import Holder, Nodes

    probe = tmp_path / "run" / "probe"
    assert Holder().place({str(probe): "token"})[2] == str(probe)
    probe.parent.mkdir()
    for text, lacking in (("token", None), ("another run's", str(probe))):
        probe.write_text(text, encoding="utf-8")
        assert Holder().place({str(probe): "token"})[2] == lacking
    assert Holder().place({str(tmp_path): None})[2] is None
    assert Holder().place({str(tmp_path / "fer2013.csv"): None})[2] == str(tmp_path / "fer2013.csv")
    holder = SimpleNamespace(place=SimpleNamespace(remote=lambda probes: probes))
    nodes = Nodes.__new__(Nodes)
    nodes._workers = 2
    nodes._ray = SimpleNamespace(
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda: holder),
        get=lambda *_, **__: [("10.0.0.1", 1, None), ("10.0.0.2", 2, str(probe))],
    )
    with pytest.raises(InputError, match=r"Node 10\.0\.0\.2 does not see .*run as this machine does"):
        nodes.start(("module:function", {}), {str(probe): "token"})
    with pytest.raises(InputError, match=r"Node 10\.0\.0\.2 does not see .*probe as this machine does"):
        nodes.start(("module:function", {}), {str(probe): None})


@pytest.mark.parametrize("lost", ["RayActorError", "NodeDiedError", "OutOfMemoryError"])
def test_a_cluster_whose_processes_end_at_once_is_given_up(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes of tries, a second apart, in which a lost node may come back, or its memory; not for ever."""
    from ferkit.train.common import nodes as module

    class RayActorError(Exception):
        actor_init_failed = False

    kinds = {"RayActorError": RayActorError, "NodeDiedError": type("NodeDiedError", (Exception,), {})}
    kinds["OutOfMemoryError"] = type("OutOfMemoryError", (Exception,), {})

    def get(*_: Any, **__: Any) -> None:
        raise kinds[lost]("no module named ferkit")

    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(module, "time", clock)
    killed: list[Any] = []
    nodes = module.Nodes.__new__(module.Nodes)
    nodes._workers = 2
    nodes._ray = SimpleNamespace(
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda: SimpleNamespace(place=SimpleNamespace(remote=lambda probes: probes))),
        get=get,
        kill=killed.append,
        exceptions=SimpleNamespace(RayError=Exception, GetTimeoutError=TimeoutError, **kinds),
    )
    with pytest.raises(FerkitError, match="ended as soon as they began, for 600 s: no module named ferkit"):
        nodes.start(("module:function", {}), {})
    assert len(killed) == 2 * 601
    killed.clear()
    lost = "RayActorError"
    RayActorError.actor_init_failed = True  # as Ray tells that an actor's module cannot be imported
    with pytest.raises(InputError, match=r"A node cannot train: no module named ferkit\. Expected the same ferkit and Keras"):
        nodes.start(("module:function", {}), {})
    assert len(killed) == 2


def test_what_a_node_answers_of_a_member_in_words() -> None:
    from ferkit.train.common.nodes import _Remote

    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        pass

    def member(error: Exception) -> _Remote:
        def get(*_: Any, **__: Any) -> None:
            raise error

        ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError))
        return _Remote(ray, SimpleNamespace(look=SimpleNamespace(remote=lambda: None)), None)

    told = member(RayTaskError("a page of Ray's\nFileNotFoundError: no python")).poll()
    assert told is not None
    assert (told.code, told.said) == (1, "RayTaskError: FileNotFoundError: no python")
    lost = member(RayError("lost")).poll()
    assert lost is not None
    assert (lost.code, lost.said) == (-9, "RayError")


def test_processes_share_what_they_are_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine that they are on, not of all machines together; and what was asked for."""
    from ferkit.train.common import group

    monkeypatch.setattr(group, "available_cpus", lambda: 6)
    monkeypatch.delenv("FERKIT_THREADS", raising=False)
    assert [group._threads(beside) for beside in (1, 2, 4, 7)] == [6, 3, 1, 1]
    monkeypatch.setenv("FERKIT_THREADS", "5")
    assert group._threads(2) == 5


def test_only_what_is_here_is_looked_for_on_the_nodes(arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt path is told by the readers, not as a disk that the nodes do not share."""
    from contextlib import nullcontext

    from ferkit.train.classifier import together
    from ferkit.train.common import nodes

    looked: list[str] = []
    monkeypatch.setattr(nodes, "Nodes", lambda *_: nullcontext(SimpleNamespace(start=None)))
    monkeypatch.setattr(together, "supervise", lambda start, *_: looked.extend(start.args[1]))
    monkeypatch.setattr(together, "partial", lambda _, *args: SimpleNamespace(args=args))
    monkeypatch.setattr(together, "_finished", lambda *_: True)
    given = {**arguments, "ferplus": str(tmp_path / "misspelt.csv"), "out": tmp_path / "run"}
    assert together.fit_together(given, 2, "auto", 3)
    assert looked == [str(tmp_path / "run" / ".ferkit-probe"), given["data"]]


def test_paths_are_whole_before_they_travel(arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's processes begin in another folder than this one."""
    from ferkit.train.classifier import together

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(together, "supervise", lambda start, *_: seen.append(start.args[0][1]))
    monkeypatch.setattr(together, "_finished", lambda *_: True)
    given = {**arguments, "data": "fer2013.csv", "ferplus": Path("votes.csv"), "photos": "~/portraits", "out": Path("run")}
    assert together.fit_together(given, 2, None, 3)
    found = {name: seen[0][name] for name in ("data", "ferplus", "photos", "out")}
    wanted = {"data": "fer2013.csv", "ferplus": "votes.csv", "photos": "home/portraits", "out": "run"}
    assert found == {name: str(tmp_path / path) for name, path in wanted.items()}


@pytest.mark.parametrize(
    ("codes", "blamed"),
    [([1, -9], -9), ([-9, 1], -9), ([-6, 1], 1), ([-6, -9, 1], -9), ([1, 2], 1)],
)
def test_who_is_blamed_for_the_end_of_a_group(codes: list[int], blamed: int) -> None:
    from ferkit.train.common.group import Ended, _first_cause

    members: list[Any] = [SimpleNamespace(poll=lambda code=code: Ended(code)) for code in codes]
    assert _first_cause(members, 0, Ended(codes[0]))[1].code == blamed


@needs_jax
@on_linux
def test_a_fault_of_one_process_ends_it_at_once() -> None:
    """Not by the interpreter's farewell, in which JAX waits for all others."""
    code = """
import atexit, pickle, sys, time, types
from ferkit.train.common import member
atexit.register(time.sleep, 600)
member._join = lambda start: None
def call(ranks, tell): raise KeyError("no such face")
sys.modules["faulty"] = types.SimpleNamespace(call=call)
member.main()
"""
    start = {"call": ("faulty:call", {}), "coordinator": "", "count": 2, "number": 0, "parent": os.getpid()}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(sys.path) + pickle.dumps(start))
    process.stdin.flush()  # and stays open, as the supervisor keeps it
    try:
        assert process.wait(timeout=120) == 1
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1] == b"KeyError: 'no such face'"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason='needs the extra "ray"')
    from tests.helpers.clusters import ENVIRONMENT, Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        with Cluster(3) as made:
            yield made


RAY = """
import sys, pickle
from pathlib import Path
from ferkit import FerkitError
from ferkit.train.classifier.together import fit_together
if __name__ == "__main__":
    arguments, workers, address = pickle.loads(Path(sys.argv[1]).read_bytes())
    try:
        assert fit_together(arguments, workers, address, 3)
    except FerkitError as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""


@needs_jax
@on_linux
@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_is_lost_and_then_the_driver(cluster: Any, two: Path, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Two of three nodes train: the third takes the place of the one that is lost; a new driver goes on from the checkpoint."""
    run = tmp_path / "run"
    (tmp_path / "call").write_bytes(pickle.dumps(({**arguments, "out": str(run)}, 2, cluster.address)))
    command = [sys.executable, "-c", RAY, tmp_path / "call"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def driver() -> subprocess.Popen[str]:
        return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)

    def epochs() -> int:
        return len(history(run)) if (run / "history.json").exists() else 0

    def wait(process: subprocess.Popen[str], wanted: Callable[[], bool]) -> None:
        end = time.monotonic() + 240
        while not wanted():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.01)

    first = driver()
    wait(first, lambda: epochs() >= 1)
    busy = [number for number in (1, 2, 3) if any(children_of(pid) for pid in cluster.workers(number))]
    assert len(busy) == 2
    cluster.kill_node(busy[1])
    wait(first, lambda: epochs() >= 2)
    first.kill()
    first.communicate()
    second = driver()
    said = second.communicate(timeout=300)[1]
    assert second.returncode == 0, said
    identical(run, two)


def children_of(pid: int) -> list[int]:
    return [one for one in processes() if parent(one) == pid]
