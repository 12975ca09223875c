"""Folders of labelled pictures, as people and public data sets lay them out: one per label, below split folders or not, and a few others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..image_files import IMAGE_SUFFIXES, image_files
from .label_names import NUMBERINGS, canonical
from .samples import Listing, Sample, merged_names
from .split_names import split_of, split_within

__all__ = ["list_folder"]

_CLUTTER = ("__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found", "@eadir")
_RAFDB_LISTS = ("list_patition_label.txt", "list_partition_label.txt")  # the first is the data set's own spelling
_KNOWN = {*NUMBERINGS["CK+ (csv)"].values()}
_UNLABELLED = ("images", "image", "imgs", "img", "labels", "annotations", "pictures", "pics", "photos", "jpegimages")


@dataclass(frozen=True)
class _Folder:
    """A folder, how many pictures are in it, and its folders."""

    path: Path
    pictures: int
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.path.name


def list_folder(root: Path, relabel: Mapping[str, str] | None = None) -> Listing:
    """List the labelled pictures below a folder.

    Read are ``root/<label>/*``, the same below split folders of any usual name, either below one more folder, and the layouts of
    RAF-DB (``EmoLabel/list_patition_label.txt`` beside ``Image``) and AffectNet (``images`` beside ``annotations/*_exp.npy``).

    Args:
        root: Folder.
        relabel: New names for labels, by their folders' names; ``""`` leaves a label out.

    Raises:
        DataError: Not a folder, no label folders, or a layout that could mean two things; the message says what to type or to move.
        InputError: ``relabel`` names a label that is not there.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one folder per label in it.")
    for special in (_rafdb, _affectnet):
        listing = special(root, relabel)
        if listing is not None:
            return listing
    top, notes = _descended(root)
    splits, ignored = _split_folders(top, relabel)
    notes += ignored
    parts: list[tuple[str | None, Path, Path]]
    if splits:
        parts = [(split, folder.path, label) for split, folder in splits for label in folder.folders]
        notes += [f"{folder.name} is read as the split {split}." for split, folder in splits if folder.name != split]
        notes += [f"{f.pictures:,} pictures of {f.name} lie beside its label folders and are not read." for _, f in splits if f.pictures]
    else:
        here = _look(top)
        parts = [(None, top, label) for label in here.folders]
        if here.pictures:
            notes.append(f"{here.pictures:,} pictures lie beside the label folders and are not read.")
    if not parts:
        raise DataError(f"{top} has no folders in it; expected one folder per label, for example {top / 'happy'}.")
    _refuse_what_is_no_label([label for _, _, label in parts], relabel or {})
    present = {label.name for _, _, label in parts}
    if relabel:  # folders beside the splits that are left out are not labels
        relabel = {old: new for old, new in relabel.items() if new or old in present or not (top / old).is_dir()}
    _refuse_labels_below_persons(top, [label for _, _, label in parts])
    return _listed(root, parts, relabel, tuple(notes))


def _listed(root: Path, parts: list[tuple[str | None, Path, Path]], relabel: Mapping[str, str] | None, notes: tuple[str, ...]) -> Listing:
    found: dict[str | None, set[str]] = {}
    pictures = {label: image_files(label) for _, _, label in parts}
    for split, _, label in parts:
        found.setdefault(split, set()).add(label.name)
    named, told = merged_names(found, relabel, str(root))
    samples, skipped = [], []
    for split, _, label in sorted(parts, key=lambda part: (part[0] or "", named[part[2].name], part[2])):
        name = named[label.name]
        if name and not pictures[label]:
            skipped.append((name, f"{label}: no images in this folder; the label is left out."))
        for file in pictures[label] if name else ():
            place, below = (file.relative_to(folder).as_posix() for folder in (root, label))
            samples.append(Sample(file, name, split, place=place, below=below))
    labels = tuple(sorted({name for name in named.values() if name}))
    return Listing(root, tuple(samples), labels, (*notes, *told), tuple(skipped))


def _look(folder: Path) -> _Folder:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror or error}); expected one folder per label, of which all may be read."
        ) from None
    folders = [c for c in children if c.is_dir() and not c.name.startswith(".") and c.name.lower() not in _CLUTTER]
    pictures = sum(1 for c in children if c.suffix.lower() in IMAGE_SUFFIXES and c.is_file())
    return _Folder(folder, pictures, tuple(folders))


def _holds(folder: Path, name: str) -> bool:
    return os.path.isdir(folder / name)  # noqa: PTH112 - pathlib's raises in a folder that may not be entered, of which _look tells


def _descended(root: Path) -> tuple[Path, list[str]]:
    """Return the folder that holds the label or split folders: data sets come packed in one more folder or two."""
    top, notes = root, list[str]()
    for _ in range(3):
        here = _look(top)
        if here.pictures or len(here.folders) != 1 or split_of(here.folders[0].name) is not None:
            break
        inside = _look(here.folders[0])
        if inside.pictures or not inside.folders:
            break
        top = here.folders[0]
        notes.append(f"read from {top.relative_to(root)}, the only folder in it.")
    clutter = [child.name for child in sorted(root.iterdir()) if child.is_dir() and child.name.lower() in _CLUTTER]
    return top, notes + ([f"ignored: {', '.join(clutter)}."] if clutter else [])


def _split_folders(top: Path, relabel: Mapping[str, str] | None) -> tuple[list[tuple[str, _Folder]], list[str]]:
    """Return the folders in ``top`` that are splits, with the splits' names, and notes on what lies beside them.

    Raises DataError where a folder is called as a split is but holds pictures itself, and where labels lie beside splits.
    """
    relabel = {} if relabel is None else relabel
    folders = [_look(folder) for folder in _look(top).folders]
    named = [folder for folder in folders if folder.name not in relabel]
    called = [(split, folder) for folder in named if (split := split_of(folder.name)) is not None]
    guessed = [(split, folder) for folder in named if (split := split_within(folder.name)) is not None]
    if len(guessed) == len(folders) and len({split for split, _ in guessed}) > 1:  # FER2013Train beside FER2013Valid
        called = guessed
    flat = [folder.name for _, folder in called if not folder.folders and folder.pictures]
    if flat:
        raise DataError(
            f"{top} has folders that are called as splits are and hold pictures, not label folders: {', '.join(flat)}. If they are labels, say so: "
            f"relabel='{','.join(f'{name}={name}' for name in flat)}'; if they are splits, write a table with the columns path,label,split "
            "and give it as the data.",
            arguments=["relabel"],
        )
    splits = [(split, folder) for split, folder in called if folder.folders]
    if not splits:
        return [], []
    taken = [folder for _, folder in splits]
    beside = [folder for folder in folders if folder not in taken]
    full = [folder.name for folder in beside if image_files(folder.path) and relabel.get(folder.name) != ""]
    if full:
        raise DataError(
            f"{top} has folders with pictures beside the split folders {', '.join(folder.name for folder in taken)}: {', '.join(full)}. "
            f"Move them into the splits, or leave them out: relabel='{','.join(f'{name}=' for name in full)}'",
            arguments=["relabel"],
        )
    empty = [folder.name for folder in beside]
    return splits, [f"beside the split folders and ignored: {', '.join(empty)}."] if empty else []


def _refuse_what_is_no_label(labels: list[Path], relabel: Mapping[str, str]) -> None:
    """Refuse folders that are called ``images``, as tools that keep labels in files have them, and splits below labels."""
    unlabelled = next(
        (label for label in labels if label.name.lower() in _UNLABELLED and label.name not in relabel and image_files(label)), None
    )
    if unlabelled is not None:
        raise DataError(
            f"{unlabelled} is called as pictures without labels are. Expected one folder per label; for labels in files write a table with the "
            f"columns path,label,split and give it as the data. If it is a label, or to be left out, say so: "
            f"relabel='{unlabelled.name}={unlabelled.name}', or '{unlabelled.name}='.",
            arguments=["relabel"],
        )
    for label in map(_look, labels):
        splits = {split_of(child.name) for child in label.folders}
        if not label.pictures and len(splits) > 1 and None not in splits:
            raise DataError(
                f"{label.path} has the splits below the label. Put them outside, such as train/{label.name}, or write a table with the columns "
                "path,label,split and give it as the data."
            )


def _refuse_labels_below_persons(top: Path, labels: list[Path]) -> None:
    if any(canonical(label.name) in _KNOWN for label in labels):
        return
    below = [child.name for label in labels for child in _look(label).folders]
    if below and sum(canonical(name) in _KNOWN for name in below) > len(below) / 2:
        first = labels[0].name
        raise DataError(
            f"{top} has folders of labels below folders of something else, such as {first}/{below[0]}: persons? Put the labels outside "
            f"({below[0]}/{first}, with group='folder'), or write a table with the columns path,label,person and give it as the data.",
            arguments=["group"],
        )


def _rafdb(root: Path, relabel: Mapping[str, str] | None) -> Listing | None:
    """Read RAF-DB's own layout (Li et al., CVPR 2017): a list of ``train_00001.jpg 5`` and the pictures elsewhere."""
    named = [folder / name for folder in (root, root / "EmoLabel") for name in _RAFDB_LISTS]
    lists = [file for file in named if file.is_file()]
    if not lists:
        return None
    pictures = {re.sub(r"_aligned$", "", file.stem): file for file in reversed(_rafdb_pictures(root))}
    numbers = _numbers("RAF-DB", relabel)
    samples, skipped = [], list[tuple[str, str]]()
    for line, text in enumerate(lists[0].read_text(encoding="utf-8-sig").splitlines(), 1):
        words = text.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in numbers or split_of(words[0].split("_")[0]) is None:
            raise DataError(f"{lists[0]}, line {line}: {text!r}; expected such as 'train_00001.jpg 5', the label from 1 to 7.")
        file, label = pictures.get(Path(words[0]).stem), numbers[words[1]]
        if not label:
            continue
        if file is None:
            skipped.append((words[0], f"{lists[0]}, line {line}: {words[0]} is not below {root}."))
            continue
        split = split_of(words[0].split("_")[0])
        samples.append(Sample(file, label, split, place=file.relative_to(root).as_posix()))
    if not samples:
        raise DataError(f"{lists[0]} lists {len(skipped)} pictures, and none of them is below {root}; expected the folder Image beside it.")
    return _numbered(root, numbers, samples, skipped, f"RAF-DB by {lists[0].name}")


def _rafdb_pictures(root: Path) -> list[Path]:
    """Return RAF-DB's pictures: the aligned ones if there are any, else whatever lies below."""
    for name in ("Image/aligned", "aligned", "Image/original", "original", "Image"):
        if (root / name).is_dir() and (found := image_files(root / name)):
            return found
    return image_files(root)


def _affectnet(root: Path, relabel: Mapping[str, str] | None) -> Listing | None:
    """Read AffectNet's own layout (Mollahosseini et al., 2017): ``images/1.jpg`` beside ``annotations/1_exp.npy``, below splits or not."""
    folders = [(split_of(folder.name), folder) for folder in (root, *_look(root).folders) if _holds(folder, "annotations")]
    if not folders or not any(next((folder / "annotations").glob("*_exp.npy"), None) for _, folder in folders):
        return None
    numbers = _numbers("AffectNet", relabel)
    samples, skipped = [], []
    for split, folder in folders:
        for file in image_files(folder / "images"):
            try:
                number = str(np.load(folder / "annotations" / f"{file.stem}_exp.npy", allow_pickle=False).item()).strip().removesuffix(".0")
            except (OSError, ValueError, EOFError) as error:  # EOFError: an empty file
                skipped.append((str(file), f"{file}: no label in annotations/{file.stem}_exp.npy ({error})."))
                continue
            if label := numbers.get(number, ""):
                samples.append(Sample(file, label, split, place=file.relative_to(root).as_posix()))
            elif number not in numbers:
                skipped.append((str(file), f"{file}: label {number}; expected 0 to 7."))
    return _numbered(root, numbers, samples, skipped, "AffectNet")


def _numbers(data: str, relabel: Mapping[str, str] | None) -> dict[str, str]:
    """Return what the numbers of a data set mean, changed as asked."""
    return NUMBERINGS[data] | dict(relabel or {})


def _numbered(root: Path, numbers: Mapping[str, str], samples: Sequence[Sample], skipped: Sequence[tuple[str, str]], how: str) -> Listing:
    """Return the listing of samples whose labels were numbers; its note says how they were read."""
    told = ", ".join(f"{number} {label or 'left out'}" for number, label in sorted(numbers.items()))
    return Listing(root, tuple(samples), tuple(sorted({s.label for s in samples})), (f"read as {how}: {told}.",), tuple(skipped))
