"""``ferkit.batch``: plan what there is, do what is missing, make the files."""

from __future__ import annotations

import os
import reprlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import writable
from ..image_files import expanded
from .commit import MANIFEST, clean, done, manifest, missing, totals, whole
from .driving import Drive, Hands, Watch
from .granted import worker_count, worker_memory
from .job import JOB, Job
from .listing import Listed, listed, listed_keys
from .local import Pool, failed, stillborn
from .lock import Lock, sweep
from .options import Kind, Options, need
from .plan import Plan, plan, write
from .records import Generation, Greeting, Group, Receipt
from .reports import BatchReport
from .storage import Place, is_address

__all__ = ["Request", "batch", "run"]


@dataclass(frozen=True)
class Request:
    """One call: what is asked for, and how."""

    inputs: tuple[str, ...]
    output: str
    options: Options
    keys: str | None = None
    update: bool = False
    retry_errors: bool = False
    dry_run: bool = False
    steal: bool = False

    @property
    def told(self) -> list[str]:
        """The inputs as the job keeps them."""
        return [*self.inputs, *([f"--keys {self.keys}"] if self.keys else [])]


class Quiet:
    """Tells nobody."""

    def start(self, shards: int, done: int, pictures: int | None) -> None: ...

    def receipt(self, receipt: Receipt) -> None: ...

    def note(self, text: str) -> None: ...


def batch(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    kind: Kind = "auto",
    column: str | None = None,
    key_column: str | None = None,
    keys: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    labels: str | None = None,
    tta: str | None = None,
    runtime: str = "opencv",
    detector: str | None = None,
    detector_model: str | os.PathLike[str] | None = None,
    min_confidence: float | None = None,
    pipeline: str | None = None,
    max_side: int | None = None,
    landmarks: bool = True,
    features: bool = False,
    hash_keys: bool = False,
    fps: float | None = None,
    every: float | None = None,
    shard_images: int = 2000,
    shard_mb: float = 512,
    workers: int | None = None,
    part: tuple[int, int] | None = None,
    max_error_rate: float | None = None,
    memory: float | None = None,
    timeout: float = 300,
    address: str | None = None,
    install: bool = False,
    update: bool = False,
    retry_errors: bool = False,
    dry_run: bool = False,
    steal: bool = False,
) -> BatchReport:
    """Read the expressions in any number of pictures or videos, into Parquet files, by processes of this machine or of a cluster.

    What is done is done: a run that was stopped or killed, or that lost a process, goes on where it was when it is called again,
    and the files are the same, byte by byte, as if nothing had happened.

    Args:
        inputs: Files, folders, patterns, or addresses (``s3://``, ``gs://``, ``hf://``, what fsspec knows), of pictures, of Parquet
            files with a column of encoded pictures, of tars (WebDataset), or of videos.
        output: An empty folder or address; or that of a job, which goes on. It gets ``rows-0000-of-0001.parquet`` and so on (videos:
            ``frames-...``), and ``_manifest.json`` once all is done.
        kind: Which of those to take; ``"auto"`` is by their names. Videos have columns of their own, hence an output of their own.
        column, key_column: Of Parquet input: where the encoded pictures are (bytes, or Hugging Face's struct), and their names.
        keys: A list of names instead of ``inputs``, or beside them: text, one a line, or Parquet with a column ``key``.
        weights, labels, tta, runtime, detector, detector_model, min_confidence: As for ExpressionClassifier and FaceDetector.
        pipeline: ``"module:function"`` that returns a Pipeline of your own, instead of those seven.
        max_side: See ``ferkit.load_image``; 1280 makes photos of 12 megapixels five times as fast.
        landmarks: Write the five landmarks of each face, ten columns.
        features: Write the numbers by which the network tells each face apart, a list of float32.
        hash_keys: Write the SHA-256 of names instead of the names, and no error messages, which have names in them.
        fps, every: Of videos, as for ``ferkit.frames``.
        shard_images, shard_mb: Where to cut: what one death costs.
        workers: Processes; None is one for each CPU that is granted.
        part: ``(I, N)``: do only the I-th of N parts, on machines that share the output and nothing else.
        max_error_rate: Share of pictures that may be unreadable, 0-1; above it the job stops. None: 0.05, after the first 1,000.
        memory: Gigabytes that each worker may have. None: what this machine grants, divided by the workers, 1.5 at least.
        timeout: Seconds after which a picture counts as hanging.
        address: Of a Ray cluster that does the work instead of this machine: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``. Inputs and
            output must be seen by all of its nodes, and all need the same ferkit. None: no cluster is touched. ``workers`` is then how
            many shards are under way at most, ``memory`` is reserved too, and ``part`` is not for clusters.
        install: Have the cluster's nodes install this ferkit with pip.
        update: Look at the inputs again, and do what is new or changed.
        retry_errors: Do again what could not be found or reached, or hung.
        dry_run: Only say what there is to do.
        steal: Take the output from a run that holds it.

    Returns:
        A ``ferkit.bulk.BatchReport``. A picture that cannot be read is a row with its ``error_kind``, never an exception.

    Raises:
        InputError: An argument out of range, or that does nothing for a new job, such as ``fps`` for pictures, or ``weights`` beside
            ``pipeline``; inputs that have nothing; an output that holds another job, or that is worked on.
        WeightsError: As ExpressionClassifier.
        MissingExtraError: pyarrow, or for a cluster ray, is not installed.
        StoreError: The output cannot be written.

    Examples:
        >>> import ferkit
        >>> report = ferkit.batch("photos/", "faces/", workers=1)
        >>> report.dataset().to_table(columns=["image", "label"]).to_pylist()
        [{'image': 'photos/a.jpg', 'label': 'happy'}]
    """
    given = dict(locals())
    options = {name: given[name] for name in Options.__dataclass_fields__}
    options |= {name: None if options[name] is None else os.fspath(options[name]) for name in ("weights", "detector_model")}
    request = Request(
        _names(inputs),
        os.fspath(output),
        Options(**options),
        keys=None if keys is None else os.fspath(keys),
        update=update,
        retry_errors=retry_errors,
        dry_run=dry_run,
        steal=steal,
    )
    return run(request, Quiet())


