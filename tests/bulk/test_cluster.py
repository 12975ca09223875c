"""``--address``: the same bytes from several Ray nodes as from this machine, whatever of them dies; and nothing without it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit import InputError, MissingExtraError
from ferkit.bulk import cluster as engine
from ferkit.bulk.storage import Place
from ferkit.ray_clusters import connected

from ..helpers.clusters import ENVIRONMENT, Cluster, command_of
from ..helpers.jobs import QUICK, SLOW, Driver, digests, processes, rows_of, running
from ..helpers.jobs import parent as parent_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="ends processes as Linux does")]
pytest.importorskip("ray", reason='needs the extra "ray"')

HOW = ("--pipeline", SLOW, "--shard-images", "10")
Start = Callable[..., Driver]


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    more = {"FERKIT_TEST_STUCK": str(tmp_path_factory.mktemp("stuck") / "file")}  # which the nodes' processes inherit
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (ENVIRONMENT | more).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster(environment: None) -> Iterator[Cluster]:
    """A head and two nodes; whoever ends one starts another."""
    with Cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What this machine's processes write: 24 shards."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    ferkit.batch(pictures, output, pipeline=SLOW, shard_images=10, workers=2)
    return digests(output)


def parts(output: Path) -> list[Path]:
    return [path for path in (output / "_ferkit" / "parts").rglob("part-*") if path.is_file()]


def whole(output: Path, undisturbed: dict[str, str]) -> None:
    assert digests(output) == undisturbed
    assert not parts(output)
    assert not list((output / "_ferkit").glob("lock*"))
    assert not list((output / "_ferkit" / "probes").glob("*"))


def told(out: str) -> list[dict[str, object]]:
    """Return the receipts that a driver printed."""
    return [one for line in out.splitlines() if "shard" in (one := json.loads(line))]


def test_two_nodes_write_what_this_machine_writes(
    cluster: Cluster, pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW, "--address", cluster.address)
    each_finishes_one(driver, cluster, tmp_path / "out")
    code, out, err = driver.end()
    assert code == 0, err
    whole(tmp_path / "out", undisturbed)
    assert len(told(out)) == 24
    assert {one["node"] for one in told(out)} == {cluster.node(1), cluster.node(2)}


def test_weights_of_the_drivers_disk_travel(cluster: Cluster, tmp_path: Path, drivers: Start, crops: np.ndarray) -> None:
    """And one node, with the real networks, writes what this machine writes."""
    from ferkit.weights.store import resolve

    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(crops):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number:02d}.png")
    weights = tmp_path / "weights"
    shutil.copytree(resolve("fer2013-n-v6"), weights)
    how = ("--weights", weights, "--detector", "none", "--shard-images", "7")
    assert drivers(tmp_path / "in", tmp_path / "here", *how, "--workers", "1").end()[0] == 0
    code, _, err = drivers(tmp_path / "in", tmp_path / "there", *how, "--address", cluster.address, "--workers", "1").end()
    assert code == 0, err
    assert digests(tmp_path / "there") == digests(tmp_path / "here")
    carried = engine._carried({"weights": str(weights), "detector_model": None})[str(weights)]
    from ferkit.bulk.node import digest_of, unpacked

    before = {path: path.stat().st_mtime_ns for path in Path(tempfile.gettempdir()).glob("ferkit-*/model.onnx")}
    folder = Path(unpacked(digest_of(carried), carried))
    assert before.get(folder / "model.onnx") == (folder / "model.onnx").stat().st_mtime_ns, "the nodes had not unpacked them"
    shutil.rmtree(folder)


def test_a_worker_of_ray_that_dies_costs_its_shard(
    cluster: Cluster, pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW, "--address", cluster.address)
    each_finishes_one(driver, cluster, tmp_path / "out")
    victim, child = held(driver, cluster)
    os.kill(victim, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGCONT)
    code, out, err = driver.end()
    assert code == 0, err
    assert err.count("a worker died") == 1
    assert len(told(out)) == 24
    assert not running(child), "its worker process outlived it"
    whole(tmp_path / "out", undisturbed)


def held(driver: Driver, cluster: Cluster) -> tuple[int, int]:
    """Have the first node hold a shard, so that its death costs one; return Ray's process, whose title says what it is at, and its worker."""

    def at_work() -> list[int]:
        return [pid for pid in cluster.workers(1) if children(pid) and "IDLE" not in command_of(pid)]

    while True:
        victim = driver.wait_for(at_work)[0]
        (child,) = children(victim)
        os.kill(child, signal.SIGSTOP)
        if all(victim in at_work() for _ in moments(3)):
            return victim, child
        os.kill(child, signal.SIGCONT)  # it had just answered: the node has nothing to lose


