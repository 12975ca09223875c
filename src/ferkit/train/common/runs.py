"""What every run does between its steps: draw the next batch, keep what it knows after each epoch, stop in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import keras

from ...files import write_json
from .checkpoint import load_checkpoint, save_checkpoint
from .loggers import to_stderr

__all__ = ["RunState", "drawn_ahead", "precision"]

_Batch = TypeVar("_Batch")


def drawn_ahead(draw: Callable[[int], _Batch], steps: int) -> Iterator[_Batch]:
    """Yield ``draw(0)`` to ``draw(steps - 1)``, each drawn while the one before is learnt from: a tenth to a fifth of the time."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(draw, 0)
        for step in range(steps):
            batch = coming.result()
            if step + 1 < steps:
                coming = thread.submit(draw, step + 1)
            yield batch


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Make layers under a dtype policy of Keras, and put the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class _Recipe(Protocol):
    @property
    def epochs(self) -> int: ...
    def to_dict(self) -> Mapping[str, Any]: ...


@dataclass
class RunState:
    """A run between two epochs: what a checkpoint holds, and when to stop.

    Attributes:
        model: Compiled.
        recipe: Its choices.
        checkpoint: The file that is replaced after each epoch.
        max_minutes: Stop cleanly after the epoch that passes them; None: at the end.
        written: ``history.json``, for whoever looks on; None: the checkpoint alone has it.
        epoch: Epochs done.
        history: One row per epoch.
        data: A digest of each part of what is learnt from, see ``fingerprint``.
    """

    model: keras.Model
    recipe: _Recipe
    checkpoint: Path
    max_minutes: float | None = None
    written: Path | None = None
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    data: Mapping[str, str] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def restore(self, log: Callable[[str], None] = to_stderr) -> None:
        """Go on from the checkpoint, if it is there. Raises InputError if it is of another recipe, or of other data."""
        if self.checkpoint.exists():
            self.epoch, self.history = load_checkpoint(self.checkpoint, self.model, self.recipe, self.data, log)

    def keep(self) -> None:
        """Write all that the run knows at the end of an epoch. Raises WeightsError if that cannot be written."""
        save_checkpoint(self.checkpoint, self.model, self.recipe, self.epoch, self.history, self.data)
        self.write_history()

    def write_history(self) -> None:
        if self.written is not None:
            write_json(self.written, {"recipe": self.recipe.to_dict(), "epochs": self.history})

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.begun) / 60

    def late(self, minutes: float) -> bool:
        """Return True if the time is over after so many minutes, and epochs are left."""
        return self.max_minutes is not None and minutes >= self.max_minutes and self.epoch < self.recipe.epochs

    def stopped(self, minutes: float, what: str = "") -> str:
        return f"Stopped after {minutes:.1f} minutes at epoch {self.epoch} of {self.recipe.epochs}{what}; resume=True goes on."
