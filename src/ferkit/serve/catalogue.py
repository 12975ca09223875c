"""The weights and label sets on offer. A request names them; it can never name a file."""

from __future__ import annotations

import threading
from typing import Any

from ..classifiers.ensemble import Ensemble, open_classifier
from ..classifiers.expression_classifier import ExpressionClassifier
from ..detectors.face_detector import open_detector
from ..errors import InputError
from ..labels import FER6, LabelSet
from ..protocols import Detector
from ..weights.specs import EnsembleSpec, WeightsSpec, load_classifier_spec
from ..weights.store import resolve
from .problems import Problem
from .settings import Settings

__all__ = ["Catalogue", "Choice"]

Choice = tuple[str, str]  # the name of some weights, the name of one of their label sets


class Catalogue:
    """Opens classifiers by name and keeps them: one for each weights and label set in use.

    Raises:
        InputError, WeightsError, MissingExtraError: As ExpressionClassifier and FaceDetector, for what the settings name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: dict[Choice, ExpressionClassifier | Ensemble] = {}
        self._where: dict[str, str | None] = {}
        self.specs: dict[str, WeightsSpec | EnsembleSpec] = {}
        for where in settings.weights or (None,):
            spec = load_classifier_spec(resolve(where))
            if spec.name in self.specs:
                raise InputError(
                    f"Weights {spec.name!r} are given twice; expected weights with a name of their own each.", arguments=["weights"]
                )
            self.specs[spec.name], self._where[spec.name] = spec, where
        first = next(iter(self.specs))
        if settings.labels is not None and settings.labels not in self.label_sets(first):
            raise InputError(f"Weights {first!r} have no labels {settings.labels!r}; expected one of {', '.join(self.label_sets(first))}.")
        self.default = self.choose(None, None)

    def label_sets(self, weights: str) -> dict[str, LabelSet]:
        """Return the label sets of some weights, by name: their outputs, and FER6 where the default output covers it."""
        spec = self.specs[weights]
        sets = {output.name: output.label_set for output in spec.outputs}
        if set(FER6.classes) < set(spec.output(spec.default_output).labels):
            sets.setdefault(FER6.name, FER6)
        return sets

    def default_labels(self, weights: str) -> str:
        """Return the label set that answers when a request names none."""
        wanted = self._settings.labels
        return wanted if wanted is not None and wanted in self.label_sets(weights) else self.specs[weights].default_output

    def choose(self, weights: str | None, labels: str | None) -> Choice:
        """Return what a request asked for, with the defaults filled in. Raises Problem 422 for a name not on offer."""
        name = weights or next(iter(self.specs))
        if name not in self.specs:
            raise Problem(422, "unknown_weights", f"No weights {name[:80]!r} here; expected one of {', '.join(self.specs)}.")
        chosen = labels or self.default_labels(name)
        sets = self.label_sets(name)
        if chosen not in sets:
            raise Problem(422, "unknown_labels", f"Weights {name!r} have no labels {chosen[:80]!r}; expected one of {', '.join(sets)}.")
        return name, chosen

    def classifier(self, choice: Choice) -> ExpressionClassifier | Ensemble:
        """Return the classifier for a choice, opening it at its first use. Safe to call from several threads."""
        with self._lock:
            if choice not in self._open:
                self._open[choice] = open_classifier(**self.recipe(choice), runtime=self._settings.runtime)
            return self._open[choice]

    def recipe(self, choice: Choice) -> dict[str, Any]:
        """Return what a classifier for a choice is opened with, ``weights`` and ``labels``, as plain values."""
        weights, labels = choice
        outputs = {output.name for output in self.specs[weights].outputs}
        return {"weights": self._where[weights], "labels": labels if labels in outputs else self.label_sets(weights)[labels].classes}

    def detector(self) -> Detector:
        """Open a detector; every lane has its own."""
        settings = self._settings
        rotations = settings.rotations or None
        return open_detector(settings.detector, rotations, model=settings.detector_model, runtime=settings.runtime)