@contextlib.contextmanager
def paused(cluster: Cluster, number: int) -> Iterator[None]:
    """Hold the workers of a node still."""
    still = born(cluster, number)
    stop(still)
    try:
        yield
    finally:
        go_on(still)


def born(cluster: Cluster, number: int) -> set[int]:
    """Return the worker processes of a node."""
    return {child for pid in cluster.workers(number) for child in children(pid)}


def stop(workers: set[int]) -> None:
    for child in workers:
        os.kill(child, signal.SIGSTOP)


def go_on(workers: set[int]) -> None:
    for child in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)


def each_finishes_one(driver: Driver, cluster: Cluster, output: Path) -> None:
    """Have both nodes finish a shard: each has greeted the driver then, and what it is at from now on is a shard."""
    finishes_one(driver, cluster, output, 1, 2)
    finishes_one(driver, cluster, output, 2, 1)


def finishes_one(driver: Driver, cluster: Cluster, output: Path, number: int, other: int) -> None:
    """Have a node finish a shard while the other is held still: on a busy machine one may do all that there is before the other has begun."""
    driver.wait_for(lambda: parts(output))  # before its first shard the driver asks some node what it has, which must not be held
    still: set[int] = set()
    count = len(parts(output))

    def finished() -> bool:
        nonlocal count
        if new := born(cluster, other) - still:
            stop(new)
            still.update(new)
            count = len(parts(output))
        return len(parts(output)) > count

    try:
        driver.wait_for(finished)
    finally:
        go_on(still)


def moments(count: int) -> Iterator[int]:
    """Let a second pass so many times: on a busy machine what was answered before is heard of late."""
    for number in range(count):
        time.sleep(1)
        yield number


def children(pid: int) -> list[int]:
    return [one for one in processes() if parent_of(one) == pid]


def test_a_node_is_lost_and_another_joins(
    cluster: Cluster, pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW, "--address", cluster.address)
    heard: list[float] = []
    each_finishes_one(driver, cluster, tmp_path / "out")
    watch = threading.Thread(target=times, args=(tmp_path / "out", heard, driver))
    watch.start()
    with paused(cluster, 2):  # else it may do all that is left before the other node has joined
        held(driver, cluster)
        cluster.kill_node(1)
        late = cluster.add()
    finishes_one(driver, cluster, tmp_path / "out", 2, late)
    finishes_one(driver, cluster, tmp_path / "out", late, 2)
    code, out, err = driver.end()
    watch.join()
    assert code == 0, err
    assert err.count("a worker died") == 1
    whole(tmp_path / "out", undisturbed)
    assert {one["shard"] for one in told(out)} == set(range(24))
    assert cluster.node(late) in {one["node"] for one in told(out)}, "the node that joined late got no work"
    assert max(np.diff(heard), default=0) <= 30


def times(output: Path, heard: list[float], driver: Driver) -> None:
    """Note when the number of parts grew."""
    count = -1
    while driver.process.poll() is None:
        now = len(parts(output))
        if now != count:
            count = now
            heard.append(time.monotonic())
        time.sleep(0.05)


def test_the_driver_is_lost_and_another_goes_on(
    cluster: Cluster, pictures: Path, undisturbed: dict[str, str], tmp_path: Path, drivers: Start
) -> None:
    driver = drivers(pictures, tmp_path / "out", *HOW, "--address", cluster.address)
    driver.wait_for(lambda: len(parts(tmp_path / "out")) >= 6)
    driver.process.kill()
    driver.process.wait()
    time.sleep(1)  # whatever was under way may yet put its part
    kept = len(parts(tmp_path / "out"))
    code, out, err = drivers(pictures, tmp_path / "out", *HOW, "--address", cluster.address).end()
    assert code == 0, err
    assert 0 < len(told(out)) <= 24 - kept + 1
    whole(tmp_path / "out", undisturbed)


