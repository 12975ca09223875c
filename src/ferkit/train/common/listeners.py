"""Who hears of a run while it goes: lines for people, callbacks for programs, and the loggers of other tools."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .loggers import to_stderr

__all__ = ["Callback", "Forward", "Listeners", "Progress", "Step"]


class Step(NamedTuple):
    """One step of training.

    Attributes:
        epoch: The epoch, from 1.
        epochs: How many there will be.
        step: The step within the epoch, from 1.
        steps: How many an epoch has.
        faces: In a batch.
        logs: The running means of the epoch, as the network's metrics name them.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    faces: int
    logs: Mapping[str, Any]


class Callback:
    """What hears of a run. Override what you need; an object of another class may have any of these methods too.

    Examples:
        >>> class Losses(Callback):
        ...     def on_epoch(self, row):
        ...         print(row["epoch"], row["loss"])
    """

    def on_start(self, run: Mapping[str, Any]) -> None:
        """A run begins, or goes on: ``run`` has ``name``, ``out``, ``recipe`` (a table), ``faces``, ``epochs`` and ``epoch``, those that are done."""

    def on_step(self, step: Step) -> None:
        """A step is done."""

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is done: its row of the history. Its checkpoint is written."""

    def on_end(self, finished: bool) -> None:
        """The run ends: finished, or stopped by ``max_minutes``. Not called when it fails."""

    def on_fail(self, error: BaseException) -> None:
        """The run fails, or is interrupted; the error goes on to the caller. Where processes that train together start again, ``on_start`` follows."""


class Listeners:
    """Tells all of them; a method that a callback lacks is left out.

    Args:
        log: Takes one line at a time; None is standard error.
        callbacks: As ``Callback`` describes them.
    """

    def __init__(self, log: Callable[[str], None] | None = None, callbacks: Sequence[Any] = ()) -> None:
        self.line = log or to_stderr
        self._callbacks = tuple(callbacks)
        self._begun = False

    def start(self, run: Mapping[str, Any]) -> None:
        self._tell("on_start", run)

    def step(self, step: Step) -> None:
        self._tell("on_step", step)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self._tell("on_epoch", row)

    def end(self, finished: bool) -> None:
        self._tell("on_end", finished)

    def fail(self, error: BaseException) -> None:
        """Tell that a run which had begun does not come to its end, so that nobody waits for more. What a callback raises of its own is a line."""
        if not self._begun:
            return
        self._begun = False
        for callback in self._callbacks:
            try:
                (getattr(callback, "on_fail", None) or _nothing)(error)
            except Exception as second:
                self.line(f"{type(callback).__name__}.on_fail raised {second!r}")

    def hear(self, told: str | tuple[str, Any]) -> None:
        """Pass on what another process said: a line, or what ``Forward`` tells."""
        if isinstance(told, str):
            self.line(told)
        else:
            self._tell(*told)

    def _tell(self, name: str, what: Any) -> None:
        self._begun = True
        for callback in self._callbacks:
            (getattr(callback, name, None) or _nothing)(what)
        self._begun = name != "on_end"


def _nothing(_: Any) -> None:
    """Be the method that a callback lacks, or has set to None."""


class Forward(Callback):
    """Tells another process, which has the callbacks; that the run fails it sees for itself.

    Args:
        tell: Called with a method's name and its argument, to be handed to ``Listeners.hear`` there.
    """

    def __init__(self, tell: Callable[[tuple[str, Any]], None]) -> None:
        self.on_start = lambda run: tell(("on_start", run))  # type: ignore[method-assign]
        self.on_step = lambda step: tell(("on_step", step))  # type: ignore[method-assign]
        self.on_epoch = lambda row: tell(("on_epoch", row))  # type: ignore[method-assign]
        self.on_end = lambda finished: tell(("on_end", finished))  # type: ignore[method-assign]


class Progress(Callback):
    """Lines on how an epoch goes: faces, faces a second, and the time left in it. The first comes before the first step.

    Args:
        every: Seconds between two lines; on a terminal one line is written anew twice a second.
        stream: None is standard error.
    """

    def __init__(self, every: float = 10.0, stream: Any = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = bool(getattr(self._stream, "isatty", bool)())
        self._every = 0.5 if self._terminal else every
        self._begun = self._told = 0.0

    def on_start(self, run: Mapping[str, Any]) -> None:
        done = f", {run['epoch']} of them done" if run["epoch"] else ""
        self._write(f"Training {run['name']}: {run['faces']:,} faces, {run['epochs']} epochs{done}. The first step takes longest.\n")

    def on_step(self, step: Step) -> None:
        now = time.monotonic()
        if step.step == step.steps:
            self._write("\r\033[K" if self._terminal else "")
            return
        if step.step == 1:
            self._begun = now  # of the first epoch's first step, which compiles, nothing can be told
        if step.step > 1 and now - self._told < self._every:
            return
        self._told, rate = now, (step.step - 1) * step.faces / max(now - self._begun, 1e-9)
        left = (step.steps - step.step) * step.faces
        pace = f"  {rate:,.0f} faces/s  {left / rate:.0f} s left" if step.step > 1 else ""
        loss = float(step.logs.get("loss", float("nan")))
        text = f"epoch {step.epoch}/{step.epochs}  {step.step * step.faces:,} of {step.steps * step.faces:,} faces{pace}  loss {loss:.4f}"
        self._write(f"\r\033[K{text}" if self._terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
