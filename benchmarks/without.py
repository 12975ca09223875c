"""See that each fault case of `ferkit batch` and of training on several processes fails once its mechanism is taken out.

python benchmarks/without.py [NAME...] [--into results/without.log]

A test that passes without the mechanism that it is about says nothing. Here each mechanism is replaced by nothing in every process that a
test starts (by a sitecustomize on its path), and the test has to fail, or to hang until its time is up. It has to pass with nothing taken
out as well. Not part of CI: a job that never ends is one of the outcomes, and takes its time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mechanism:
    """One mechanism: what it is, how it is taken out, and the tests that must not pass then."""

    what: str
    out: Callable[[], None]
    tests: tuple[str, ...]
    seconds: float = 120


def instead(module: str, name: str, value: Any) -> None:
    """Put something else in the place of ``module``'s ``name``, which may be ``Class.method``."""
    owner: Any = importlib.import_module(f"ferkit.{module}")
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, value)


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _dead_are_forgotten() -> None:
    driving = importlib.import_module("ferkit.bulk.driving")
    died, add = driving.Drive._died, driving.Drive._add

    def forgetting(self: Any, answer: Any, task: dict[str, Any]) -> None:
        driving.Drive._add = nothing
        try:
            died(self, answer, task)
        finally:
            driving.Drive._add = add

    driving.Drive._died = forgetting


def _orphans_live_on() -> None:
    instead("orphans", "die_with", nothing)
    _input_may_end()


def _input_may_end() -> None:
    if "ferkit.bulk.worker" in sys.orig_argv:  # which is run as a program, so that its module cannot be changed beforehand
        os._exit = nothing  # type: ignore[assignment]


def _any_death_is_proof() -> None:
    import signal

    instead("bulk.driving", "_SURE", (signal.SIGKILL,))
    judge = importlib.import_module("ferkit.bulk.driving").Drive._judge
    instead("bulk.driving", "Drive._judge", lambda self, shard, deaths: judge(self, shard, [deaths[-1]] * 2))