@pytest.mark.parametrize(("width", "kind"), [(7, "crash"), (9, "timeout")])
def test_a_picture_that_kills_is_one_row(width: int, kind: str, cluster: Cluster, pictures: Path, tmp_path: Path, drivers: Start) -> None:
    shutil.copytree(pictures / "d0", tmp_path / "in")
    poison = tmp_path / "in" / "0050x.jpg"
    Image.new("RGB", (width, 9)).save(poison)
    options = ("--pipeline", "tests.bulk.models:Poisonous", "--shard-images", "20", "--timeout", "5")
    code, _, err = drivers(tmp_path / "in", tmp_path / "out", *options, "--address", cluster.address).end()
    assert code == 1, err
    rows = rows_of(tmp_path / "out")
    assert len({row["image"] for row in rows}) == 61
    assert [(row["image"], row["error_kind"]) for row in rows if row["error_kind"]] == [(str(poison), kind)]


def test_a_slow_shard_is_handed_out_twice_and_counts_once(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    """It hangs on one node: the other one does it too, the first answer counts, and the task that hangs is ended."""
    shutil.copytree(pictures / "d0", tmp_path / "in")
    Image.new("RGB", (11, 9)).save(tmp_path / "in" / "0010x.jpg")
    script = """
import sys
import ferkit
from ferkit.bulk import driving, running
driving._SLOW_S = 1.0
told, notes = [], []
running.Quiet.receipt = lambda _, receipt: told.append(receipt["shard"])
running.Quiet.note = lambda _, text: notes.append(text)
report = ferkit.batch(sys.argv[1], sys.argv[2], pipeline="tests.bulk.models:Stuck", shard_images=10, address=sys.argv[3])
print(report.state, report.images, sorted(told), notes)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, tmp_path / "in", tmp_path / "out", cluster.address]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    last = done.stdout.splitlines()[-1:]
    assert last == ["done 61 [0, 1, 2, 3, 4, 5, 6] ['shard 0 takes long; another worker does it too']"], done.stdout + done.stderr[-4000:]
    here = ferkit.batch(tmp_path / "in", tmp_path / "here", pipeline="tests.bulk.models:Stuck", shard_images=10, workers=1)
    assert here.state == "done"
    whole(tmp_path / "out", digests(tmp_path / "here"))


def test_a_cluster_of_rays_own_kind(environment: None, pictures: Path, tmp_path: Path) -> None:
    """``ray.cluster_utils.Cluster``, whose processes are this program's; one of its nodes is lost on the way."""
    script = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
import ferkit
made = Cluster(initialize_head=True, head_node_args={"node_ip_address": "127.0.0.41", "num_cpus": 0, "include_dashboard": False})
nodes = [made.add_node(node_ip_address=f"127.0.0.{n}", num_cpus=1) for n in (42, 43)]
def lose():
    while not list(Path(sys.argv[2]).glob("_ferkit/parts/*/part-*")):
        time.sleep(0.05)
    made.remove_node(nodes[0], allow_graceful=False)
thread = threading.Thread(target=lose)
thread.start()
report = ferkit.batch(sys.argv[1], sys.argv[2], pipeline="tests.bulk.models:Slow", shard_images=10, address=made.address)
thread.join()
made.shutdown()
print(report.state, report.images)
"""
    environment_ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", script, pictures, tmp_path / "out"],
        env=environment_,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.stdout.splitlines()[-1] == "done 240", done.stdout[-2000:] + done.stderr[-4000:]


def test_a_node_with_another_version_is_named(pictures: Path, tmp_path: Path, drivers: Start, environment: None) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import ferkit\nferkit.__version__ = '0.0.1'\n")
    with Cluster(1, {1: {"PYTHONPATH": str(tmp_path / "site")}}) as other:
        code, _, err = drivers(pictures, tmp_path / "out", *HOW, "--address", other.address).end()
    assert code == 2, err
    assert f"Node {other.node(1)} differs from this machine: ferkit 0.0.1 there, {ferkit.__version__} here" in err
    assert not (tmp_path / "out" / "_manifest.json").exists()


def test_a_run_without_an_address_touches_no_cluster(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    """Not even where the environment names one, to which ``ray.init()`` would attach."""
    script = (
        "import sys, ferkit; r = ferkit.batch(sys.argv[1], sys.argv[2], pipeline='tests.bulk.models:Quick', workers=1);"
        "print(r.state, 'ray' in sys.modules)"
    )
    environment = os.environ | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", script, pictures, tmp_path / "out"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["done", "False"], done.stderr


def test_inputs_that_a_node_does_not_see_are_named(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    place = Place(str(tmp_path / "out"))
    found = engine.Cluster.__new__(engine.Cluster)
    with pytest.raises(InputError, match=r"Node 10\.0\.0\.2 has no /data/in"):
        found._check_node(place, "10.0.0.2", {"seen": True, "lacking": ["/data/in"], "versions": {}}, {}, True)
    with pytest.raises(InputError, match=r"on node 10\.0\.0\.2 is another place than here"):
        found._check_node(place, "10.0.0.2", {"seen": False, "lacking": [], "versions": {}}, {}, True)
    with pytest.raises(InputError, match=r"on node 10\.0\.0\.2 is another place than here"):
        found._check_node(place, "10.0.0.2", {"seen": True, "lacking": [], "versions": {}}, {}, False)
    with pytest.raises(InputError, match=r"Node 10\.0\.0\.2 cannot write OUTPUT: full"):
        found._check_node(place, "10.0.0.2", {"failed": "full"}, {}, True)


def test_an_output_that_is_not_shared_is_refused(pictures: Path, tmp_path: Path, drivers: Start, environment: None) -> None:
    """A node with a mount of its own over OUTPUT's folder sees an empty one there."""
    output = tmp_path / "apart"
    output.mkdir()
    lone = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {output} && exec "$@"', "sh"]
    if subprocess.run([*lone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to unshare mounts")
    with Cluster(1, prefix={1: lone}) as other:
        code, _, err = drivers(pictures, output / "out", *HOW, "--address", other.address).end()
    assert code == 2, err
    assert f"on node {other.node(1)} is another place than here" in err


def test_refusals(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: None) -> None:
    how = {"pipeline": QUICK}
    for address in ("local", "10.0.0.1", "http://10.0.0.1:1", ""):
        with pytest.raises(InputError, match="expected auto, HOST:PORT or ray://HOST:PORT"):
            ferkit.batch(pictures, tmp_path / "out", address=address, **how)
    with pytest.raises(InputError, match="the cluster does all parts"):
        ferkit.batch(pictures, tmp_path / "out", address="auto", part=(1, 2), **how)
    with pytest.raises(InputError, match="expected its address too"):
        ferkit.batch(pictures, tmp_path / "out", install=True, **how)
    monkeypatch.setattr("ferkit.ray_clusters.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"ferkit\[ray\]"):
        connected("auto")


def test_weights_that_are_too_large_to_travel_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bytes(21_000_000))
    with pytest.raises(InputError, match="21 MB are too much"):
        engine._carried({"weights": str(tmp_path), "detector_model": None})


def test_ray_data_calls_rows(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    """The snippet of the page, with one picture in a hundred damaged: every picture has its rows."""
    pytest.importorskip("pandas", reason="Ray Data needs pandas")
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ferkit.bulk import rows

    from .models import Quick

    files = sorted(pictures.rglob("*.jpg"))
    data = [path.read_bytes() for path in files[:238]] + [b"", b"text"]
    table = pa.table({"name": [path.name for path in files], "image": pa.array(data, pa.binary())})
    pq.write_table(table, tmp_path / "in.parquet")
    script = """
import sys
import ray
from ferkit.bulk import rows
from tests.bulk.models import Quick

def work(table):
    return rows(table, key="name", pipeline=Quick())

ray.init(address=sys.argv[3], log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
ray.data.read_parquet(sys.argv[1]).map_batches(work, batch_size=64, batch_format="pyarrow").write_parquet(sys.argv[2])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script, tmp_path / "in.parquet", tmp_path / "out", cluster.address]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    names = [name for name in rows(table, key="name", pipeline=Quick()).schema.names if name != "row_in_shard"]
    found = pq.read_table(tmp_path / "out").select(names).to_pylist()
    wanted = rows(table, key="name", pipeline=Quick()).select(names).to_pylist()
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert sum(row["error_kind"] is not None for row in found) == 2