def _names(inputs: Any) -> tuple[str, ...]:
    """Return inputs as text. Raises InputError."""
    try:
        names = tuple(map(os.fspath, (inputs,) if isinstance(inputs, (str, os.PathLike)) else inputs))
    except TypeError as error:
        raise InputError(f"inputs={reprlib.repr(inputs)}: {error}. Expected paths, patterns or addresses.") from error
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"inputs has {reprlib.repr(name)}; expected paths, patterns or addresses as text.")
    return names


def run(request: Request, watch: Watch) -> BatchReport:
    """Do what a request asks for. Raises as batch."""
    need("pyarrow", "ferkit batch")
    began = time.perf_counter()
    _check_apart(request)
    place = Place(request.output)
    left_out: Counter[str] = Counter()
    job = Job.read(place)
    if job is None:
        request.options.check_new([] if request.options.kind == "auto" else [request.options.kind])
    if request.dry_run:
        made = _made(request, left_out, job)
        watch.note(
            f"{made.pictures} entries ({', '.join(f'{n} {kind}' for kind, n in made.kinds.items())}), {made.bytes / 1e6:,.1f} MB, {made.shards} shards"
        )
        return BatchReport(
            request.output, "planned", images=made.pictures, shards=made.shards, missing=made.shards, left_out=dict(left_out)
        )
    from .opening import facts

    here = facts(request.options.identity())
    if job is not None:
        _check_same(job, request, here)
        if not (request.update or request.retry_errors) and whole(place, job):
            sweep(place)
            return _report(place, job, None, time.perf_counter() - began, left_out)
    with Lock(place, request.options.part, request.steal):
        with _workers(place, request, here) as pool:
            if job is None:
                job = _planned(place, request, here, pool, left_out)
            elif request.update:
                job = _updated(place, job, request, left_out, watch)
            if request.retry_errors:
                _retried(place, job)
            if not whole(place, job):
                place.delete(MANIFEST)  # a file of it was deleted
            drive = _drive(place, job, request.options, pool, watch)
        return _report(place, job, drive, time.perf_counter() - began, left_out)


def _check_apart(request: Request) -> None:
    if "" in (*request.inputs, request.output):
        raise InputError(f"{'OUTPUT' if request.output == '' else 'An input'} is empty text, which names no place; expected a path.")
    output = request.output.removeprefix("file://")
    output = output if is_address(output) else str(expanded(output))
    for item in (name.removeprefix("file://") for name in request.inputs):
        if is_address(item) or is_address(output):
            one, other = f"{item.rstrip('/')}/", f"{output.rstrip('/')}/"
            apart = not (one.startswith(other) or other.startswith(one))
        else:
            base, deep, _ = str(expanded(item)).partition("**")  # a pattern that searches through all that is below there
            inside, place = (Path(os.path.realpath(name)) for name in (os.path.dirname(base) if deep else base, output))  # noqa: PTH120
            apart = not (inside.is_dir() and place.is_relative_to(inside)) and not inside.is_relative_to(place)
        if not apart:
            raise InputError(f"OUTPUT {request.output} and the input {item} are in one another; give OUTPUT a place of its own.")
    if Path(output).is_file():
        raise InputError(f"OUTPUT {request.output} is a file; expected a folder, which is made if it is not there.")
    if not is_address(output):
        writable(Path(output), 1 << 20, "output")


def _check_same(job: Job, request: Request, here: dict[str, Any]) -> None:
    from .opening import difference

    other = difference(job.facts, here)
    if request.told and request.told != job.inputs:
        other.append(f"inputs: {' '.join(job.inputs)} then, {' '.join(request.told)} now")
    if any(not is_address(item) and not expanded(item).is_absolute() for item in request.inputs) and job.base != str(Path.cwd()):
        other.append(f"the folder that inputs are relative to: {job.base} then, {Path.cwd()} now")
    if other:
        raise InputError(
            f"{request.output} holds another job: {'; '.join(other)}. Give another OUTPUT, or what the job was begun with; "
            f"to begin anew delete {request.output}."
        )


