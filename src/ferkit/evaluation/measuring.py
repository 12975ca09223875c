"""Measuring a classifier on labelled faces, as users run it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..classifiers.ensemble import Ensemble, as_classifier, open_classifier
from ..classifiers.expression_classifier import ExpressionClassifier
from ..data.faces import Faces
from ..data.label_names import columns_of
from ..data.learnt import learnt_before
from ..data.reading import read_labelled
from ..detectors.face_detector import open_detector
from ..errors import DataError, InputError
from ..image_files import expanded
from ..labels import CLASSES, FER6, FER7, FERPLUS8, PHOTOS
from ..logits import finite
from ..protocols import Classifier, Detector, tta_of
from ..weights.records import MetricRow
from ..weights.specs import load_classifier_spec
from .figures import rounded, score, told, wilson
from .outputs import format_outputs, of_outputs, score_outputs
from .records import Figures, Learnt, Others, Report

__all__ = ["AGREED", "Measurement", "evaluate", "format_report", "learnt_warning", "measure", "metric_row", "metric_rows", "view_logits"]

AGREED = "fer2013, where FER+'s majority is the same"


@dataclass(frozen=True)
class Measurement:
    """A report, and what it was made from.

    Attributes:
        report: As ``evaluate`` returns it.
        images: uint8, the faces that were measured.
        probabilities: float32 ``(n, k)``.
        truth: int64 ``(n,)``.
        files: Where each face comes from, or none.
    """

    report: Report
    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    truth: NDArray[np.int64]
    files: tuple[str, ...] = ()


def evaluate(
    classifier: Classifier | str | os.PathLike[str],
    data: str | Path | Faces,
    *,
    split: str = "PublicTest",
    ferplus: str | Path | None = None,
    limit: int | None = None,
    logits: NDArray[np.float32] | None = None,
    detector: Detector | str | None = None,
    relabel: Mapping[str, str] | str | None = None,
) -> Report:
    """Measure a classifier on one split.

    Args:
        classifier: Anything that ``ferkit.protocols.Classifier`` describes, or weights by name, as ExpressionClassifier takes them.
        data: ``fer2013.csv``, a folder with one folder per label, a manifest, or Faces.
        split: ``Training``, ``PublicTest`` or ``PrivateTest``.
        ferplus: FER+ votes; the truth is then their majority label, "unknown" and "not a face" removed.
        limit: Only the first faces.
        logits: The classifier's raw outputs on all these faces, if they are already known.
        detector: Finds the faces of a folder's photos, the largest of each; a FaceDetector or its name. ``"none"`` for ready crops. None: the pictures tell, whole photos or crops.
        relabel: New names for the data's labels, ``{"1": "surprise"}``; ``""`` leaves a label out.

    Returns:
        ``accuracy``, ``n``, ``ci95`` (Wilson), ``macro_f1``, ``mean_recall``, ``ece``, ``per_label``, ``confusion`` (rows truth, columns
        prediction), ``reliability``, ``coverage_risk``, ``aurc``, ``weights``, ``split``, ``labels``, ``truth``, ``tta``, ``skipped``, ``data`` (what was ignored and
        mapped), ``learnt`` (None, or how many of the faces the weights learnt from, and the accuracy on the others). Of several labels at
        once, and of values, the figures of ``ferkit.evaluation.outputs.score_outputs`` and the ``kind``, instead of those on classes.

    Raises:
        DataError: The data cannot be read, or has a label that the classifier does not answer.
        WeightsError: It answers with numbers that are not finite, or its list of what it learnt from is damaged.

    Examples:
        >>> from ferkit.evaluation import evaluate
        >>> report = evaluate("fer2013-n-v6", "my_faces", split="Training")
        >>> report["n"], 0 <= report["accuracy"] <= 1
        (24, True)
    """
    found = open_detector(detector) if detector is not None else None
    opened = as_classifier(classifier)
    return measure(opened, data, split=split, ferplus=ferplus, limit=limit, logits=logits, detector=found, relabel=relabel).report


def measure(
    classifier: Classifier,
    data: str | Path | Faces,
    *,
    split: str = "PublicTest",
    ferplus: str | Path | None = None,
    limit: int | None = None,
    logits: NDArray[np.float32] | None = None,
    detector: Detector | None = None,
    progress: bool = False,
    agreed: bool = False,
    relabel: Mapping[str, str] | str | None = None,
) -> Measurement:
    """As ``evaluate``, but returns what the report was made from as well.

    ``progress`` says what is read, and shows a bar while pictures are. With ``agreed`` only the faces count whose own label is FER+'s majority too.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise InputError(f"limit={limit!r}; expected a number of faces, at least 1.", arguments=["limit"])
    several = classifier.labels.kind != CLASSES
    faces = (
        data
        if isinstance(data, Faces)
        else read_labelled(
            data,
            split,
            classifier,
            ferplus=ferplus,
            labels=classifier.labels if several else None,
            relabel=relabel,
            detector=detector,
            told=progress,
        )
    )
    if several or faces.label_set.kind != CLASSES:
        return _several(classifier, faces, split, limit, logits)
    if classifier.labels.name == FER6.name and faces.label_set == FER7 and faces.votes is None:
        faces = faces.restricted(FER6)  # the six-class systems leave disgust out of the measurement too
    classes = list(classifier.labels)
    keep = np.ones(len(faces), bool)
    if agreed:
        keep = faces.agreeing()
        names, truth_name = [faces.label_set[i] for i in faces.labels[keep]], AGREED
    elif faces.votes is not None:
        keep, winner = faces.majority()
        names, truth_name = [FERPLUS8[i] for i in winner[keep]], "FER+ majority, unknown and not-face removed"
    else:
        names, truth_name = [faces.label_set[i] for i in faces.labels], faces.label_set.name
    present = sorted(set(names))
    columns = {name: columns_of([name], classes) for name in present}
    unknown = [name for name, found in columns.items() if found is None]
    if unknown:
        raise DataError(
            f"The data has labels that {classifier.name} ({', '.join(classes)}) does not answer: {', '.join(unknown)}. "
            "Choose a label set that has them: labels=NAME.",
            arguments=["labels"],
        )
    truth = np.array([(columns[name] or [0])[0] for name in names], np.int64)[:limit]
    kept = faces.subset(np.flatnonzero(keep)[:limit])
    images, before = kept.images, learnt_before(classifier, kept.images)  # first: a damaged list is to cost no measurement
    if logits is not None and isinstance(classifier, ExpressionClassifier | Ensemble):
        probabilities = classifier.probabilities(logits[:, keep][:, :limit])
    else:
        probabilities = finite(classifier.predict_proba(images), classifier.name)
    source = "" if isinstance(data, Faces) else expanded(data).resolve().name
    report: Report = {
        **score(probabilities, truth, classes),
        "weights": classifier.name,
        "split": split,
        "labels": classifier.labels.name,
        "truth": truth_name,
        "tta": tta_of(classifier),
        "skipped": [list(entry) for entry in faces.skipped],
        "data": list(faces.notes),
        "learnt": _learnt(classifier, before, probabilities.argmax(axis=1) == truth, source, split),
    }
    return Measurement(report, images, probabilities, truth, kept.files)


