"""Several classifiers that answer as one: what an Ensemble is, and a classifier that was opened by an ensemble's name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..crops import CropGeometry, squares
from ..errors import InputError
from ..labels import LabelSet, need_classes
from ..logits import softmax
from ..tensors import is_one_image

__all__ = ["COMBINE", "Committee", "Member", "combined"]

COMBINE = ("probability", "logit")


class Member(Protocol):
    """What a committee asks of a classifier."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> LabelSet: ...
    @property
    def crop(self) -> CropGeometry: ...
    @property
    def tta(self) -> str | int: ...
    @property
    def size(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def columns(self) -> int: ...
    def logits(self, crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8], /) -> NDArray[np.float32]: ...
    def logits_and_features(
        self, crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8], /
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
    def probabilities(self, logits: NDArray[np.float32], /) -> NDArray[np.float32]: ...


_M = TypeVar("_M", bound=Member)


class Committee(Generic[_M]):
    """Classifiers that fit together, what each counts, and how their answers are combined. Arguments and errors as Ensemble's."""

    def __init__(
        self, members: Sequence[_M], *, weights: Sequence[float] | None = None, combine: str = "probability", temperature: float = 1.0
    ) -> None:
        self.members: tuple[_M, ...] = tuple(members)
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
        first = self.members[0]
        for member in self.members:
            need_classes(member.labels, member.name, "An ensemble")
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
        self._order = [member.labels.columns(first.labels) for member in self.members]
        self._columns = np.cumsum([0, *(member.columns for member in self.members)])

    @property
    def labels(self) -> LabelSet:
        """The classes, in the order of the probabilities' columns: the first member's."""
        return self.members[0].labels

    @property
    def crop(self) -> CropGeometry:
        """How the members want a detected face to be cropped."""
        return self.members[0].crop

    @property
    def tta(self) -> str | int:
        """The members' test-time augmentation."""
        return self.members[0].tta

    @property
    def size(self) -> int:
        """The side of the largest member's input, pixels."""
        return max(member.size for member in self.members)

    @property
    def channels(self) -> int:
        """Of a prepared face: 3 where any member sees colors, else 1."""
        return max(member.channels for member in self.members)

    @property
    def columns(self) -> int:
        """How many raw outputs all members have together."""
        return int(self._columns[-1])

    def prepare(self, crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return crops as the squares of the member that wants the largest, uint8 ``(n, size, size)``, with colors if any member sees them."""
        return squares(crops, self.size, self.channels)

    def logits(self, crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return all members' raw outputs side by side, float32 ``(views, n, columns of all)``."""
        crops = _kept(crops)
        return np.concatenate([member.logits(crops) for member in self.members], axis=2)

    def features(self, crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return all members' features side by side, float32 ``(n, d of all)``. Arguments and errors as ExpressionClassifier's."""
        return self.logits_and_features(crops)[1]

    def logits_and_features(
        self, crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what ``logits`` and ``features`` do, from one run of every network."""
        crops = _kept(crops)
        logits, features = zip(*(member.logits_and_features(crops) for member in self.members), strict=True)
        return np.concatenate(logits, axis=2), np.concatenate(features, axis=1)

    def member_probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn raw outputs as of ``logits`` into each member's own probabilities, float64 ``(members, n, k)``."""
        parts = [logits[:, :, a:b] for a, b in zip(self._columns[:-1], self._columns[1:], strict=True)]
        return np.stack(
            [m.probabilities(part)[:, order].astype(np.float64) for m, part, order in zip(self.members, parts, self._order, strict=True)]
        )

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn raw outputs as of ``logits`` into probabilities, float32 ``(n, k)``."""
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


def _kept(crops: Iterable[NDArray[np.uint8]] | NDArray[np.uint8]) -> Iterable[NDArray[np.uint8]] | NDArray[np.uint8]:
    """Return crops that can be read again by every member; the first would use up an iterator."""
    if isinstance(crops, Iterator) and not is_one_image(crops):  # a file, which the members refuse, is an iterator of lines
        return list(crops)
    return crops


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1))


def combined(p: NDArray[np.float64], weights: NDArray[np.float64], combine: str, temperature: float = 1.0) -> NDArray[np.float32]:
    """Combine probabilities ``(members, n, k)`` into float32 ``(n, k)``: their mean, or the softmax of their mean logarithm."""
    log = np.log(np.maximum(p, 1e-30))
    scores = np.log(np.maximum(np.tensordot(weights, p, 1), 1e-30)) if combine == "probability" else np.tensordot(weights, log, 1)
    return np.asarray(softmax(scores / temperature), np.float32)
