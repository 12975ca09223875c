"""Ensembles: several classifiers that answer as one, and say how much they disagree."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._geometry import CropGeometry
from .classify import Crops, ExpressionClassifier
from .errors import InputError, WeightsError
from .labels import LabelSet
from .results import Expression
from .weights import SPEC_FILE, TABLE, EnsembleOutput, EnsembleSpec, file_entry, load_classifier_spec, member_folder, resolve, sha256_of

__all__ = ["COMBINE", "Ensemble", "open_classifier"]

COMBINE = ("probability", "logit")
PathLike = str | os.PathLike[str]
_CUSTOM = "custom"  # the name of an output that is a part of the members' default one


class Ensemble:
    """Several classifiers as one: it can stand wherever an ExpressionClassifier can.

    Args:
        members: At least one, with the same classes, the same crop and the same number of views.
        weights: What each counts, 0 or more; scaled to sum to 1. None: all the same.
        combine: ``"probability"`` averages the members' probabilities, ``"logit"`` their calibrated logits.
        temperature: Divides the combined logarithms before the last softmax; above 1 makes the answers less sure.
        name: Of the ensemble; by default its members' names joined.
        min_confidence: Abstain below this probability, 0-1.

    Raises:
        InputError: No members, members that do not fit together, or an argument out of range.
    """

    def __init__(
        self,
        members: Sequence[ExpressionClassifier],
        *,
        weights: Sequence[float] | None = None,
        combine: str = "probability",
        temperature: float = 1.0,
        name: str | None = None,
        min_confidence: float | None = None,
    ) -> None:
        self.members = tuple(members)
        if not self.members:
            raise InputError("An ensemble of nothing; expected at least one classifier.")
        given = np.asarray(weights if weights is not None else np.ones(len(self.members)), np.float64)
        if given.shape != (len(self.members),) or not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
            raise InputError(
                f"Ensemble weights {given.tolist()}; expected {len(self.members)} numbers, one a member, 0 or more, not all 0."
            )
        if combine not in COMBINE:
            raise InputError(f"combine={combine!r}; expected one of {', '.join(COMBINE)}.")
        if not temperature > 0:
            raise InputError(f"Ensemble temperature {temperature}; expected a positive number.")
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence={min_confidence}; expected a probability from 0 to 1.")
        first = self.members[0]
        for member in self.members[1:]:
            if set(member.labels) != set(first.labels):
                raise InputError(
                    f"{member.name} answers {', '.join(member.labels)}; {first.name} {', '.join(first.labels)}: no ensemble of both."
                )
            if member.crop != first.crop:
                raise InputError(f"{member.name} and {first.name} want their faces cropped differently: no ensemble of both.")
            if member.tta != first.tta:
                raise InputError(f"{member.name} has tta={member.tta!r}, {first.name} {first.tta!r}; expected the same.")
        self.weights, self.combine, self.temperature = given / given.sum(), combine, float(temperature)
        self._name = name or "+".join(member.name for member in self.members)
        self._min_confidence = min_confidence
        self._order = [member.labels.columns(first.labels) for member in self.members]
        self._columns = np.cumsum([0, *(member.spec.columns for member in self.members)])

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
    ) -> Ensemble:
        """Open an ensemble.

        Args:
            names: A list of weights, each as :class:`ExpressionClassifier` takes them; or one ensemble: a release's name,
                ``hf://org/repo@revision``, or a folder that :meth:`save` wrote. It has weights, combine and temperature of its own.
            weights, combine: As above; only for a list of names.
            labels, runtime, tta, min_confidence: As ExpressionClassifier takes them, for every member.

        Raises:
            InputError, WeightsError, MissingExtraError: As ExpressionClassifier; WeightsError also for an ensemble whose
                members are missing or not those that it was saved with.
        """
        options: dict[str, Any] = {"labels": labels, "runtime": runtime, "tta": tta}
        if not isinstance(names, (str, os.PathLike)):
            members = [ExpressionClassifier(name, **options) for name in names]
            return cls(members, weights=weights, combine=combine, min_confidence=min_confidence)
        if weights is not None or combine != "probability":
            raise InputError("A saved ensemble has weights and combine of its own; for others give a list of names.")
        folder = resolve(names)
        spec = EnsembleSpec.load(folder)
        output = spec.output(labels if isinstance(labels, str) else spec.default_output)
        if labels is None or isinstance(labels, str):
            options["labels"] = output.labels if output.name == _CUSTOM else output.name
        try:
            members = [ExpressionClassifier(member_folder(folder, entry), **options) for entry in spec.members]
        except (KeyError, TypeError) as error:
            raise WeightsError(f"{folder / SPEC_FILE} is no whole ensemble: it lacks {error}.") from error
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
        out = Path(folder)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} already exists; expected the name of a new folder for the ensemble.")
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
                architecture={key: sum(s.architecture.get(key, 0) for s in specs) for key in ("parameters", "macs")},
            )
            partial = out / f"{SPEC_FILE}.partial"
            partial.write_text(json.dumps(spec.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(partial, out / SPEC_FILE)
        except OSError as error:
            raise WeightsError(f"{out} cannot be written ({error.strerror or error}).") from error
        return out

    def _write_members(self, out: Path) -> tuple[list[dict[str, str]], dict[str, dict[str, Any]]]:
        """Copy the members that are no releases; return the spec's entries of all, and of the copied files."""
        entries: list[dict[str, str]] = []
        files: dict[str, dict[str, Any]] = {}
        for number, member in enumerate(self.members):
            entry = {"name": member.name, "sha256": sha256_of((member.folder / SPEC_FILE).read_bytes())}
            if _is_release(entry):
                entry["weights"] = member.name
            else:
                entry["path"] = f"members/{number:02d}-{member.name}"
                (out / entry["path"]).mkdir(parents=True)
                for filename in (SPEC_FILE, "model.onnx"):
                    data = (member.folder / filename).read_bytes()
                    (out / entry["path"] / filename).write_bytes(data)
                    files[f"{entry['path']}/{filename}"] = file_entry(data)
            entries.append(entry)
        return entries, files

    def _output(self) -> EnsembleOutput:
        weights = tuple(round(float(w), 6) for w in self.weights)
        return EnsembleOutput(self.labels.name if self._named() else _CUSTOM, self.labels.classes, weights, self.temperature)

    def _named(self) -> bool:
        """Return True if the label set is an output of every member, and not a part of one."""
        return all(any(output.label_set == self.labels for output in member.spec.outputs) for member in self.members)

    @property
    def labels(self) -> LabelSet:
        """The classes, in the order of the probabilities' columns: the first member's."""
        return self.members[0].labels

    @property
    def name(self) -> str:
        """The ensemble's name."""
        return self._name

    @property
    def crop(self) -> CropGeometry:
        """How the members want a detected face to be cropped."""
        return self.members[0].crop

    @property
    def tta(self) -> str | int:
        """The members' test-time augmentation."""
        return self.members[0].tta

    def predict(self, crops: Crops) -> list[Expression]:
        """Classify face crops: one Expression each, with the members' ``disagreement``. Arguments as in predict_proba."""
        logits = self.logits(crops)
        rows, apart = self.probabilities(logits), self.disagreement(logits)
        return [replace(self.expression(row), disagreement=float(d)) for row, d in zip(rows, apart, strict=True)]

    def predict_proba(self, crops: Crops) -> NDArray[np.float32]:
        """Return calibrated class probabilities, float32 ``(n, k)``. Arguments and errors as ExpressionClassifier's."""
        return self.probabilities(self.logits(crops))

    def prepare(self, crops: Crops) -> NDArray[np.uint8]:
        """Return crops as the grey squares of the member that wants the largest, uint8 ``(n, size, size)``."""
        return max(self.members, key=lambda member: int(member.spec.input["size"])).prepare(crops)

    def expression(self, row: NDArray[np.float32]) -> Expression:
        """Return one row of probabilities ``(k,)`` as an Expression, abstaining below ``min_confidence``."""
        return self.members[0].expression(row, self._min_confidence)

    def logits(self, crops: Crops) -> NDArray[np.float32]:
        """Return all members' raw outputs side by side, float32 ``(views, n, columns of all)``."""
        return np.concatenate([member.logits(crops) for member in self.members], axis=2)

    def member_probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn raw outputs as of :meth:`logits` into each member's own probabilities, float64 ``(members, n, k)``."""
        parts = [logits[:, :, a:b] for a, b in zip(self._columns[:-1], self._columns[1:], strict=True)]
        return np.stack(
            [m.probabilities(part)[:, order].astype(np.float64) for m, part, order in zip(self.members, parts, self._order, strict=True)]
        )

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn raw outputs as of :meth:`logits` into probabilities, float32 ``(n, k)``."""
        return combined(self.member_probabilities(logits), self.weights, self.combine, self.temperature)

    def disagreement(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far the members are apart on each face, float32 ``(n,)``, in nats: 0 where all say the same.

        It is the weighted Jensen-Shannon divergence of their probabilities (Lin, IEEE Transactions on Information Theory,
        1991): the entropy of the mean less the mean of the entropies, which is also the mutual information of the answer
        and the member (Houlsby et al., 2011). At most the logarithm of the number of members.
        """
        p = self.member_probabilities(logits)
        apart = _entropy(np.tensordot(self.weights, p, 1)) - np.tensordot(self.weights, _entropy(p), 1)
        return np.asarray(np.maximum(apart, 0.0), np.float32)


