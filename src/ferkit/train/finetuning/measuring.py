"""What fine-tuning won: answers for faces that were not learnt from, beside those of the base."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces
from ...data.label_names import columns_of
from ...evaluation.calibration import fit_temperature
from ...evaluation.comparing import compare
from ...evaluation.figures import score, wilson
from ...labels import FER7
from ...logits import softmax
from ...weights.records import Paired
from .linear_head import Head, Lesson, choose_head
from .records import FileRow, FoldFigures, Measured
from .splitting import deal

__all__ = ["Answers", "Base", "by_folds", "measured", "on_publictest"]


@dataclass(frozen=True)
class Base:
    """The weights that fine-tuning starts from, in each of their label sets.

    Args:
        weights: As ExpressionClassifier takes them.
        classifier: The same, opened.
    """

    weights: str | os.PathLike[str] | None
    classifier: ExpressionClassifier

    def answers(self, images: NDArray[np.uint8], labels: list[str]) -> dict[str, NDArray[np.float32]]:
        """Return the probabilities ``(n, k)`` for some labels by each label set that has them; the network runs once."""
        columns = {output.name: columns_of(labels, output.labels) for output in self.classifier.spec.outputs}
        if not any(columns.values()):
            return {}
        logits = self.classifier.logits(images)
        opened = {name: ExpressionClassifier(self.weights, labels=name) for name, own in columns.items() if own is not None}
        return {name: opened[name].probabilities(logits)[:, columns[name]] for name in opened}


@dataclass(frozen=True)
class Answers:
    """Faces that were not learnt from, and what was answered.

    Attributes:
        faces: Held out, of one part or, fold by fold, all.
        probabilities: float32 ``(n, k)``.
        folds: The fold of each face, or None where a part was held out.
    """

    faces: Faces
    probabilities: NDArray[np.float32]
    folds: NDArray[np.int64] | None = None

    def rows(self) -> list[FileRow]:
        """Return a record for each face: ``file``, ``label``, ``answer``, ``confidence`` and, where they are known, ``person`` and ``fold``."""
        names, best = self.faces.label_set, self.probabilities.argmax(axis=1)
        rows = list[FileRow]()
        for i, (label, column) in enumerate(zip(self.faces.labels, best, strict=True)):
            row: FileRow = {
                "file": self.faces.files[i],
                "label": names[label],
                "answer": names[column],
                "confidence": round(float(self.probabilities[i, column]), 4),
            }
            if self.faces.persons:
                row["person"] = self.faces.persons[i]
            if self.folds is not None:
                row["fold"] = int(self.folds[i]) + 1
            rows.append(row)
        return rows

    def by_fold(self) -> list[FoldFigures] | None:
        """Return ``fold``, ``n``, ``accuracy`` and ``ci95`` of each fold; None where a part was held out."""
        if self.folds is None:
            return None
        right = self.probabilities.argmax(axis=1) == self.faces.labels
        return [_counted(number, right[self.folds == number]) for number in np.unique(self.folds)]


def _counted(number: int, right: NDArray[np.bool_]) -> FoldFigures:
    return {"fold": int(number) + 1, "n": len(right), "accuracy": float(right.mean()), "ci95": list(wilson(int(right.sum()), len(right)))}


def by_folds(faces: Faces, lesson: Lesson, starts: Mapping[str, Head], folds: int) -> Answers:
    """Answer every face by a head that learnt from the other folds, chosen and calibrated on these alone.

    Args:
        faces: All of them.
        lesson: Their features.
        starts: As ``choose_head`` takes them.
        folds: So many, whole groups apart.
    """
    fold = deal(faces.labels, lesson.groups, folds)
    probabilities = np.zeros((len(faces), len(faces.label_set)), np.float32)
    for number in np.unique(fold):
        seen = fold != number
        choice = choose_head(lesson.part(seen), starts)
        scores = choice.head(lesson.features[0, ~seen]) / fit_temperature(choice.logits, faces.labels[seen])
        probabilities[~seen] = softmax(scores)
    return Answers(faces, probabilities, fold)


def measured(answers: Answers, base: Base) -> Measured:
    """Measure answers, and the base's own in each of its label sets, on the same faces.

    Returns:
        ``held_out`` (as ``ferkit.evaluation.score``), ``folds``, ``held_out_files``, ``before`` and ``paired``.
    """
    truth, labels = answers.faces.labels, list(answers.faces.label_set)
    report: Measured = {
        "held_out": score(answers.probabilities, truth, labels),
        "folds": answers.by_fold(),
        "before": {},
        "paired": None,
        "held_out_files": answers.rows(),
    }
    best: NDArray[np.bool_] | None = None
    for name, rows in base.answers(answers.faces.images, labels).items():
        right = rows.argmax(axis=1) == truth
        report["before"][name] = float(right.mean())
        # Against the best of them on these very faces: to choose it here favours the old weights, which is fair play.
        if best is None or right.mean() > best.mean():
            best = right
            report["paired"] = {"against": name, **compare(right, answers.probabilities.argmax(axis=1) == truth)}
    return report


def on_publictest(new: ExpressionClassifier, base: Base, faces: Faces) -> Paired | None:
    """Measure both on PublicTest by FER2013's labels: the base in the output for those labels, if it has one."""
    classifier = base.classifier
    if any(output.name == FER7.name for output in classifier.spec.outputs):
        classifier = ExpressionClassifier(base.weights, labels=FER7.name)
    truth_of, old = columns_of(new.labels.classes, FER7.classes), columns_of(new.labels.classes, classifier.labels.classes)
    if truth_of is None or old is None:
        return None
    keep = np.isin(faces.labels, truth_of)
    truth = np.array([truth_of.index(label) for label in faces.labels[keep]])
    before, after = (c.predict_proba(faces.images[keep]) for c in (classifier, new))
    return {"against": classifier.labels.name, **compare(before[:, old].argmax(axis=1) == truth, after.argmax(axis=1) == truth)}
