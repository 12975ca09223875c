"""A recipe's heads: what each output of a network answers, and how it learns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import InputError
from ...labels import CLASSES, LABELS, VALUES, LabelSet, label_set
from ..common.values import check_number

__all__ = ["LOSSES", "Head"]

LOSSES = {CLASSES: ("cross-entropy",), LABELS: ("sigmoid",), VALUES: ("mse", "ccc")}  # of each kind of head, the usual one first


@dataclass(frozen=True)
class Head:
    """One output of the network: its labels, its weight in the loss, and label smoothing on hard labels.

    ``classes`` names the labels of a set that is not one of ferkit's own, in the order of the output's columns. ``kind`` is a label set's:
    ``"classes"``, ``"labels"`` (several at once) or ``"values"``; the last two are columns of a manifest. ``loss`` of values is ``"mse"`` or
    ``"ccc"``, 1 - CCC over the batch; the others have one each. ``mean`` and ``std`` of values, one number each, are the data's own unless
    they are given: the head learns in deviations from the mean, and answers in the values' units.
    """

    labels: str
    weight: float = 1.0
    label_smoothing: float = 0.0
    classes: tuple[str, ...] = ()
    kind: str = CLASSES
    loss: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.labels, str) or not self.labels:
            raise InputError(f"labels = {self.labels!r} of a head; expected the name of a label set.")
        if isinstance(self.classes, str) or not all(isinstance(name, str) for name in self.classes):
            raise InputError(f"classes = {self.classes!r} of the head {self.labels!r}; expected a list of names.")
        object.__setattr__(self, "classes", tuple(self.classes))
        where = f"of the head {self.labels!r}"
        if self.kind not in LOSSES:
            raise InputError(f"kind = {self.kind!r} {where}; expected one of {', '.join(LOSSES)}.")
        object.__setattr__(self, "loss", self.loss or LOSSES[self.kind][0])
        if self.loss not in LOSSES[self.kind]:
            raise InputError(f"loss = {self.loss!r} {where}, of kind {self.kind!r}; expected {' or '.join(LOSSES[self.kind])}.")
        if self.kind != CLASSES and not self.classes:
            raise InputError(
                f"The head {self.labels!r} is of kind {self.kind!r} and has no classes; expected the names of the columns there."
            )
        for name in ("mean", "std"):
            given = getattr(self, name)
            if given and (self.kind != VALUES or isinstance(given, str) or len(given) != len(self.classes)):
                raise InputError(f"{name} = {given!r} {where}; expected a number for each of its values, or none at all.")
            for value in given:
                check_number(f"{name} {where}", value)
            object.__setattr__(self, name, tuple(map(float, given)))
        if bool(self.mean) != bool(self.std) or not all(value > 0 for value in self.std):
            raise InputError(f"mean and std {where}: {self.mean} and {self.std}; expected both, deviations above 0, or neither.")

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(self.labels, self.classes, kind=self.kind) if self.classes else label_set(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return its entries, of a head of classes those that it has always had."""
        extra = ("kind", "loss", "mean", "std")
        return {key: value for key, value in asdict(self).items() if self.kind != CLASSES or key not in extra}
