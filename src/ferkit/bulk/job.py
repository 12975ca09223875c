"""A job as it is written down: ``_ferkit/job.json``. Whoever works on it, today or next week, reads it first."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import DataError
from .records import Generation, Group
from .storage import Place

__all__ = ["JOB", "SCHEMA", "Job"]

JOB = "_ferkit/job.json"
SCHEMA = 1


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        inputs: As the user gave them.
        base: The folder that relative names are in.
        options: Those that change rows.
        facts: What the rows depend on beside the inputs; see opening.facts.
        labels: Class names, in the order of the columns.
        video: Whether the rows are of films.
        groups: ``{"plan": file, "first": shard, "last": shard}``, with ``"file"``, what its rows are called; in the order of their shards.
        generations: Of each listing of the inputs, the first and those of updates, how many entries and shards it has.
        schema: Of this file.
    """

    inputs: list[str]
    base: str
    options: dict[str, Any]
    facts: dict[str, Any]
    labels: list[str]
    video: bool
    groups: list[Group] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def shards(self) -> int:
        """How many there are."""
        return self.groups[-1]["last"] + 1 if self.groups else 0

    @property
    def fingerprint(self) -> str:
        """Tells this job's rows from those of another one."""
        told = {"facts": self.facts, "inputs": self.inputs, "plan": [group["plan"] for group in self.groups]}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def group_number(self, shard: int) -> int:
        """Return the number of the group that a shard is in; found by halves, since whoever asks does so for each of very many shards."""
        return bisect_right(self.groups, shard, key=lambda group: group["first"]) - 1

    def group_of(self, shard: int) -> Group:
        """Return the group that a shard is in."""
        return self.groups[self.group_number(shard)]

    def footer(self, receipt: Mapping[str, Any]) -> dict[str, str]:
        """Return what a file's footer says."""
        return {"ferkit": json.dumps({"fingerprint": self.fingerprint, **receipt})}

    def to_json(self) -> bytes:
        """Return the file's text."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=True) + "\n").encode()

    @classmethod
    def read(cls, place: Place) -> Job | None:
        """Return the job that lies at a place, None where there is none. Raises DataError."""
        data = place.read(JOB)
        if data is None:
            return None
        try:
            told = json.loads(data)
            if told["schema"] != SCHEMA:
                raise DataError(
                    f"{place.path(JOB)} has schema {told['schema']}; this version of ferkit reads {SCHEMA}. Install the one that wrote it."
                )
            return cls(**told)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{place.path(JOB)} is damaged ({error}); start again in an empty OUTPUT.") from error
