"""The work: one shard in, one file out. The same shard is the same bytes, whoever does it and however often."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import FerkitError, MissingExtraError
from ..pipeline import Pipeline
from . import opening
from .columns import ErrorKind, Rows, encoded
from .commit import part_name
from .job import Job
from .plan import Unit, units
from .reading import Item, items
from .records import Receipt
from .storage import AddressError, Place, is_address, open_input, read_whole

__all__ = ["picture", "work"]

Skip = Mapping[str, tuple[Any, str]]


def work(place: Place, job: Job, shard: int, *, skip: Skip, ahead: bool, say: Callable[[int], None]) -> Receipt:
    """Do a shard and put its part.

    Args:
        place: Where the job lies.
        job: Its options and plan.
        shard: The shard's number.
        skip: Pictures not to touch, since processes died of them: number in the shard -> kind of error and sentence.
        ahead: Read the next pictures while one is being looked at.
        say: Called with a picture's number before it is touched: if the process dies, this is what it died of.

    Returns:
        The receipt: a few numbers that tell what was done.

    Raises:
        StoreError: The pictures or the place cannot be reached.
        InputError: The job's options do not fit what lies there.
    """
    began = time.perf_counter()
    pipeline = opening.open_pipeline(job.options)
    pieces = units(place, job.group_of(shard)["plan"], shard)
    video = pieces[0].kind == "video"
    options = job.options
    kept = {"landmarks": options["landmarks"], "features": options.get("features", False), "hash_keys": options["hash_keys"]}
    rows = Rows(job.labels, shard, video=video, **kept)
    if video:
        _film(rows, pieces[0], job, pipeline, skip, say)
    else:
        _pictures(rows, pieces, job, pipeline, skip, ahead, say)
    receipt: Receipt = {
        "shard": shard,
        "images": rows.images,
        "faces": rows.faces,
        "errors": dict(sorted(rows.errors.items())),
        "seconds": round(time.perf_counter() - began, 3),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    place.put(part_name(job, shard), encoded([rows.table()], rows.schema, job.footer(receipt)))
    return receipt


def _pictures(rows: Rows, pieces: list[Unit], job: Job, pipeline: Pipeline, skip: Skip, ahead: bool, say: Callable[[int], None]) -> None:
    options = job.options
    found = items(pieces, job.base, column=options["column"], key_column=options["key_column"], ahead=ahead)
    for number, item in enumerate(found):
        say(number)
        if (known := skip.get(str(number))) is not None:
            rows.add_error(item.key, number, known[0], f"{item.key}: {known[1]}")
        else:
            picture(rows, item, number, pipeline, options["max_side"])


def picture(rows: Rows, item: Item, number: int, pipeline: Pipeline, max_side: int | None) -> None:
    """Add the rows of one picture: its faces, or why there are none. Raises nothing but MemoryError.

    A process without memory is not to be trusted any more: a worker ends, and whose fault it was is told by whether the next one
    ends at the same picture too. What a decoder could not have is the picture's, by its head, and an ImageError.
    """
    if item.kind is not None:
        rows.add_error(item.key, number, item.kind, item.error)
        return
    data = item.data or b""
    try:
        # One picture at a time, its faces together: so its rows do not depend on its neighbours, nor on how shards are cut.
        scaled = pipeline if max_side is None else partial(pipeline, max_side=max_side)  # one of your own need not know of it
        result = scaled(data, keep_pixels=False)
    except MemoryError:
        raise
    except Exception as error:  # whatever one picture does to the program, the others have their rows
        kind = opening.kind_of_error(error, data)
        said = str(error).replace("the given bytes", item.key) if isinstance(error, FerkitError) else f"{type(error).__name__}: {error}"
        rows.add_error(item.key, number, kind, said if item.key in said else f"{item.key}: {said}")
    else:
        rows.add(item.key, number, (result.width, result.height), result.faces)


def _film(rows: Rows, unit: Unit, job: Job, pipeline: Pipeline, skip: Skip, say: Callable[[int], None]) -> None:
    say(0)
    if (known := skip.get("0")) is not None:
        rows.add_error(unit.key, 0, known[0], f"{unit.key}: {known[1]}")
        return
    number = 0
    try:
        with _Fetched(unit.key, job.base) as path:
            for frame, result in pipeline.video(path, fps=job.options["fps"], every=job.options["every"]):
                say(0)
                rows.add(unit.key, number, (result.width, result.height), result.faces, frame=frame.index, time_s=frame.time_s)
                number += 1
    except (MissingExtraError, MemoryError):
        raise
    except FileNotFoundError as error:
        rows.add_error(unit.key, number, "not_found", str(error))
    except AddressError as error:  # in the midst of a list of good ones
        rows.add_error(unit.key, number, "not_found", f"{unit.key}: {error}")
    except (FerkitError, OSError) as error:
        kind: ErrorKind = "empty" if unit.size == 0 else "damaged" if read_whole(unit.key, job.base) else "io"
        own = opening.kind_of_error(error, b"") == "crash"
        rows.add_error(unit.key, number, "crash" if own else kind, str(error))
    except Exception as error:  # whatever one film does to the program, as a picture: else its job would never come to an end
        rows.add_error(unit.key, number, "crash", f"{unit.key}: {type(error).__name__}: {error}")


class _Fetched:
    """A film as a file of this machine, for as long as it is read."""

    def __init__(self, key: str, base: str) -> None:
        self._key, self._base = key, base
        self._folder: str | None = None

    def __enter__(self) -> str:
        if not is_address(self._key):
            return os.path.join(self._base, self._key)
        self._folder = tempfile.mkdtemp(prefix="ferkit-")
        path = Path(self._folder, "film" + os.path.splitext(self._key)[1])  # noqa: PTH122 - of a key
        with open_input(self._key, self._base) as source, path.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        return str(path)

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
