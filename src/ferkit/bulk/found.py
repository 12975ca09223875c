"""The faces that a finished job found, for whoever reads its pictures again."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, InputError
from ..faces import Face
from ..image_files import expanded
from ..text import encodable
from .commit import MANIFEST, done
from .job import Job
from .options import need
from .storage import Place, is_address

__all__ = ["Found", "FoundFaces", "path_of"]

_BATCH = 65_536


@dataclass
class Found:
    """What a job says of one picture.

    Attributes:
        size: Width and height, pixels.
        faces: The largest first, with landmarks where the job kept them.
        error: Why it could not be read, None where it could.
    """

    size: tuple[int, int]
    faces: list[Face]
    error: str | None = None


class FoundFaces:
    """The faces of a finished job of pictures.

    Args:
        output: The job's OUTPUT.

    Attributes:
        inputs, base: What the job was about, and the folder that relative names are in.
        whole: Whether pictures were taken for faces, so that none was looked for.
        landmarks: Whether the rows have them.

    Raises:
        InputError: No such job, or one whose rows cannot tell.
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, output: str | os.PathLike[str]) -> None:
        need("pyarrow", "Reading the OUTPUT of ferkit batch")
        self._place = Place(os.fspath(output))
        job = Job.read(self._place)
        if job is None:
            raise InputError(f"{output} holds no batch job; expected the OUTPUT of one.")
        if self._place.read(MANIFEST) is None:
            raise InputError(f"{output} is not finished; run the job again until it is.")
        if job.video:
            raise InputError(f"{output} has the rows of films; expected a job of pictures.")
        if job.options["hash_keys"]:
            raise InputError(f"{output} was made with hash_keys, so that nobody can tell whose its rows are; make it again without.")
        self._job, self.base, self.inputs = job, job.base, job.inputs
        self.whole, self.landmarks = job.options["detector"] == "none", bool(job.options["landmarks"])

    @property
    def input(self) -> str | None:
        """The one folder or file of this machine that the job was about; None where there are others."""
        if len(self.inputs) != 1 or self.inputs[0].startswith("--keys ") or is_address(self.inputs[0]):
            return None
        return os.path.join(self.base, expanded(self.inputs[0]))

    def of(self, wanted: Collection[str]) -> dict[str, Found]:
        """Return what the rows say of some pictures.

        Args:
            wanted: Absolute paths, as ``path_of`` writes them.

        Returns:
            Path -> what was found; those that the job has no row of are not in it.

        Raises:
            DataError: A file is missing or damaged.
        """
        out: dict[str, Found] = {}
        told = {encodable(path): path for path in wanted}  # rows have names as text, with escapes for what is not UTF-8
        for number in sorted(done(self._place, self._job)[1]):
            for batch in _batches(self._place, self._job.groups[number]["file"], self.landmarks):
                for row in batch:
                    path = told.get(encodable(path_of(self.base, row["image"])))
                    if path is not None:
                        _add(out.setdefault(path, Found((row["width"] or 0, row["height"] or 0), [], row["error"])), row)
        return out


def path_of(base: str | os.PathLike[str], name: str | os.PathLike[str]) -> str:
    """Return a name that is relative to a folder as a path without dots, so that two spellings are one."""
    return os.path.normpath(os.path.join(base, name))


def _add(found: Found, row: Mapping[str, Any]) -> None:
    if row["face"] is None:
        return
    points = None
    if row.get("lm1x") is not None:
        points = tuple((row[f"lm{number}x"], row[f"lm{number}y"]) for number in range(1, 6))
    found.faces.append(Face((row["x1"], row["y1"], row["x2"], row["y2"]), row["score"], points))


def _batches(place: Place, name: str, landmarks: bool) -> Iterator[list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["image", "width", "height", "face", "x1", "y1", "x2", "y2", "score", "error"]
    columns += [f"lm{number}{axis}" for number in range(1, 6) for axis in "xy"] if landmarks else []
    try:
        with place.open(name) as file:
            for batch in pq.ParquetFile(file).iter_batches(_BATCH, columns=columns):
                yield batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{place.path(name)} cannot be read ({error}); run ferkit batch with --verify.") from error
