"""The one definition of how a person's time is shared out, for events.json, the console and the plot."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["UNSURE", "Shares", "in_words"]

UNSURE = "unsure"  # the share of the frames in which the classifier abstained
_MAX_FRAME_S = 1.0


class Shares:
    """The share of a person's time per answer, 0-1; they add up to 1.

    A frame stands for the time until the person's next one, at most one second; the last for as long as the one before it.
    Its answer is the label of its row, or "unsure" where the classifier abstained.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._newest: tuple[str, float] | None = None
        self._step_s = 0.0

    def add(self, time_s: float, label: str | None) -> None:
        """Take the person's next frame; ``label`` is None where the classifier abstained."""
        if self._newest is not None:
            answer, since = self._newest
            self._step_s = min(_MAX_FRAME_S, max(0.0, time_s - since))
            self._seconds[answer] = self._seconds.get(answer, 0.0) + self._step_s
        self._newest = (UNSURE if label is None else label, time_s)

    def share(self) -> dict[str, float]:
        """Return the shares, the largest first."""
        if self._newest is None:
            return {}
        seconds = dict(self._seconds)
        seconds[self._newest[0]] = seconds.get(self._newest[0], 0.0) + (self._step_s or _MAX_FRAME_S)
        total = sum(seconds.values())
        return {answer: value / total for answer, value in sorted(seconds.items(), key=lambda pair: -pair[1])}


def in_words(share: Mapping[str, float]) -> list[str]:
    """Return "happy 62%" and so on, without what is below one in a hundred."""
    return [f"{answer} {value:.0%}" for answer, value in share.items() if value >= 0.01]