def _found(request: Request, left_out: Counter[str]) -> Iterator[Listed]:
    if not request.told:
        raise InputError("No input; expected a folder, a pattern, an address, or keys, a list of names.", arguments=["keys"])
    yield from listed(request.inputs, request.options.kind, left_out)
    if request.keys is not None:
        yield from listed_keys(request.keys, request.options.kind)


def _made(request: Request, left_out: Counter[str], job: Job | None = None) -> Plan:
    """Return the plan of what there is, which for a new job all options are to have a meaning for. Raises InputError."""
    made = plan(_found(request, left_out), request.options)
    if job is None:
        request.options.check_new(made.kinds)
    return made


def _workers(place: Place, request: Request, facts: dict[str, Any]) -> AbstractContextManager[Hands]:
    """Return the engine: this machine's processes, or a cluster's."""
    options = request.options
    if options.address is not None:
        from .cluster import Cluster

        return Cluster(place, options, facts, request.inputs)
    count = worker_count(options.workers)
    return Pool(place.address, options.identity(), worker_memory(options.memory, count), options.timeout, count)


def _planned(place: Place, request: Request, here: dict[str, Any], pool: Hands, left_out: Counter[str]) -> Job:
    """Write the plan, unless another part was quicker: then take that one's."""
    pool.add()  # which starts while this process lists
    made = _made(request, left_out)
    for _ in range(min(pool.room(), len(_own(range(made.shards), request.options))) - 1):
        pool.add()  # while the plan is written, and not only once the first is there
    labels = _greeting(pool)["labels"]
    from .columns import schema

    schema(labels, features=request.options.features)  # which refuses labels that are named like columns
    job = Job(request.told, str(Path.cwd()), request.options.identity(), here, labels, "video" in made.kinds)
    job = _with(job, made, write(place, made))
    if not place.put_new(JOB, job.to_json()):
        other = Job.read(place)
        assert other is not None
        _check_same(other, request, here)
        return other
    return job


def _greeting(pool: Hands, tries: int = 3) -> Greeting:
    """Return what the first worker says that it would answer with."""
    while True:
        answer = pool.next(wait=1.0)
        if answer is None:
            continue
        if answer.told is not None:
            if "failed" in answer.told:
                raise failed(answer.told)
            greeting: Greeting = answer.told["done"]
            return greeting
        tries -= 1
        if not tries:
            raise stillborn(answer)
        pool.add()


def _with(job: Job, made: Plan, groups: list[Group]) -> Job:
    generation = len(job.generations) + 1
    count, again = len(groups), "" if generation == 1 else f"u{generation:02d}-"
    for number, group in enumerate(groups):
        group["file"] = f"{'frames' if job.video else 'rows'}-{again}{number:04d}-of-{count:04d}.parquet"
    told: Generation = {"pictures": made.pictures, "shards": made.shards, "countable": set(made.kinds) <= {"images"}}
    return replace(job, groups=job.groups + groups, generations=[*job.generations, told])


def _drive(place: Place, job: Job, options: Options, pool: Hands, watch: Watch) -> Drive:
    shards, groups = done(place, job)
    todo = _own(missing(job, shards), options)
    drive = Drive(place, job, options, pool, watch, totals(place, job, groups))
    countable = all(one["countable"] for one in job.generations)
    watch.start(job.shards, len(shards), sum(one["pictures"] for one in job.generations) if countable else None)
    drive.shards(todo)
    if not drive.stopped:
        drive.groups()
        shards, groups = done(place, job)
        if len(groups) == len(job.groups):
            if options.part is None:
                clean(place, job)
            manifest(place, job)  # last of all: whoever sees it need not look for anything else
    return drive


def _own(shards: Sequence[int], options: Options) -> Sequence[int]:
    """Return those of some shards that are this run's to do: all, or its part."""
    return shards if options.part is None else [shard for shard in shards if shard % options.part[1] == options.part[0] - 1]


def _report(place: Place, job: Job, drive: Drive | None, seconds: float, left_out: Counter[str]) -> BatchReport:
    shards, groups = done(place, job)
    told = totals(place, job, groups)
    return BatchReport(
        place.address,
        "stopped" if drive is not None and drive.stopped else "done" if whole(place, job, groups) else "partial",
        **told,
        shards=job.shards,
        missing=job.shards - len(shards),
        failed={} if drive is None else dict(drive.failed),
        seconds=round(seconds, 3),
        files=tuple(job.groups[number]["file"] for number in sorted(groups)),
        left_out=dict(left_out),
    )


def _updated(place: Place, job: Job, request: Request, left_out: Counter[str], watch: Watch) -> Job:
    from .updating import updated

    request = replace(request, inputs=request.inputs or tuple(item for item in job.inputs if not item.startswith("--keys ")))
    new = updated(place, job, _found(request, left_out), request.options, watch)
    if new is None:
        return job
    changed, made = new
    if made is not None:
        changed = _with(changed, made, write(place, made))
    place.delete(MANIFEST)
    place.put(JOB, changed.to_json())
    return changed


def _retried(place: Place, job: Job) -> None:
    from .updating import retried

    retried(place, job)