def _is_release(entry: Mapping[str, str]) -> bool:
    """Return True for a release known by name; a changed copy of one is something else."""
    release = TABLE.get(entry["name"])
    if release is None or release.kind != "classifier":
        return False
    return sha256_of((resolve(release.name) / SPEC_FILE).read_bytes()) == entry["sha256"]


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1))


def combined(p: NDArray[np.float64], weights: NDArray[np.float64], combine: str, temperature: float = 1.0) -> NDArray[np.float32]:
    """Combine probabilities ``(members, n, k)`` into float32 ``(n, k)``: their mean, or the softmax of their mean logarithm."""
    log = np.log(np.maximum(p, 1e-30))
    scores = np.log(np.maximum(np.tensordot(weights, p, 1), 1e-30)) if combine == "probability" else np.tensordot(weights, log, 1)
    scores = scores / temperature
    exp = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True), np.float32)


def open_classifier(
    weights: PathLike | None = None,
    *,
    labels: str | LabelSet | Sequence[str] | None = None,
    runtime: str = "opencv",
    tta: str | int | None = None,
    min_confidence: float | None = None,
) -> ExpressionClassifier | Ensemble:
    """Open whatever some weights are: an ensemble or one classifier. Arguments and errors as theirs."""
    options: dict[str, Any] = {"labels": labels, "runtime": runtime, "tta": tta, "min_confidence": min_confidence}
    folder = resolve(weights)
    if isinstance(load_classifier_spec(folder), EnsembleSpec):
        return Ensemble.from_pretrained(folder, **options)
    return ExpressionClassifier(folder, **options)
