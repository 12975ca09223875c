"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["CosineCycles"]


@keras.saving.register_keras_serializable(package="ferkit")
class CosineCycles(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then cosine cycles to zero, one after another.

    Args:
        cycles: ``(steps, steps to reach zero, rate at the start)`` of each; the warm-up is part of the first.
        warmup: Steps.
    """

    def __init__(self, cycles: Sequence[tuple[int, int, float]], warmup: int = 0) -> None:
        self.cycles, self.warmup = [(int(steps), int(horizon), float(rate)) for steps, horizon, rate in cycles], warmup

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        start, warmup, value = 0, self.warmup, ops.zeros_like(step)
        for steps, horizon, rate in self.cycles:
            done = ops.clip((step - start - warmup) / max(1, horizon - warmup), 0.0, 1.0)
            cosine = rate * 0.5 * (1.0 + ops.cos(math.pi * done))
            if warmup:
                first = rate / warmup
                cosine = ops.where(step < warmup, first + (rate - first) * step / warmup, cosine)
            value = ops.where(step >= start, cosine, value)
            start, warmup = start + steps, 0
        return value

    def get_config(self) -> dict[str, Any]:
        return {"cycles": self.cycles, "warmup": self.warmup}
