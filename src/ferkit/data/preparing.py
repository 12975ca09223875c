"""From fer2013.csv or photos to one folder of face pictures per label per split. Needs no Keras."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..classifiers.expression_classifier import ExpressionClassifier
from ..crops import CropGeometry, resized
from ..detectors.face_detector import open_detector
from ..errors import DataError, ImageError, InputError, MissingExtraError
from ..files import clear_partials, writable, write_arrays, write_bytes, write_json
from ..image_files import expanded
from ..images import load_image
from ..protocols import Detector, name_of
from ..text import encodable
from .copies_report import Copies, copies, format_copies
from .faces import read_csv
from .folders import cut_face, no_face
from .label_names import as_mapping, label_order
from .near_copies import Looks
from .progress_bar import bar
from .reading import Source
from .samples import Listing, MissingSplitError, Sample
from .split_names import FOLDER_OF, SPLITS

__all__ = ["format_preparation", "is_prepared", "prepare"]

_SETTINGS = "prepare.json"
_LONGEST = 230  # bytes of a name, of the 255 that disks take with a number and .png behind it


class Preparation(TypedDict):
    """What ``prepare`` answers, and ``report.json`` holds: faces per label of each split, their copies, and what was left out and why."""

    splits: dict[str, dict[str, int]]
    copies: Copies
    skipped: list[list[str]]


class _Row(TypedDict):
    """A line of the journal: a prepared face, or why there is none."""

    source: str
    skipped: NotRequired[str]
    path: NotRequired[str]
    label: NotRequired[str]
    box: NotRequired[list[float]]
    landmarks: NotRequired[list[list[float]] | None]
    score: NotRequired[float]


@dataclass(frozen=True)
class _Item:
    """One picture to prepare: where it goes, what it is called, and how it is read."""

    split: str
    label: str
    name: str
    source: str
    sample: Sample | None
    pixels: NDArray[np.uint8] | None

    def read(self) -> NDArray[np.uint8]:
        """Return the picture, RGB. Raises ImageError."""
        if self.pixels is not None:
            return np.repeat(self.pixels[:, :, None], 3, axis=2)
        assert self.sample is not None
        return load_image(self.sample.path)


def prepare(
    data: str | Path,
    out: str | Path,
    *,
    detector: Detector | str | None = None,
    size: int = 48,
    relabel: Mapping[str, str] | str | None = None,
    moved: bool = False,
    progress: bool = False,
) -> Preparation:
    """Write ``out/<train|validation|test>/<label>/*.png``, tables of boxes and landmarks, and a report of copies.

    Killed at any moment and started again with the same arguments, it goes on where it was: a picture is written before
    its row of the table, and both are written whole or not at all.

    Args:
        data: ``fer2013.csv``, a folder per label, with or without split folders (without: all of it is ``train``), or a manifest.
        out: Folder. An earlier preparation in it must have been of the same data, with the same settings.
        detector: Finds the largest face of each picture, which is aligned on its landmarks where the detector gives them,
            cut out (the picture's edge is repeated where the face reaches past it) and resized. None: whole pictures.
        size: Side of the prepared faces, pixels, 16 to 1024.
        relabel: New names for the data's labels; ``""`` leaves a label out.
        moved: The data that ``out`` was begun with lie at ``data`` now: go on with them there.
        progress: Show a bar on standard error.

    Returns:
        ``splits`` (faces per label of each), ``copies`` (see ``ferkit.data.copies_report.copies``), ``skipped``; also in
        ``out/report.json``. Per split there is a table ``<split>.npz`` and, if pyarrow is installed, ``<split>.parquet``:
        ``path``, ``source``, ``label``, ``box`` (xyxy, pixels of the source), ``landmarks`` (5, 2), ``score``; NaN where
        there was none. ``classes.png`` shows the distribution, if matplotlib is installed.

    Raises:
        DataError: As the readers.
        InputError: ``size`` out of range, or ``out`` was prepared with other settings, or from data that lay elsewhere.

    Examples:
        >>> from ferkit.data import prepare
        >>> report = prepare("my_faces", "prepared", size=64)
        >>> splits = report["splits"]
        >>> {label: count for label, count in splits["train"].items() if count}
        {'happy': 12, 'sad': 12}
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 16 <= size <= 1024:
        raise InputError(f"size={size!r}; expected a side from 16 to 1024 pixels.")
    data, out, relabel = expanded(data), expanded(out), as_mapping(relabel)
    writable(out)
    source = Source.of(data, relabel)
    listing = source.listing
    if listing is not None and progress:
        sys.stderr.write("".join(f"{line}\n" for line in listing.lines()))
    items = list(_csv_items(source) if listing is None else _listed_items(listing))
    detector = open_detector("none" if detector is None else detector)
    settings = {"data": data.resolve().name, "detector": name_of(detector), "size": size}
    _check_settings(out, settings | ({"labels": relabel} if relabel else {}), _place(data), moved)
    clear_partials(out)  # of a run that was killed
    crop = ExpressionClassifier().crop
    geometry = replace(crop, mode="aligned") if crop.template else crop

    rows: dict[str, list[_Row]] = {}
    skipped: list[tuple[str, str]] = [] if listing is None else list(listing.skipped)
    for split in dict.fromkeys(item.split for item in items):
        own = [item for item in items if item.split == split]
        journal = out / f"{split}.jsonl"
        done = _read_journal(journal, out)
        with journal.open("a", encoding="utf-8") as file:
            for item in bar([item for item in own if item.source not in done], split, progress):
                row = _prepared(item, out, detector, geometry, size)
                file.write(json.dumps(row) + "\n")
                file.flush()
                done[item.source] = row
        found = [done[item.source] for item in own]
        skipped += [(row["source"], row["skipped"]) for row in found if "skipped" in row]
        rows[split] = [row for row in found if "skipped" not in row]
        _write_tables(out / split, rows[split])

    labels = sorted({item.label for item in items}, key=label_order)
    counts = {split: {label: sum(row["label"] == label for row in own) for label in labels} for split, own in rows.items()}
    faces = {split: Looks.of(_in_grey(out / row["path"] for row in own)) for split, own in rows.items()}
    found_copies = copies(
        faces, {s: [r["label"] for r in own] for s, own in rows.items()}, {s: [r["path"] for r in own] for s, own in rows.items()}
    )
    report: Preparation = {"splits": counts, "copies": found_copies, "skipped": [list(entry) for entry in skipped]}
    write_json(out / "report.json", report)
    try:
        from ..plots import class_distribution

        write_bytes(out / "classes.png", class_distribution(counts))
    except MissingExtraError as error:
        print(f"No classes.png: {error}", file=sys.stderr)
    return report


def is_prepared(folder: Path) -> bool:
    """Return True for a folder that ``prepare`` wrote: its pictures are ready crops."""
    return (folder / _SETTINGS).is_file()


def format_preparation(report: Preparation) -> str:
    """Return a report of ``prepare`` as text for people."""
    lines = [
        f"{split:<11} {sum(row.values()):>7,} faces: {', '.join(f'{k} {v:,}' for k, v in row.items())}"
        for split, row in report["splits"].items()
    ]
    return "\n".join([*lines, *format_copies(report["copies"])])


def _csv_items(source: Source) -> Iterator[_Item]:
    present = 0
    for split in SPLITS if source.has_splits else SPLITS[:1]:
        try:
            faces = read_csv(source.path, split, source.relabel)
        except MissingSplitError:
            continue
        present += 1
        for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
            name = f"{number:05d}"
            yield _Item(FOLDER_OF[split], faces.label_set[label], name, f"{split} {name}", None, image)
    if not present:
        raise DataError(f"{source.path} has no rows of split {', '.join(SPLITS)}; expected them in the column Usage.")


def _listed_items(listing: Listing) -> Iterator[_Item]:
    for sample in listing.samples:
        if sample.label in (".", "..") or not {"/", "\\", "\0"}.isdisjoint(sample.label):
            raise DataError(
                f"{listing.source} has the label {sample.label!r}, and no folder can be called so; give it another name: relabel='{sample.label}=NAME'",
                arguments=["relabel"],
            )
    places = Counter(sample.place for sample in listing.samples)
    named = Counter((sample.split, sample.label, _flat_name(sample)) for sample in listing.samples)
    for number, sample in enumerate(listing.samples):
        name, source = _flat_name(sample), sample.place
        # Several faces of one picture; or one name in two folders of a label, of a/b.png and a_b.png, of a.b.png and a_b.png.
        if places[sample.place] > 1 or named[sample.split, sample.label, name] > 1:
            name, source = f"{name}_{number}", f"{source} {number}"
        yield _Item(FOLDER_OF[sample.split or "Training"], sample.label, name, source, sample, None)


def _flat_name(sample: Sample) -> str:
    """Return a picture's path below its label as one name, without dots: a.jpg and a.png are two."""
    parts = [part for part in Path(sample.below or sample.place).parts if part not in ("/", "..")]
    name = "_".join(parts).replace(".", "_")
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= _LONGEST:
        return name
    return f"{data[: _LONGEST - 17].decode('utf-8', 'ignore')}_{hashlib.sha256(data).hexdigest()[:16]}"


def _place(data: Path) -> str:
    """Return what tells where data lie without naming anybody's folders: data sets of one name are often several."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]


def _check_settings(out: Path, settings: Mapping[str, object], place: str, moved: bool) -> None:
    """Write down what a folder is prepared with, or hold it against what is written there; earlier versions wrote no place."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / _SETTINGS
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else dict(settings)
    before = known.pop("place", None)
    if known != settings:
        changed = ", ".join(f"{key} {known.get(key)!r}" for key in settings if settings[key] != known.get(key))
        raise InputError(f"{out} was prepared with {changed}; use the same, or another out.", arguments=["out"])
    if before not in (None, place) and not moved:
        raise InputError(
            f"{out} was prepared from data called {settings['data']} that lie elsewhere; choose another out, or say moved=True if these are "
            "the same, and were moved.",
            arguments=["out", "moved"],
        )
    if before != place:
        write_json(path, {**settings, "place": place})


def _read_journal(path: Path, out: Path) -> dict[str, _Row]:
    """Return the rows whose picture is there; a last line that a kill cut short is dropped from the file."""
    if not path.exists():
        return {}
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    write_bytes(path, b"".join(whole))
    rows = [json.loads(line) for line in whole]
    return {row["source"]: row for row in rows if "skipped" in row or (out / row["path"]).is_file()}


def _prepared(item: _Item, out: Path, detector: Detector, geometry: CropGeometry, size: int) -> _Row:
    from PIL import Image

    try:
        pixels = item.read()
    except ImageError as error:
        return {"source": item.source, "skipped": str(error)}
    found = cut_face(pixels, None if item.sample is None else item.sample.box, detector, geometry)
    if found is None:
        return {"source": item.source, "skipped": no_face(item.source, detector)}
    face, crop = found[0], resized(found[1], size)
    grey = bool((crop[..., 0] == crop[..., 1]).all() and (crop[..., 1] == crop[..., 2]).all())
    buffer = io.BytesIO()
    Image.fromarray(crop[..., 0] if grey else crop).save(buffer, format="PNG")
    path = out / item.split / item.label / f"{item.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue(), sync=False)  # one of very many, and made again if it is lost
    return {
        "source": item.source,
        "path": path.relative_to(out).as_posix(),
        "label": item.label,
        "box": [round(v, 2) for v in face.box],
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face.landmarks] if face.landmarks is not None else None,
        "score": round(face.score, 4),
    }


def _write_tables(stem: Path, rows: list[_Row]) -> None:
    landmarks = np.array([row["landmarks"] or [[np.nan] * 2] * 5 for row in rows], np.float32).reshape(-1, 5, 2)
    columns: dict[str, NDArray[Any]] = {
        "path": np.array([row["path"] for row in rows], str),
        "source": np.array([row["source"] for row in rows], str),
        "label": np.array([row["label"] for row in rows], str),
    }
    columns |= {"box": np.array([row["box"] for row in rows], np.float32).reshape(-1, 4), "landmarks": landmarks}
    columns["score"] = np.array([row["score"] for row in rows], np.float32)
    write_arrays(stem.with_suffix(".npz"), columns)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return
    flat: dict[str, list[Any]] = {
        key: value.tolist() if value.ndim == 1 else [row.ravel().tolist() for row in value] for key, value in columns.items()
    }
    for key in ("path", "source", "label"):
        flat[key] = [encodable(name) for name in flat[key]]
    of_many = pa.list_(pa.float64())
    kinds = {"box": of_many, "landmarks": of_many, "score": pa.float64()}  # said, for a split without a face
    schema = pa.schema([(key, kinds.get(key, pa.string())) for key in flat])
    buffer = io.BytesIO()
    pq.write_table(pa.table(flat, schema), buffer)
    write_bytes(stem.with_suffix(".parquet"), buffer.getvalue())


def _in_grey(paths: Iterable[Path]) -> Iterator[NDArray[np.uint8]]:
    from PIL import Image

    for path in paths:
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("L"))