def _several(classifier: Classifier, faces: Faces, split: str, limit: int | None, logits: NDArray[np.float32] | None) -> Measurement:
    """Measure a classifier that answers several labels at once, or values, on faces of the same."""
    if faces.label_set.kind != classifier.labels.kind or set(faces.label_set) < set(classifier.labels) or faces.soft is None:
        raise DataError(
            f"{classifier.name} answers {', '.join(classifier.labels)}, of kind {classifier.labels.kind!r}; the data has "
            f"{', '.join(faces.label_set)}, of kind {faces.label_set.kind!r}."
        )
    kept = faces.subset(np.arange(len(faces))[:limit])
    before = int(learnt_before(classifier, kept.images).sum())
    if logits is not None and isinstance(classifier, ExpressionClassifier):
        answers = classifier.probabilities(logits[:, :limit])
    else:
        answers = finite(classifier.predict_proba(kept.images), classifier.name)
    truth = faces.soft[:limit, faces.label_set.columns(classifier.labels)]
    report: dict[str, Any] = {
        "kind": classifier.labels.kind,
        **score_outputs(answers, truth, classifier.labels),
        "weights": classifier.name,
        "split": split,
        "labels": classifier.labels.name,
        "tta": tta_of(classifier),
        "skipped": [list(entry) for entry in faces.skipped],
        "data": list(faces.notes),
        "learnt": None,
    }
    if before:
        report["learnt"] = {"n": before, "others": {"n": len(kept) - before}}
    return Measurement(cast("Report", report), kept.images, answers, kept.labels, kept.files)


def _learnt(classifier: Classifier, before: NDArray[np.bool_], right: NDArray[np.bool_], source: str, split: str) -> Learnt | None:
    """Return how many of the faces the weights learnt from, and what they answer on the others; None if it is none, as far as is known."""
    specs = [getattr(member, "spec", None) for member in getattr(classifier, "members", ())]
    if (
        not before.any()
        and split == "Training"
        and source
        and source in [spec.training.get("source") for spec in specs if spec is not None]
    ):
        before = np.ones(len(right), bool)
    if not before.any():
        return None
    right = right[~before]
    others: Others = {"n": len(right)}
    if len(right):
        others |= {"accuracy": float(right.mean()), "ci95": list(wilson(int(right.sum()), len(right)))}
    return {"n": int(before.sum()), "others": others}


def learnt_warning(report: Report) -> str | None:
    """Return the sentence that says so if some of the measured faces were learnt from; None if not."""
    learnt = report.get("learnt")
    if not learnt:
        return None
    others = learnt["others"]
    rest = (
        ""
        if "kind" in report
        else (
            f"On the other {others['n']:,}: {told(round(others['accuracy'] * others['n']), others['n'])}."
            if others["n"]
            else "There are no others."
        )
    )
    return f"{report['weights']} learnt from {learnt['n']:,} of these {report['n']:,} faces; how well it does on new ones these figures do not say. {rest}"


