"""Ensembles: several classifiers that answer as one, and say how much they disagree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crops import Crops
from ..errors import InputError, WeightsError
from ..faces import Expression, as_expression, checked_confidence
from ..files import new_folder, write_json
from ..image_files import expanded
from ..labels import LabelSet
from ..pickling import ByArguments
from ..protocols import Classifier
from ..weights.hashes import file_entry, sha256_of
from ..weights.records import FileEntry
from ..weights.releases import TABLE
from ..weights.specs import SPEC_FILE, EnsembleOutput, EnsembleSpec, load_classifier_spec
from ..weights.store import resolve
from .committee import COMBINE, Committee, combined
from .expression_classifier import CUSTOM, ExpressionClassifier, open_members

__all__ = ["COMBINE", "Ensemble", "as_classifier", "combined", "open_classifier"]

PathLike = str | os.PathLike[str]


class Ensemble(ByArguments, Committee[ExpressionClassifier]):
    """Several classifiers as one: it can stand wherever an ExpressionClassifier can.

    Args:
        members: At least one, classifiers or weights by name, with the same classes, the same crop and the same number of views;
            one alone, an ensemble's name for example, need not be in a list.
        weights: What each counts, 0 or more; scaled to sum to 1. None: all the same.
        combine: ``"probability"`` averages the members' probabilities, ``"logit"`` their calibrated logits.
        temperature: Divides the combined logarithms before the last softmax; above 1 makes the answers less sure.
        name: Of the ensemble; by default its members' names joined.
        min_confidence: Abstain below this probability, 0-1. None never abstains; what the members were opened with does not count.

    Raises:
        InputError: No members, one twice, members that do not fit together, or an argument out of range.
    """

    def __init__(
        self,
        members: Sequence[ExpressionClassifier | PathLike] | ExpressionClassifier | PathLike,
        *,
        weights: Sequence[float] | None = None,
        combine: str = "probability",
        temperature: float = 1.0,
        name: str | None = None,
        min_confidence: float | None = None,
    ) -> None:
        self._min_confidence = checked_confidence(min_confidence)
        given = [members] if isinstance(members, (str, os.PathLike, ExpressionClassifier, Ensemble)) else members
        opened = [ExpressionClassifier(m) if isinstance(m, (str, os.PathLike)) else m for m in given]
        super().__init__(opened, weights=weights, combine=combine, temperature=temperature)
        _check_different(self.members)
        self._name = name or "+".join(member.name for member in self.members)

    def __repr__(self) -> str:
        members, weights = [member.name for member in self.members], [round(float(w), 4) for w in self.weights]
        floor = "" if self._min_confidence is None else f", min_confidence={self._min_confidence:g}"
        return f"Ensemble({self.name!r}, members={members}, weights={weights}, combine={self.combine!r}, tta={self.tta!r}{floor})"

    @classmethod
    def from_pretrained(
        cls,
        names: PathLike | Sequence[PathLike],
        *,
        weights: Sequence[float] | None = None,
        combine: str = "probability",
        labels: str | LabelSet | Sequence[str] | None = None,
        runtime: str = "opencv",
        tta: str | int | None = None,
        min_confidence: float | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> Ensemble:
        """Open an ensemble.

        Args:
            names: A list of weights, each as ``ExpressionClassifier`` takes them; or one ensemble: a release's name,
                ``hf://org/repo@revision``, or a folder that ``save`` wrote. It has weights, combine and temperature of its own.
            weights, combine: As above; only for a list of names.
            labels, runtime, tta, min_confidence, providers, threads: As ExpressionClassifier takes them, for every member.

        Raises:
            InputError, WeightsError, MissingExtraError: As ExpressionClassifier; WeightsError also for an ensemble whose
                members are missing or not those that it was saved with.
        """
        options: dict[str, Any] = {"labels": labels, "runtime": runtime, "tta": tta, "providers": providers, "threads": threads}
        if not isinstance(names, (str, os.PathLike)):
            members = [ExpressionClassifier(name, **options) for name in names]
            return cls(members, weights=weights, combine=combine, min_confidence=min_confidence)
        if weights is not None or combine != "probability":
            raise InputError("A saved ensemble has weights and combine of its own; for others give a list of names.")
        folder = resolve(names)
        spec = EnsembleSpec.load(folder)
        members, output = open_members(folder, spec, **options)
        return cls(
            members,
            weights=output.weights,
            combine=spec.combine,
            temperature=output.temperature,
            name=spec.name,
            min_confidence=min_confidence,
        )

    def save(self, folder: PathLike, *, name: str | None = None, others: Sequence[Ensemble] = ()) -> Path:
        """Write the ensemble as one folder that every command accepts.

        Members that are releases known by name are named, with their spec's SHA-256; others are copied into ``members/``.

        Args:
            folder: That does not exist yet, or is empty.
            name: Of the ensemble; by default the folder's.
            others: The same members, combined for other label sets. Who opens the ensemble gets this one's, or names another.

        Raises:
            InputError: The folder already holds something, or the others have other members.
            WeightsError: It cannot be written.
        """
        out = new_folder(expanded(folder), "the ensemble")
        for other in others:
            if [m.folder for m in other.members] != [m.folder for m in self.members] or other.combine != self.combine:
                raise InputError(f"{other.name} has other members than {self.name}, or combines them differently; save it by itself.")
        specs = [member.spec for member in self.members]
        licences = {spec.licence for spec in specs}
        try:
            out.mkdir(parents=True, exist_ok=True)
            entries, files = self._write_members(out)
            spec = EnsembleSpec(
                name=name or out.resolve().name,
                members=tuple(entries),
                outputs=tuple(ensemble._output() for ensemble in (self, *others)),
                default_output=self._output().name,
                combine=self.combine,
                files=files,
                licence=licences.pop() if len(licences) == 1 else "not stated",
                architecture={
                    "parameters": sum(spec.architecture.get("parameters", 0) for spec in specs),
                    "macs": sum(spec.architecture.get("macs", 0) for spec in specs),
                },
            )
            write_json(out / SPEC_FILE, spec.to_dict())
        except OSError as error:
            raise WeightsError(f"{out} cannot be written ({error.strerror or error}).") from error
        return out

    def _write_members(self, out: Path) -> tuple[list[dict[str, str]], dict[str, FileEntry]]:
        """Copy the members that are not releases; return the spec's entries of all, and of the copied files."""
        entries: list[dict[str, str]] = []
        files: dict[str, FileEntry] = {}
        for number, member in enumerate(self.members):
            entry = {"name": member.name, "sha256": sha256_of((member.folder / SPEC_FILE).read_bytes())}
            if _is_release(entry):
                entry["weights"] = member.name
            else:
                entry["path"] = f"members/{number:02d}-{member.name}"
                (out / entry["path"]).mkdir(parents=True)
                for filename in (SPEC_FILE, member.spec.network_file):
                    data = (member.folder / filename).read_bytes()
                    (out / entry["path"] / filename).write_bytes(data)
                    files[f"{entry['path']}/{filename}"] = file_entry(data)
            entries.append(entry)
        return entries, files

    def _output(self) -> EnsembleOutput:
        weights = tuple(round(float(w), 6) for w in self.weights)
        return EnsembleOutput(self.labels.name if self._named() else CUSTOM, self.labels.classes, weights, self.temperature)

    def _named(self) -> bool:
        """Return True if the label set is an output of every member, and not a part of one."""
        return all(any(output.label_set == self.labels for output in member.spec.outputs) for member in self.members)

    @property
    def name(self) -> str:
        """The ensemble's name."""
        return self._name

    def predict(self, crops: Crops) -> list[Expression]:
        """Classify face crops: one Expression each, with the members' ``disagreement``. Arguments as in predict_proba."""
        return self._expressions(self.logits(crops))

    def predict_with_features(self, crops: Crops) -> tuple[list[Expression], NDArray[np.float32]]:
        """Return what ``predict`` and ``features`` do, for the price of one of them. Arguments and errors as theirs."""
        logits, features = self.logits_and_features(crops)
        return self._expressions(logits), features

    def _expressions(self, logits: NDArray[np.float32]) -> list[Expression]:
        rows, apart = self.probabilities(logits), self.disagreement(logits)
        return [replace(self.expression(row), disagreement=float(d)) for row, d in zip(rows, apart, strict=True)]

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return calibrated class probabilities, float32 ``(n, k)``. Arguments and errors as ExpressionClassifier's."""
        return self.probabilities(self.logits(crops))

    def expression(self, row: NDArray[np.float32]) -> Expression:
        """Return one row of probabilities ``(k,)`` as an Expression, abstaining below the ensemble's own ``min_confidence``."""
        return as_expression(row, self.labels, self._min_confidence)


