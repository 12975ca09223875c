"""What a job writes down, and what its processes tell one another: JSON whose keys and values a type checker knows.

They are dictionaries at run time. A job's options and facts stay plain mappings: they are compared name by name, whatever names an
earlier or a later ferkit has.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, Required, TypedDict, final

__all__ = [
    "Counts",
    "Died",
    "Generation",
    "Greeting",
    "Group",
    "GroupFooter",
    "Holder",
    "Manifest",
    "ManifestFile",
    "NodeStart",
    "Probe",
    "Probed",
    "Receipt",
    "Said",
    "ShardCounts",
    "Slowest",
    "Stage",
    "Start",
    "Status",
    "Task",
    "Told",
    "Unwritable",
]


class Group(TypedDict):
    """Shards whose rows become one file: where their plan is, the first and the last, and what the file is called."""

    plan: str
    first: int
    last: int
    file: NotRequired[str]


class Generation(TypedDict):
    """One listing of the inputs: the first, or that of an update. ``countable``: each entry is a picture."""

    pictures: int
    shards: int
    countable: NotRequired[bool]


class Counts(TypedDict):
    """Pictures (of films: frames) that have rows, faces in them, and kinds of error with their pictures."""

    images: int
    faces: int
    errors: dict[str, int]


class ShardCounts(Counts):
    """The counts of one shard."""

    shard: int


class Receipt(ShardCounts):
    """What a worker tells of a shard that it has done; a part's footer has it too."""

    seconds: float
    host: str
    pid: int
    node: NotRequired[str]


class Stage(TypedDict):
    """What is kept of a receipt once a group's file has its counts."""

    shard: int
    seconds: float
    host: str
    pid: int


class GroupFooter(Counts):
    """The footer of a group's file."""

    fingerprint: str
    shards: list[ShardCounts]


class ManifestFile(TypedDict):
    """A finished file."""

    file: str
    rows: int
    bytes: int
    sha256: str


class Manifest(Counts):
    """``_manifest.json``, which is written last."""

    schema: int
    fingerprint: str
    rows: int
    files: list[ManifestFile]


class Holder(TypedDict):
    """Who holds a lock, and the time of its last sign of life."""

    host: str
    pid: int
    beat: float


class Slowest(TypedDict):
    """A shard that took long."""

    shard: int
    seconds: float
    host: str


class HeldBy(TypedDict):
    """A process that works on a job."""

    host: str
    pid: int


class Status(Counts):
    """What ``ferkit batch OUT --status`` prints."""

    output: str
    state: Literal["done", "running", "stopped"]
    shards: int
    done: int
    image_seconds: float | None
    remaining_worker_seconds: float | None
    slowest: list[Slowest]
    held_by: list[HeldBy]


class Task(TypedDict, total=False):
    """What a worker is handed: ``hello``, a ``shard`` with the pictures not to touch, or a ``group`` to compact."""

    do: Required[Literal["hello", "shard", "compact"]]
    shard: int
    skip: dict[str, list[Any]]
    ahead: bool
    group: int


class Told(TypedDict, total=False):
    """A worker's answer: what came of its task, or a sentence that says why nothing did.

    ``again``: it may do better another time; ``usage``: what was asked for is wrong.
    """

    done: Any
    failed: str
    again: bool
    usage: bool


@final
class Died(TypedDict):
    """How a task ended that has no answer: its process's code, the number of the picture that it was at, and whether it hung."""

    code: int | None
    at: int | None
    hung: bool


@final
class Said(TypedDict):
    """An answer that came back from a node."""

    told: Told


class Probe(TypedDict):
    """What every node must see: OUTPUT's place, and inputs that are local paths."""

    place: str
    inputs: list[str]


@final
class Probed(TypedDict):
    """What a node sees: whether OUTPUT is everybody's, which inputs it lacks, and what it runs."""

    seen: bool
    lacking: list[str]
    versions: dict[str, str]


@final
class Unwritable(TypedDict):
    """Why a node cannot write OUTPUT."""

    failed: str


class NodeStart(TypedDict):
    """What a node starts its worker with, and the facts that it must have. ``memory``: gigabytes, or None: what the node grants."""

    place: str
    options: dict[str, Any]
    memory: float | None
    timeout: float
    facts: dict[str, Any]


class Greeting(TypedDict):
    """What a worker would answer with."""

    facts: dict[str, Any]
    labels: list[str]


class Start(TypedDict):
    """What a worker process is started with."""

    place: str
    options: dict[str, Any]
    memory: int | None
    driver: int
    sys_path: list[str]
    instead: dict[str, str]