def _put_in_place() -> None:
    def put(self: Any, name: str, data: bytes) -> None:
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise importlib.import_module("ferkit.bulk.storage").StoreError(
                    f"{self.path(name)} cannot be written: {error}. Run it again once that works; nothing is lost."
                ) from error
            file.write(data[len(data) // 2 :])

    instead("bulk.storage", "Place.put", put)


def _once() -> None:
    for module in ("storage", "listing"):
        instead(f"bulk.{module}", "patiently", lambda action: action())


def _no_comparison() -> None:
    reading = importlib.import_module("ferkit.bulk.reading")
    read = reading.read

    def unchanged(key: str, base: str) -> tuple[bytes, int]:
        return read(key, base)[0], 0

    reading.read = unchanged
    before = reading._file
    reading._file = lambda unit, base: before(unit._replace(size=-1), base)


def _pictures_may_raise() -> None:
    def picture(rows: Any, item: Any, number: int, pipeline: Any, scale: dict[str, Any]) -> None:
        result = pipeline(item.data or b"", keep_pixels=False, **scale)
        rows.add(item.key, number, (result.width, result.height), result.faces)

    instead("bulk.work", "picture", picture)


def _forget_what_is_done() -> None:
    for module in ("running", "driving"):
        instead(f"bulk.{module}", "done", lambda *_: (set(), set()))


def _redo_forgets() -> None:
    import json

    commit = importlib.import_module("ferkit.bulk.commit")

    def redo(place: Any, job: Any, number: int, shards: list[int]) -> None:
        place.put(commit._redo_name(job, job.groups[number]), json.dumps(shards).encode())

    for module in ("commit", "updating"):
        instead(f"bulk.{module}", "redo", redo)


def _ray_deaths_are_errors() -> None:
    told = importlib.import_module("ferkit.bulk.cluster").Cluster._told

    def raising(self: Any, slot: Any) -> dict[str, Any]:
        answer: dict[str, Any] = told(self, slot)
        if answer.get("code") == -9:
            raise importlib.import_module("ferkit.errors").FerkitError("a task's process is gone")
        return answer

    instead("bulk.cluster", "Cluster._told", raising)


def _first_death_ends() -> None:
    group = importlib.import_module("ferkit.train.common.group")
    for module in ("common.group", "classifier.together"):
        instead(f"train.{module}", "supervise", lambda start, _, told: group._watched(start(), told))


DEATHS, BATCH, STORAGE, FAULTS = (f"tests/bulk/test_{name}.py::test_" for name in ("deaths", "batch", "storage", "faults"))
CLUSTER, STOPS, TOGETHER = "tests/bulk/test_cluster.py::test_", "tests/bulk/test_stops.py::test_", "tests/train/test_together.py::test_"

MECHANISMS = {
    "again": Mechanism(
        "a dead worker's shard is done again", _dead_are_forgotten, (DEATHS + "the_death_of_a_worker_costs_its_shard_alone",)
    ),
    "orphans": Mechanism(
        "workers end with their driver",
        _orphans_live_on,
        # One that works ends at its next word all the same, when nobody holds the other end of its pipe: one that hangs does not.
        (DEATHS + "a_worker_that_hangs_does_not_outlive_the_driver_either",),
    ),
    "input": Mechanism("the end of its input ends a worker", _input_may_end, (DEATHS + "the_end_of_the_input_ends_a_worker_too",)),
    "resume": Mechanism(
        "what is done is seen from the files", _forget_what_is_done, (BATCH + "what_is_missing_is_done_and_nothing_else",), 60
    ),
    "judge": Mechanism(
        "a picture at which processes die is left out",
        lambda: instead("bulk.driving", "Drive._judge", nothing),
        (DEATHS + "a_picture_that_kills_is_one_row[segfault-crash-SIGSEGV]",),
        60,
    ),
    "silence": Mechanism(
        "a process that says nothing is ended",
        lambda: instead("bulk.local", "Pool._end_silent", nothing),
        (DEATHS + "a_picture_that_kills_is_one_row[sleep-timeout-within 4 s]",),
        60,
    ),
    "proof": Mechanism(
        "one death, and an outside kill, is no proof",
        _any_death_is_proof,
        (DEATHS + "a_picture_that_a_killed_process_was_at_is_not_blamed",),
    ),
    "copies": Mechanism(
        "a slow shard is handed out twice",
        lambda: instead("bulk.driving", "Drive._hand_out_again", nothing),
        (DEATHS + "a_slow_shard_is_handed_out_twice_and_counts_once", CLUSTER + "a_slow_shard_is_handed_out_twice_and_counts_once"),
        90,
    ),
    "loser": Mechanism(
        "the slower copy is ended",
        lambda: (instead("bulk.local", "Pool.let_go", nothing), instead("bulk.cluster", "Cluster.let_go", nothing), None)[-1],
        (DEATHS + "a_slow_shard_is_handed_out_twice_and_counts_once", CLUSTER + "a_slow_shard_is_handed_out_twice_and_counts_once"),
        90,
    ),
    "lock": Mechanism(
        "a second run is refused",
        lambda: instead("bulk.lock", "Lock._refuse_others", nothing),
        (DEATHS + "a_second_run_in_the_same_place_is_refused", STORAGE + "a_lock_is_held_by_the_living"),
    ),
    "whole": Mechanism("what is put appears whole", _put_in_place, (STORAGE + "a_put_that_dies_leaves_what_was_there",)),
    "tries": Mechanism("requests are tried five times", _once, (FAULTS + "faults_of_the_store_change_nothing",)),
    "store": Mechanism(
        "ten unreachable pictures are the store's fault",
        lambda: instead("bulk.reading", "_watched", lambda found, _: found),
        (STORAGE + "ten_unreachable_pictures_in_a_row_are_the_stores_fault",),
    ),
    "changed": Mechanism("a picture is held against the plan", _no_comparison, (BATCH + "a_picture_that_changed_since_the_plan_says_so",)),
    "raise": Mechanism(
        "an unreadable picture is a row",
        _pictures_may_raise,
        (BATCH + "a_fault_of_the_pipeline_costs_its_pictures_alone", BATCH + "each_unreadable_picture_is_one_row_with_its_kind"),
    ),
    "facts": Mechanism(
        "another job in the same place is refused",
        lambda: instead("bulk.opening", "difference", lambda *_: []),
        (BATCH + "another_job_in_the_same_place_is_refused_by_what_differs", BATCH + "other_weights_of_the_same_name_are_refused"),
    ),
    "redo": Mechanism(
        "a note of what is to be done again is added to", _redo_forgets, (STOPS + "what_is_done_again_twice_is_done_once_more",)
    ),
    "clean": Mechanism(
        "what a dead process left is let go",
        lambda: instead("bulk.running", "clean", nothing),
        (BATCH + "parts_that_were_left_when_a_process_died_are_let_go",),
    ),
    "ray-again": Mechanism(
        "a death on a cluster costs a shard, not the job",
        _ray_deaths_are_errors,
        (CLUSTER + "a_worker_of_ray_that_dies_costs_its_shard", CLUSTER + "a_node_is_lost_and_another_joins"),
        240,
    ),
    "ray-probes": Mechanism(
        "nodes are held against the driver",
        lambda: instead("bulk.cluster", "Cluster._check_node", nothing),
        (CLUSTER + "an_output_that_is_not_shared_is_refused", CLUSTER + "a_node_with_another_version_is_named"),
        240,
    ),
    "group": Mechanism(
        "a group of training processes starts again",
        _first_death_ends,
        (TOGETHER + "a_killed_group_starts_again_from_the_checkpoint",),
        240,
    ),
    "checkpoint": Mechanism(
        "a checkpoint has the optimizer's state",
        lambda: instead("train.common.checkpoint", "_state", lambda model: [*model.variables]),
        (TOGETHER + "a_killed_group_starts_again_from_the_checkpoint",),
        240,
    ),
}


def outcome(test: str, name: str | None, folder: Path, seconds: float) -> tuple[str, float]:
    """Run one test, without a mechanism if one is named: ``passed``, ``failed``, ``skipped`` or ``hung``."""
    path = [str(folder), str(ROOT / "src"), str(ROOT)] if name else [str(ROOT / "src"), str(ROOT)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "FERKIT_WITHOUT": name or ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", str(test)]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "hung", time.monotonic() - began
    last = said.strip().splitlines()[-1] if said.strip() else ""
    how = "skipped" if "skipped" in last and "passed" not in last else "passed" if process.returncode == 0 else "failed"
    return how if process.returncode in (0, 1) else f"failed (exit {process.returncode}: {last})", time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="mechanisms; all by default")
    parser.add_argument("--into", type=Path, help="add the outcomes to this file")
    arguments = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text(
            f"import os, sys\nsys.path.append({str(Path(__file__).parent)!r})\nimport without\nwithout.MECHANISMS[os.environ['FERKIT_WITHOUT']].out()\n"
        )
        for one in arguments.names or MECHANISMS:
            mechanism = MECHANISMS[one]
            for test in mechanism.tests:
                with_it, _ = outcome(test, None, folder, mechanism.seconds)
                without, seconds = outcome(test, one, folder, mechanism.seconds)
                good = with_it == "passed" and without in ("failed", "hung")
                wrong += not good
                line = f"{'ok ' if good else 'NOT'} {one}: {mechanism.what}. {test.removeprefix('tests/')}: with it {with_it}, without {without} ({seconds:.0f} s)"
                print(line, flush=True)
                if arguments.into is not None:
                    with arguments.into.open("a") as file:
                        file.write(line + "\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
