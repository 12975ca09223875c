"""Members of a group on a Ray cluster's nodes: an actor on each holds the process, as the supervisor of one machine does."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import FerkitError, InputError
from ...ray_clusters import connected, in_short
from .group import Ended, Local, Member, free_port

__all__ = ["Nodes"]

_ANSWER_S = 60.0  # that a node may keep silent
_PLACES_S = 600.0  # that a group waits for enough CPUs: a lost node may come back
_AGAIN_S = 1.0  # between two tries: a lost node is offered until the cluster has noticed


class Holder:
    """An actor: holds one member's process on its node, which ends when the actor does."""

    def __init__(self) -> None:
        self._member: Local | None = None

    def place(self, probes: Mapping[str, str | None]) -> tuple[str, int, str | None]:
        """Return this node's address, a free port, and what it does not see of that which all nodes must see."""
        import ray

        address = ray.util.get_node_ip_address()
        lacking = [path for path, text in probes.items() if not _sees(Path(path), text)]
        return address, free_port(address), lacking[0] if lacking else None

    def begin(self, call: tuple[str, dict[str, Any]], coordinator: str, count: int, number: int, beside: int) -> None:
        """Start the process, one of ``beside`` on this node."""
        self._member = Local(call, coordinator, count, number, sys.path, beside)

    def look(self) -> tuple[Ended | None, list[Any]]:
        """Return how it ended, None while it runs, and what it said."""
        assert self._member is not None
        return self._member.poll(), self._member.lines()


def _sees(path: Path, text: str | None) -> bool:
    """Return whether a file is here with that text, or, without a text, whether anything is."""
    if text is None:
        return path.exists()
    return path.is_file() and path.read_text(encoding="ascii", errors="replace") == text


class _Remote:
    """A member on another machine; ``begun`` is the answer to its ``begin``."""

    def __init__(self, ray: Any, holder: Any, begun: Any) -> None:
        self._ray, self._holder, self._begun = ray, holder, begun
        self._lines: list[Any] = []

    def poll(self) -> Ended | None:
        try:
            _, (ended, lines) = self._ray.get([self._begun, self._holder.look.remote()], timeout=_ANSWER_S)
        except self._ray.exceptions.RayTaskError as error:  # such as a process that cannot be started
            return Ended(1, said=in_short(error))
        except self._ray.exceptions.RayError as error:
            return Ended(-9, said=type(error).__name__)
        self._lines += lines
        told: Ended | None = ended
        return told

    def lines(self) -> list[Any]:
        out, self._lines = self._lines, []
        return out

    def end(self) -> None:
        self._ray.kill(self._holder)


class Nodes:
    """A Ray cluster that lends processes.

    Args:
        address: As for ``ferkit.batch``.
        workers: Processes of a group, each with a CPU.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: There is no such cluster.
    """

    def __init__(self, address: str, workers: int) -> None:
        self._ray, self._ours = connected(address)
        self._workers = workers

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ray.shutdown()

    def start(self, call: tuple[str, dict[str, Any]], probes: Mapping[str, str | None]) -> Sequence[Member]:
        """Start a group, spread over the nodes.

        Args:
            call: What each does.
            probes: What all nodes must see: a path, and the text that is in the file; None: any file or folder.

        Raises:
            InputError: A node does not see what all must see, or cannot run ferkit.
            FerkitError: The cluster has too few CPUs, or its processes end as soon as they begin.
        """
        actor = self._ray.remote(num_cpus=1, scheduling_strategy="SPREAD", max_restarts=0)(Holder)
        until = time.monotonic() + _PLACES_S
        while True:
            holders = [actor.remote() for _ in range(self._workers)]
            try:
                places = self._ray.get(
                    [holder.place.remote(dict(probes)) for holder in holders], timeout=max(1.0, until - time.monotonic())
                )
                break
            except self._ray.exceptions.GetTimeoutError as error:
                cpus = self._ray.cluster_resources().get("CPU", 0)
                raise FerkitError(
                    f"The cluster has {cpus:g} CPUs for {self._workers} processes, and no more came in {_PLACES_S:g} s; "
                    "give fewer workers, or more nodes, and go on with resume=True.",
                    arguments=["workers", "resume"],
                ) from error
            except self._ray.exceptions.RayError as error:
                for holder in holders:
                    self._ray.kill(holder)
                kinds = self._ray.exceptions
                lost = isinstance(error, (kinds.RayActorError, kinds.NodeDiedError, kinds.OutOfMemoryError))
                lost = lost and not getattr(error, "actor_init_failed", False)
                if not lost:  # it cannot be made there, or not do what it is asked: nor can the next one
                    raise _unable(error) from error
                if time.monotonic() >= until:
                    raise FerkitError(
                        f"The cluster's processes ended as soon as they began, for {_PLACES_S:g} s: {in_short(error)} Look at what its nodes lack, "
                        "and go on with resume=True.",
                        arguments=["resume"],
                    ) from error
                time.sleep(_AGAIN_S)
        for address, _, lacking in places:
            if lacking is not None:
                missing = lacking if probes.get(lacking) is None else Path(lacking).parent
                raise InputError(
                    f"Node {address} does not see {missing} as this machine does; "
                    "expected data and a run's folder that all nodes share, such as on a network's disk."
                )
        coordinator = f"{places[0][0]}:{places[0][1]}"
        on = Counter(address for address, _, _ in places)
        begun = [
            holder.begin.remote(call, coordinator, self._workers, number, on[place[0]])
            for number, (holder, place) in enumerate(zip(holders, places, strict=True))
        ]
        return [_Remote(self._ray, holder, answer) for holder, answer in zip(holders, begun, strict=True)]


def _unable(error: Exception) -> InputError:
    """Say which node could not make a holder, and why: Ray's own words are a page."""
    found = re.search(r"\bip=([0-9A-Za-z.:]+)", str(error))
    node = f"Node {found.group(1)}" if found else "A node"
    why = in_short(error).rstrip(".")
    return InputError(f"{node} cannot train: {why}. Expected the same ferkit and Keras on JAX on every node.")
