"""The Ray engine: shards' numbers as Ray Core tasks, on any number of machines. The files are, byte by byte, those of the local one.

Not Ray Data: what it would add, blocks of rows that travel, is what a shard does not need; and one unreadable picture there costs
its whole block. Ray is imported only where an address is given: without one it would attach to any cluster it finds.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FerkitError, InputError
from ..image_files import expanded
from ..ray_clusters import connected, in_short
from .local import Answer
from .options import Options
from .records import Died, NodeStart, Probe, Probed, Said, Task, Unwritable
from .storage import Place, is_address

__all__ = ["Cluster", "Slot"]

_PATIENCE_S = 120.0  # for the probes: a node may have to start Python and read ferkit from a network's disk
_AGAIN_S = 5.0  # after which the cluster's CPUs are counted again: nodes come and go
_LAST_S = 10.0  # that a task may take to end when it is told to
_MAX_CALLS = 200  # after which Ray replaces a process: whatever leaks does not leak for ever
_MOST_CARRIED = 20_000_000


@dataclass(eq=False)
class Slot:
    """A task that is handed out, to whatever node; it looks like a process of the local engine."""

    hands: Cluster
    task: Task | None = None
    at: int | None = None
    ref: Any = field(default=None, repr=False)

    def give(self, task: Task) -> None:
        """Hand it a task."""
        self.task, self.at = task, None
        self.ref = self.hands.submit(task)


class Cluster:
    """Tasks on a Ray cluster, with the same face as ``ferkit.bulk.local.Pool``.

    Args:
        place: The job's place, which every node must see.
        options: The job's.
        facts: What a worker must have, as ``opening.facts`` tells it.
        inputs: As they were given; those that are local must be there on every node.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: There is no such cluster, or a node of it differs from the driver in what matters.
    """

    def __init__(self, place: Place, options: Options, facts: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        assert options.address is not None
        self._ray, self._ours = connected(options.address, install=options.install)
        self._workers = options.workers
        self.processes: list[Slot] = []
        self._greeted = False
        self._counted = (0.0, 0)
        where = place.address if place.local is None else str(place.local.resolve())
        identity = options.identity()
        self._spec: NodeStart = {
            "place": where,
            "options": identity,
            "memory": options.memory,
            "timeout": options.timeout,
            "facts": dict(facts),
        }
        try:
            self._check_nodes(
                Place(where), [os.path.realpath(expanded(item)) for item in inputs if not is_address(item) and "*" not in item]
            )
            from .node import digest_of, do

            # No retries of Ray's own: the driver tries a shard again as often as it takes, and hears of every death.
            self._do = self._ray.remote(
                num_cpus=1,
                max_retries=0,
                max_calls=_MAX_CALLS,
                scheduling_strategy="SPREAD",
                **({} if options.memory is None else {"memory": options.memory * 1e9}),
            )(do)
            carried = _carried(identity)
            held = self._ray.put(carried) if carried else None
            self._carried = {name: (digest_of(files), [held]) for name, files in carried.items()}
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.processes:
            if slot.ref is not None:
                self._ray.cancel(slot.ref, force=True)
        self._close()

    def _close(self) -> None:
        if self._ours:
            self._ray.shutdown()

    def submit(self, task: Task) -> Any:
        """Hand a task to the cluster; return Ray's name of it."""
        return self._do.remote(self._spec, task, self._carried)

    def room(self) -> int:
        """Return how many tasks to hand out at once: two a CPU, so that none waits for the driver, and pending ones call for more nodes."""
        if self._workers is not None:
            return self._workers
        counted, cpus = self._counted
        if time.monotonic() - counted > _AGAIN_S or not counted:
            cpus = int(self._ray.cluster_resources().get("CPU", 0))
            self._counted = time.monotonic(), cpus
        return max(2, 2 * cpus)

    def add(self) -> Slot:
        """Make room for one more task. The first says what all would answer with; every process is held against it later."""
        slot = Slot(self)
        self.processes.append(slot)
        if not self._greeted:
            self._greeted = True
            slot.give({"do": "hello"})
        return slot

    def next(self, wait: float) -> Answer | None:
        """Wait for what comes next, so many seconds at most. Raises FerkitError if the cluster is gone."""
        slots = {slot.ref: slot for slot in self.processes if slot.ref is not None}
        if not slots:
            time.sleep(min(wait, 0.1))
            return None
        ready, _ = self._ray.wait(list(slots), num_returns=1, timeout=wait)
        if not ready:
            return None
        slot = slots[ready[0]]
        told = self._told(slot)
        task, slot.task, slot.ref = slot.task, None, None
        if "told" in told:
            return Answer(slot, task, told["told"])
        slot.at = told["at"]
        return Answer(slot, task, code=told["code"], hung=told["hung"])

    def let_go(self, slot: Slot) -> None:
        """End a task whose answer nobody needs any more, and its process with it."""
        self._ray.cancel(slot.ref, force=True)
        self._ray.wait([slot.ref], timeout=_LAST_S)  # one on a machine that is silent cannot be waited for
        slot.task = slot.ref = None

    def _told(self, slot: Slot) -> Said | Died:
        errors = self._ray.exceptions
        try:
            told: Said | Died = self._ray.get(slot.ref)
            return told
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.LocalRayletDiedError, errors.OutOfMemoryError):
            return {"code": -9, "at": None, "hung": False}  # of a process that was killed, or whose machine is gone
        except errors.RayTaskError as error:
            return {"told": {"failed": in_short(error), "again": False}}
        except errors.RayError as error:
            raise FerkitError(
                f"The Ray cluster does not answer any more: {in_short(error)}. What is done stays; type the same again."
            ) from error

    def _check_nodes(self, place: Place, inputs: list[str]) -> None:
        """Have every node that works write where the driver writes, and say what it runs. Raises InputError."""
        from . import node

        token = secrets.token_hex(16)
        place.put(f"{node.PROBES}/driver", token.encode())
        try:
            for name, address, told in self._probes({"place": place.address, "inputs": inputs}, token):
                self._check_node(place, address, told, node.versions(), place.read(f"{node.PROBES}/{name}") == token.encode())
        finally:
            place.delete_folder(node.PROBES)

    def _probes(self, spec: Probe, token: str) -> Iterator[tuple[str, str, Probed | Unwritable]]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from .node import probe

        asked = self._ray.remote(num_cpus=0, max_retries=0, max_calls=1)(probe)
        waiting = []
        for one in self._ray.nodes():
            if one["Alive"] and one["Resources"].get("CPU", 0) > 0:
                pinned = asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one["NodeID"], soft=False))
                waiting.append((one["NodeID"], one["NodeManagerAddress"], pinned.remote(spec, token, one["NodeID"])))
        for name, address, ref in waiting:
            try:
                yield name, address, self._ray.get(ref, timeout=_PATIENCE_S)
            except self._ray.exceptions.NodeDiedError:
                continue  # which then gets no shard
            except self._ray.exceptions.RayError as error:
                raise InputError(
                    f"Node {address} cannot run ferkit: {in_short(error)}. Expected ferkit[batch] as here on every node, or install=True.",
                    arguments=["install"],
                ) from error

    def _check_node(self, place: Place, address: str, told: Probed | Unwritable, here: dict[str, str], came: bool) -> None:
        if "failed" in told:
            raise InputError(f"Node {address} cannot write OUTPUT: {told['failed']}")
        other = [f"{name} {there} there, {here[name]} here" for name, there in told["versions"].items() if there != here[name]]
        if other:
            raise InputError(f"Node {address} differs from this machine: {'; '.join(other)}. Install the same on every node.")
        if not (told["seen"] and came):
            raise InputError(
                f"OUTPUT {place.address} on node {address} is another place than here; expected one that all nodes share: "
                "a network's disk, or an address such as s3://bucket/folder."
            )
        if told["lacking"]:
            raise InputError(
                f"Node {address} has no {told['lacking'][0]}; expected inputs that all nodes see: a network's disk, or an address."
            )


def _carried(options: Mapping[str, Any]) -> dict[str, dict[str, bytes]]:
    """Return the files of the weights and the detector that are folders of this machine. Raises InputError."""
    named = {options[name]: expanded(options[name]) for name in ("weights", "detector_model") if options[name]}
    folders = {name: folder for name, folder in named.items() if folder.is_dir()}
    out = {name: {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} for name, folder in folders.items()}
    size = sum(len(data) for files in out.values() for data in files.values())
    if size > _MOST_CARRIED:
        raise InputError(
            f"{', '.join(out)}: {size / 1e6:.0f} MB are too much to send with the tasks; expected at most {_MOST_CARRIED / 1e6:.0f}. "
            "Put them where all nodes see them, or on the hub."
        )
    return out
