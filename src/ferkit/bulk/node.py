"""What runs on a cluster's nodes: each of an engine's processes keeps one worker process, and hands it the tasks that it is given.

A process of its own, as on one machine, and not the engine's: a picture that kills, eats or hangs it is known by its number, its memory
is bounded by the kernel, and the engine's process lives on. When that one dies the kernel ends its worker too.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import __version__
from ..engines.threads import available_cpus
from ..orphans import ended
from .granted import worker_memory
from .local import Answer, Pool
from .opening import difference
from .records import Died, NodeStart, Probe, Probed, Said, Task, Told, Unwritable
from .storage import Place, StoreError

__all__ = ["PROBES", "digest_of", "do", "probe", "unpacked", "versions"]

PROBES = "_ferkit/probes"
_BIRTHS = 3
_UNPACKED: dict[str, str] = {}  # what this process has fetched and compared with the disk: 20 MB are not read again for each task


def versions() -> dict[str, str]:
    """Return what must be the same on every node."""
    return {"ferkit": __version__, "python": platform.python_version()}


def probe(spec: Probe, token: str, node: str) -> Probed | Unwritable:
    """Tell what this node has, and whether its OUTPUT and its inputs are those of everybody.

    Args:
        spec: ``place``, and ``inputs``, local paths.
        token: What the driver wrote to ``_ferkit/probes/driver``; it is written beside it, for the driver to find.
        node: This node's name there.
    """
    place = Place(spec["place"])
    try:
        seen = place.read(f"{PROBES}/driver") == token.encode()
        place.put(f"{PROBES}/{node}", token.encode())
    except (StoreError, OSError) as error:
        return {"failed": str(error)}
    lacking = [path for path in spec["inputs"] if not Path(path).exists()]
    return {"seen": seen, "lacking": lacking, "versions": versions()}


def do(spec: NodeStart, task: Task, carried: dict[str, tuple[str, list[Any]]]) -> Said | Died:
    """Do one task, in a process of Ray's.

    Args:
        spec: What a worker process is started with, and ``facts``, what it must have.
        task: As the local engine hands it.
        carried: Folder on the driver's disk -> what its files are called together, and, in a list, Ray's reference to them: weights
            that this node need not have. They are fetched once a process.

    Returns:
        ``told``, its answer; or how it died: ``code``, ``at`` (the picture's number) and ``hung``.
    """
    import ray

    where = ray.util.get_node_ip_address()
    for name, (digest, held) in carried.items():
        if digest not in _UNPACKED:
            _UNPACKED[digest] = unpacked(digest, ray.get(held[0])[name])
    instead = {name: _UNPACKED[digest] for name, (digest, _) in carried.items()}
    pool = _pool(json.dumps({**spec, "instead": instead}, sort_keys=True))
    for _ in range(_BIRTHS):
        if pool.processes:
            break
        pool.add()
        greeting = _next(pool)
        if greeting.told is None:
            continue
        told = greeting.told
        if "failed" not in told and (other := difference(spec["facts"], told["done"]["facts"])):
            told = {"failed": f"{'; '.join(other)}. Install what the job was planned with on every node.", "usage": True}
        if "failed" in told or task["do"] == "hello":
            return {"told": _located(told, where)}
    else:
        return {"told": {"failed": f"node {where}: worker processes end as soon as they start ({ended(greeting.code)}).", "usage": True}}
    pool.processes[0].give(task.copy())
    answer = _next(pool)
    if answer.told is None:
        return {"code": answer.code, "at": answer.process.at, "hung": answer.hung}
    return {"told": _located(answer.told, where)}


def _located(told: Told, where: str) -> Told:
    if "failed" in told:
        return {**told, "failed": f"node {where}: {told['failed']}"}
    return {"done": {**told["done"], "node": where}} if isinstance(told["done"], dict) else told


_POOLS: dict[str, Pool] = {}  # the one of the job that this process works on


def _pool(spec: str) -> Pool:
    """Return the pool of a job; the workers of an earlier one are ended."""
    if spec not in _POOLS:
        while _POOLS:
            with _POOLS.popitem()[1]:
                pass
        start = json.loads(spec)
        memory = worker_memory(start["memory"], available_cpus())
        _POOLS[spec] = Pool(start["place"], start["options"], memory, start["timeout"], instead=start["instead"])
    return _POOLS[spec]


def _next(pool: Pool) -> Answer:
    while True:
        if (answer := pool.next(wait=1.0)) is not None:
            return answer


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return what tells these files from others."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{len(name.encode())} {len(data)} ".encode() + name.encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def unpacked(digest: str, files: Mapping[str, bytes]) -> str:
    """Write a folder's files to this node's disk, unless they are there; return where they are.

    In a folder that is this user's alone: whoever else can write there could exchange what was just compared.
    """
    folder = Path(tempfile.gettempdir()) / f"ferkit-{os.getuid()}-{digest}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():  # anybody may guess its name, and be there first
        folder = Path(tempfile.mkdtemp(prefix="ferkit-"))
    folder.chmod(0o700)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_bytes(data)
            temporary.replace(path)
    return str(folder)