def _check_different(members: Sequence[ExpressionClassifier]) -> None:
    """Refuse one network that answers the same twice, under whatever name and inside whatever ensemble. Raises InputError."""
    known: dict[tuple[str, bytes], str] = {}
    for network in (part for member in members for part in member.members):
        same = str(network.spec.files[network.spec.network_file]["sha256"]), network.mix.tobytes()
        if same in known:
            raise InputError(
                f"An ensemble with one network twice, {known[same]} and {network.name}; expected different ones. "
                "To let one count more give weights=[...]."
            )
        known[same] = network.name


def _is_release(entry: Mapping[str, str]) -> bool:
    """Return True for a release known by name; a changed copy of one is something else."""
    release = TABLE.get(entry["name"])
    if release is None or release.kind != "classifier":
        return False
    return sha256_of((resolve(release.name) / SPEC_FILE).read_bytes()) == entry["sha256"]


def open_classifier(weights: PathLike | None = None, **options: Any) -> ExpressionClassifier | Ensemble:
    """Open whatever some weights are: an Ensemble or one classifier. Options and errors as ExpressionClassifier's."""
    folder = resolve(weights)
    if isinstance(load_classifier_spec(folder), EnsembleSpec):
        return Ensemble.from_pretrained(folder, **options)
    return ExpressionClassifier(folder, **options)


def as_classifier(classifier: Classifier | PathLike | None, **options: Any) -> Classifier:
    """Return a classifier as it is, or open weights (a name, an address, a folder or None) as one.

    Options are ExpressionClassifier's, those that are None left out. Raises as it does.
    """
    if classifier is not None and not isinstance(classifier, (str, os.PathLike)):
        lacks = [part for part in ("name", "labels", "crop", "predict_proba") if not hasattr(classifier, part)]
        if lacks:
            several = " For several weights type: Ensemble([...])." if isinstance(classifier, (list, tuple)) else ""
            raise InputError(
                f"{type(classifier).__name__} is not a classifier: it lacks {', '.join(lacks)}; expected one, or weights by name, "
                f"address or folder.{several}"
            )
        return classifier
    return ExpressionClassifier(classifier, **{name: value for name, value in options.items() if value is not None})
