"""Processes that train one network together: each takes its rows of every batch, and all compute the same step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from ...errors import InputError

__all__ = ["ALONE", "Ranks"]


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, and which of them this one is.

    Attributes:
        count: How many there are; 1 is a run as it always was.
        number: Of this one, from 0. The first alone writes files and speaks.
    """

    count: int = 1
    number: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes files."""
        return self.number == 0

    def rows(self, batch_size: int) -> slice:
        """Return which rows of a batch are this one's.

        Raises:
            InputError: They are not the same number for all.
        """
        check_divisible(batch_size, self.count)
        share = batch_size // self.count
        return slice(self.number * share, (self.number + 1) * share)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make variables that all processes share, and take arrays for rows of a common batch, within."""
        if self.count == 1:
            yield
            return
        distribution, before = keras.distribution, keras.distribution.distribution()
        distribution.set_distribution(distribution.DataParallel(auto_shard_dataset=False))
        try:
            yield
        finally:
            distribution.set_distribution(before)

    def agreed(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return the first one's numbers: what a run decides by them (patience, a rate, time) must be decided alike everywhere."""
        if self.count == 1:
            return dict(row)
        from jax.experimental.multihost_utils import broadcast_one_to_all

        # As bytes: JAX would round float64 to float32.
        values = np.frombuffer(np.array([float(value) for value in row.values()], np.float64).tobytes(), np.uint8)
        told = np.frombuffer(np.asarray(broadcast_one_to_all(values), np.uint8).tobytes(), np.float64)
        return {name: type(value)(new) for (name, value), new in zip(row.items(), told, strict=True)}


ALONE = Ranks()


def check_divisible(batch_size: int, workers: int) -> None:
    """Refuse a batch that cannot be shared out evenly. Raises InputError."""
    if workers < 1 or batch_size % workers:
        raise InputError(f"{workers} workers cannot share batches of {batch_size} evenly; expected a number that divides {batch_size}.")