_TTA_OF: dict[int, str | int | None] = {1: None, 2: "flip", 10: 10}


def _four(value: Any) -> Any:
    """Return figures with four decimals, whatever they lie in."""
    return {key: _four(entry) for key, entry in value.items()} if isinstance(value, dict) else rounded(value)


def view_logits(folder: Path, faces: Faces, count: int) -> NDArray[np.float32]:
    """Return the raw outputs of written weights for 1, 2 (flip) or 10 views, ``(views, n, columns)``; fewer views come first among more."""
    return open_classifier(folder, tta=_TTA_OF[count]).logits(faces.images)


def metric_rows(
    folder: Path, validation: Faces, views: Sequence[int] = (1, 2, 10), logits: NDArray[np.float32] | None = None
) -> tuple[MetricRow, ...]:
    """Measure what users run: the written weights, each of their label sets, with so many views. Returns a spec's ``metrics``.

    Args:
        folder: A classifier's or an ensemble's.
        validation: PublicTest, the faces whose label the weights answer. Without votes FER+'s labels are not measured.
        views: Numbers of views, of 1, 2 (flip) and 10 (ten-crop).
        logits: From ``view_logits`` for the most of them, where they are known.
    """
    rows = list[MetricRow]()
    if logits is None:
        logits = view_logits(folder, validation, max(views))
    for output in load_classifier_spec(folder).outputs:
        by_votes = output.name == FERPLUS8.name and validation.label_set.name != FERPLUS8.name
        if by_votes and validation.votes is None:
            continue
        faces = validation if by_votes else replace(validation, votes=None)
        if output.label_set.kind != CLASSES:
            measured = (measure(open_classifier(folder, tta=_TTA_OF[n]), validation, logits=logits[:n]).report for n in views)
            keys = ("labels", "kind", "split", "tta", "n", "mean", "per_output")
            rows += [cast("MetricRow", {key: _four(value) for key, value in report.items() if key in keys}) for report in measured]
            continue
        rows += _rows_of(folder, output.name, faces, views, logits, agreed=False)
        if output.name == PHOTOS.name and validation.votes is not None:
            rows += _rows_of(folder, output.name, validation, views, logits, agreed=True)
    return tuple(rows)


def _rows_of(
    folder: Path, labels: str, faces: Faces, views: Sequence[int], logits: NDArray[np.float32], *, agreed: bool
) -> list[MetricRow]:
    rows = list[MetricRow]()
    for count in views:
        classifier = open_classifier(folder, labels=labels, tta=_TTA_OF[count])
        report = measure(classifier, faces, logits=logits[:count], agreed=agreed).report
        row = metric_row(report, labels=report["labels"], truth=report["truth"], split=report["split"], tta=report["tta"])
        if count == 1:
            row["per_label"] = {
                label: {"n": values["n"], "right": values["right"]} for label, values in report["per_label"].items() if values["n"]
            }
            row["recall"] = {label: round(values["recall"], 4) for label, values in report["per_label"].items() if values["n"]}
        rows.append(row)
    return rows


def metric_row(figures: Figures, *, labels: str, truth: str, split: str, tta: str | int) -> MetricRow:
    """Return what a spec keeps of figures, to four decimals."""
    return {
        "labels": labels,
        "truth": truth,
        "split": split,
        "tta": tta,
        "n": figures["n"],
        "accuracy": rounded(figures["accuracy"]),
        "ci95": rounded(figures["ci95"]),
        "macro_f1": rounded(figures["macro_f1"]),
        "mean_recall": rounded(figures["mean_recall"]),
        "ece": rounded(figures["ece"]),
    }


def format_report(report: Report) -> str:
    """Return a report as text for people."""
    warning = learnt_warning(report)
    if (several := of_outputs(report)) is not None:
        head = f"{report['weights']} on {report['split']}, {several['kind']} {report['labels']}, tta {report['tta']}"
        return "\n".join([head, *([] if warning is None else [f"WARNING    {warning}"]), "", *format_outputs(several)])
    lines = [
        f"{report['weights']} on {report['split']} ({report['truth']}), labels {report['labels']}, tta {report['tta']}",
        f"accuracy   {told(round(report['accuracy'] * report['n']), report['n'])}",
        f"macro-F1   {report['macro_f1']:.4f}   mean recall {report['mean_recall']:.4f}   ECE {report['ece']:.4f}   AURC {report['aurc']:.4f}",
        *([] if warning is None else [f"WARNING    {warning}"]),
        "",
        f"{'label':<10} {'n':>6} {'precision':>10} {'F1':>8}   recall",
    ]
    for name, row in report["per_label"].items():
        lines.append(f"{name:<10} {row['n']:>6} {row['precision']:>10.3f} {row['f1']:>8.3f}   {told(row['right'], row['n'])}")
    if report["skipped"]:
        lines += ["", f"{len(report['skipped'])} file(s) could not be used and are not counted."]
    return "\n".join(lines)
