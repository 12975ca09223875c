"""The weights and label sets on offer. A request names them; it can never name a file."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..classifiers.ensemble import open_classifier
from ..detectors.face_detector import DEFAULT_DETECTOR, open_detector
from ..errors import InputError
from ..faces import Face
from ..labels import FER6, LabelSet, need_classes
from ..protocols import Classifier, Detector, name_of, rotations_of
from ..weights.specs import EnsembleSpec, WeightsSpec, load_classifier_spec
from ..weights.store import resolve
from .problems import Problem
from .records import Opening
from .settings import Settings

__all__ = ["Catalogue", "Choice", "Offer", "Own"]

Choice = tuple[str, str]  # the name of some weights, the name of one of their label sets


@dataclass(frozen=True)
class Own:
    """What an application brings along instead of names: a detector, and classifiers that are offered by their names."""

    detector: Detector | None = None
    classifiers: tuple[Classifier, ...] = ()


@dataclass(frozen=True)
class Offer:
    """One row of what is on offer: weights, or a classifier that an application brought along.

    Attributes:
        licence: Of the weights.
        label_sets: What they can answer in, by name.
        default: The name of the set that answers when a request names none.
        spec: Of weights.
        where: What opens them; None is the bundled default.
        classifier: What was brought along.
    """

    licence: str
    label_sets: Mapping[str, LabelSet]
    default: str
    spec: WeightsSpec | EnsembleSpec | None = None
    where: str | None = None
    classifier: Classifier | None = None

    @staticmethod
    def of_weights(spec: WeightsSpec | EnsembleSpec, where: str | None, wanted: str | None) -> Offer:
        """Offer the outputs of weights, and FER6 where the default output covers it; ``wanted`` is the default where they have it."""
        sets = {output.name: output.label_set for output in spec.outputs}
        for labels in sets.values():
            need_classes(labels, spec.name, "The service")
        if set(FER6.classes) < set(spec.output(spec.default_output).labels):
            sets.setdefault(FER6.name, FER6)
        return Offer(spec.licence, sets, wanted if wanted in sets and wanted is not None else spec.default_output, spec, where)


class Catalogue:
    """Opens classifiers by name and keeps them: one for each weights and label set in use.

    Args:
        settings: Which weights, labels and detector.
        own: Objects to use beside, or, where the settings name no weights, instead of them.

    Raises:
        InputError, WeightsError, MissingExtraError: As ExpressionClassifier and FaceDetector, for what the settings name.
    """

    def __init__(self, settings: Settings, own: Own | None = None) -> None:
        self._settings, self._own = settings, own or Own()
        self._lock = threading.Lock()
        self._detecting = threading.Lock()
        self._open: dict[Choice, Classifier] = {}
        self.offers: dict[str, Offer] = {}
        for classifier in self._own.classifiers:
            labels = classifier.labels
            need_classes(labels, classifier.name, "The service")
            self._add(classifier.name, Offer("not stated", {labels.name: labels}, labels.name, classifier=classifier))
        for where in settings.weights or (() if self._own.classifiers else (None,)):
            spec = load_classifier_spec(resolve(where))
            self._add(spec.name, Offer.of_weights(spec, where, settings.labels))
        first, offer = next(iter(self.offers.items()))
        if settings.labels is not None and settings.labels not in offer.label_sets:
            raise InputError(f"Weights {first!r} have no labels {settings.labels!r}; expected one of {', '.join(offer.label_sets)}.")
        self.default = self.choose(None, None)

    @property
    def detector_name(self) -> str:
        return self._settings.detector or DEFAULT_DETECTOR if self._own.detector is None else name_of(self._own.detector)

    def _add(self, name: str, offer: Offer) -> None:
        if name in self.offers:
            raise InputError(f"Weights {name!r} are given twice; expected weights with a name of their own each.", arguments=["weights"])
        self.offers[name] = offer

    @property
    def by_name(self) -> bool:
        """True where another process can open all that is on offer: nothing was brought along."""
        return self._own == Own()

    def choose(self, weights: str | None, labels: str | None) -> Choice:
        """Return what a request asked for, with the defaults filled in. Raises Problem 422 for a name not on offer."""
        name = weights or next(iter(self.offers))
        if name not in self.offers:
            raise Problem(422, "unknown_weights", f"No weights {name[:80]!r} here; expected one of {', '.join(self.offers)}.")
        offer = self.offers[name]
        chosen = labels or offer.default
        if chosen not in offer.label_sets:
            sets = ", ".join(offer.label_sets)
            raise Problem(422, "unknown_labels", f"Weights {name!r} have no labels {chosen[:80]!r}; expected one of {sets}.")
        return name, chosen

    def classifier(self, choice: Choice) -> Classifier:
        """Return the classifier for a choice, opening it at its first use. Safe to call from several threads."""
        with self._lock:
            if choice not in self._open:
                own = self.offers[choice[0]].classifier
                self._open[choice] = own or open_classifier(
                    **self.recipe(choice), runtime=self._settings.runtime, threads=self._settings.threads
                )
            return self._open[choice]

    def recipe(self, choice: Choice) -> Opening:
        """Return what a classifier for a choice is opened with, ``weights`` and ``labels``, as plain values."""
        weights, labels = choice
        offer = self.offers[weights]
        assert offer.spec is not None
        outputs = {output.name for output in offer.spec.outputs}
        return {"weights": offer.where, "labels": labels if labels in outputs else offer.label_sets[labels].classes}

    def detector(self) -> Detector:
        """Return a detector for one lane. ferkit's hold a lock while they look, so every lane has its own; one that was brought along is shared."""
        if self._own.detector is not None:
            return _InTurn(self._own.detector, self._detecting)
        settings = self._settings
        rotations = settings.rotations or None
        return open_detector(
            settings.detector, rotations, model=settings.detector_model, runtime=settings.runtime, threads=settings.threads
        )


class _InTurn:
    """A detector that lanes share: nobody promised that it may be called from several threads at once."""

    def __init__(self, detector: Detector, lock: threading.Lock) -> None:
        self._detector, self._lock = detector, lock
        self.name, self.rotations = name_of(detector), rotations_of(detector)
        self.whole = bool(getattr(detector, "whole", False))

    def detect_rgb(self, pixels: NDArray[np.uint8]) -> list[Face]:
        with self._lock:
            return self._detector.detect_rgb(pixels)
