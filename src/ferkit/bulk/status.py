"""How a job stands, and whether its files are still what was written: told from what lies there, without the process that runs it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from ..errors import InputError
from .commit import MANIFEST, done, totals, waiting, whole
from .job import Job
from .lock import alive, locks
from .plan import as_written
from .records import Status
from .storage import Place

__all__ = ["status", "verify"]

_SLOWEST = 5
_TRIES = 5


def _opened(output: str) -> tuple[Place, Job]:
    place = Place(output)
    job = Job.read(place)
    if job is None:
        raise InputError(f"{output} holds no batch job; expected the OUTPUT of one.")
    return place, job


def status(output: str) -> Status:
    """Return how a job stands.

    Returns:
        ``state`` (``"done"``, ``"running"`` or ``"stopped"``), ``shards`` and ``done``, ``images``, ``faces``, ``errors`` by kind,
        ``image_seconds`` (what one picture took a worker), ``remaining_worker_seconds``, ``slowest`` shards and ``held_by``.

    Raises:
        InputError: There is no job.
        DataError: A file is damaged.
    """
    place, job = _opened(output)
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # a part that was listed, and is in its group's file by now
            return _status(place, job)
    return _status(place, job)


def _status(place: Place, job: Job) -> Status:
    shards, groups = done(place, job)
    told = totals(place, job, groups)
    receipts = [one for found in place.list("_ferkit/receipts") for one in place.read_json(f"_ferkit/receipts/{found.name}") or ()]
    again = waiting(place, job, groups)
    known = {one["shard"] for one in again}
    receipts = [one for one in receipts if one["shard"] not in known] + again
    spent = sum(one["seconds"] for one in receipts)
    held = [holder for holder in (alive(place, name) for name in locks(place)) if holder is not None]
    finished = whole(place, job, groups)
    left = job.shards - len(shards)
    return {
        "output": place.address,
        "state": "done" if finished else "running" if held else "stopped",
        "shards": job.shards,
        "done": len(shards),
        **told,
        "image_seconds": round(spent / told["images"], 4) if told["images"] else None,
        "remaining_worker_seconds": round(spent / len(receipts) * left, 1) if receipts else None,
        "slowest": [
            {"shard": one["shard"], "seconds": one["seconds"], "host": one["host"]}
            for one in sorted(receipts, key=lambda one: -one["seconds"])[:_SLOWEST]
        ],
        "held_by": [{"host": holder["host"], "pid": holder["pid"]} for holder in held],
    }


def verify(output: str) -> list[str]:
    """Compare a finished job's files with its manifest, and its plan with its name.

    Returns:
        What is wrong, a sentence each; empty if nothing is.

    Raises:
        InputError: There is no job, or it is not finished.
    """
    place, job = _opened(output)
    manifest = place.read(MANIFEST)
    if manifest is None:
        raise InputError(f"{output} is not finished, so that there is no manifest to hold it against; run the job again until it is.")
    try:
        wanted = {one["file"]: one for one in json.loads(manifest)["files"]}
    except (ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} is damaged ({error}); delete it and run the job again, which makes it anew."]
    there = {found.name for found in place.list()} - {MANIFEST}
    wrong = [f"{name} is missing; run the job again, which makes it anew." for name in sorted(set(wanted) - there)]
    wrong += [f"{name} is not a file of this job; programs that read the folder would read it too." for name in sorted(there - set(wanted))]
    for name in sorted(there & set(wanted)):
        found = hashlib.sha256(place.read(name) or b"").hexdigest()
        if found != wanted[name]["sha256"]:
            wrong.append(f"{name} has SHA-256 {found}, expected {wanted[name]['sha256']}; delete it and {MANIFEST}, and run the job again.")
    return wrong + [
        f"{group['plan']} is missing or damaged; the rows are whole, but --update and --retry-errors need it. Start again in an empty OUTPUT."
        for group in job.groups
        if not as_written(place, group["plan"])
    ]
