"""What a job came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["BatchReport"]


@dataclass(frozen=True)
class BatchReport:
    """What a batch job came to, all runs of it together.

    Attributes:
        output: Where the rows are.
        state: ``"done"``; ``"partial"``, where shards of other parts, or shards that failed, are missing; ``"stopped"``
            by the error budget; ``"planned"`` by a dry run, whose images and shards are those that there are to do.
        images: Pictures (of films: frames) that have rows.
        faces: Faces in them.
        errors: Kind of error -> pictures.
        shards: How many there are.
        missing: How many of them are missing.
        failed: Shards that could not be done although none of their pictures is at fault, and why.
        seconds: That this run took.
        files: Names of the finished files.
        left_out: Files that are not pictures, by suffix; only of the run that made the plan.
    """

    output: str
    state: Literal["done", "partial", "stopped", "planned"]
    images: int = 0
    faces: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    missing: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0: all pictures could be read; 1: some could not, or shards failed; 3: the error budget was exceeded."""
        return 3 if self.state == "stopped" else 1 if self.errors or self.failed else 0

    def dataset(self) -> Any:
        """Return the rows as a ``pyarrow.dataset.Dataset``."""
        import pyarrow.dataset as ds

        from .storage import Place, remote

        place = Place(self.output)
        if place.local is not None:
            return ds.dataset([place.path(name) for name in self.files])
        file_system, path = remote(place.address)
        return ds.dataset([f"{path}/{name}" for name in self.files], filesystem=file_system)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        out = {name: getattr(self, name) for name in ("output", "state", "images", "faces", "errors", "shards", "missing", "seconds")}
        return out | {
            "failed": {str(shard): why for shard, why in self.failed.items()},
            "files": list(self.files),
            "left_out": self.left_out,
        }
