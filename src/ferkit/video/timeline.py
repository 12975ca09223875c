"""The timeline: one strip per person, probabilities stacked over time. Constant memory, whatever the video's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..drawing.fonts import font, readable
from ..labels import LabelSet
from ..resizing import resized_to
from ..results import Result
from .frame import Frame
from .shares import UNSURE, Shares, in_words

__all__ = ["Timeline"]

_BINS = 1024  # when the video is longer, neighbours are merged and each stands for twice the time
_PEOPLE = 12  # strips in the picture, those in sight for longest
_KEPT = 48  # people that are remembered
_THUMB = 72
_UNSURE = (196, 202, 210)  # between the grey of "neutral" and the empty strip
_INK, _SOFT, _PAPER, _EMPTY = (30, 30, 30), (120, 120, 120), (255, 255, 255), (240, 240, 240)
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass
class _Strip:
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    thumbnail: Image.Image | None = None
    best: float = 0.0
    frames: int = 0
    shares: Shares = field(default_factory=Shares)


class Timeline:
    """Collects results of a video and draws them.

    Args:
        labels: The classes, in the order of the probabilities.
        thumbnails: Show each person's face.
    """

    def __init__(self, labels: LabelSet, *, thumbnails: bool = True) -> None:
        self._labels, self._thumbnails = labels, thumbnails
        self._names = [readable(name, f"label {number + 1}") for number, name in enumerate(labels)]
        self._strips: dict[int, _Strip] = {}
        self._origin: float | None = None
        self._bin_s = 0.02
        self._end = 0.0
        self._frames = 0

    def add(self, frame: Frame, result: Result) -> None:
        """Take the next frame."""
        if self._origin is None:
            self._origin = frame.time_s
        self._end = max(self._end, frame.time_s)
        self._frames += 1
        while frame.time_s - self._origin >= _BINS * self._bin_s:
            self._coarsen()
        bin_ = max(0, int((frame.time_s - self._origin) / self._bin_s))
        for face in result.faces:
            if face.track_id is None or face.expression is None:
                continue
            strip = self._strips.get(face.track_id)
            if strip is None:
                strip = self._strips[face.track_id] = _Strip(np.zeros((_BINS, len(self._labels) + 1)), np.zeros(_BINS, np.int64))
                self._forget()
            e = face.expression
            strip.sums[bin_] += [0.0] * len(self._labels) + [1.0] if e.label is None else [*(e.probabilities[n] for n in self._labels), 0.0]
            strip.shares.add(frame.time_s, e.label)
            strip.counts[bin_] += 1
            strip.frames += 1
            quality = face.score * face.height
            if self._thumbnails and quality > 1.1 * strip.best:  # the best view so far, redone only where it is clearly better
                strip.best, strip.thumbnail = quality, _thumbnail(frame.pixels, face.box)

    def _coarsen(self) -> None:
        for strip in self._strips.values():
            for array in (strip.sums, strip.counts):
                array[: _BINS // 2] = array[0::2] + array[1::2]
                array[_BINS // 2 :] = 0
        self._bin_s *= 2

    def _forget(self) -> None:
        if len(self._strips) > _KEPT:
            newest = max(self._strips)
            del self._strips[min((n for n in self._strips if n != newest), key=lambda n: self._strips[n].frames)]

    def draw(self, title: str = "") -> Image.Image:
        """Return the plot as an RGB picture 1400 pixels wide."""
        shown = sorted(self._strips, key=lambda n: -self._strips[n].frames)[:_PEOPLE]
        shown.sort()
        width, left, right, top, strip_height, gap = 1400, 210, 30, 92, 84, 18
        height = top + max(1, len(shown)) * (strip_height + gap) + 46
        picture = Image.new("RGB", (width, height), _PAPER)
        pen = ImageDraw.Draw(picture)
        title = readable(_short(title, 70), "video")
        pen.text((24, 14), title, font=font(title, 24), fill=_INK)
        self._legend(pen, 24, 54)
        if not shown:
            pen.text((left, top + 28), "no faces were found", font=font("", 18), fill=_SOFT)
            return picture
        plot = (left, width - right)
        seconds = max(self._end - (self._origin or 0.0), 1e-3)
        for row, number in enumerate(shown):
            y = top + row * (strip_height + gap)
            self._strip(picture, self._strips[number], plot, y, strip_height, seconds)
            self._head(picture, pen, number, y)
        self._axis(pen, plot, top, top + len(shown) * (strip_height + gap) - gap, seconds)
        more = len(self._strips) - len(shown)
        if more > 0:
            pen.text((24, height - 30), f"{more} more in sight for less long", font=font("", 14), fill=_SOFT)
        return picture

    def _legend(self, pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
        letters = font("".join(self._names), 16)
        unsure = any(strip.sums[:, -1].any() for strip in self._strips.values())
        entries = [*zip(self._names, self._labels.colours, strict=True), *([(UNSURE, _UNSURE)] if unsure else [])]
        for label, colour in entries:
            pen.rectangle((x, y, x + 15, y + 15), fill=colour)
            pen.text((x + 22, y + 8), label, font=letters, fill=_INK, anchor="lm")
            x += 22 + pen.textlength(label, font=letters) + 24

    def _strip(self, picture: Image.Image, strip: _Strip, plot: tuple[int, int], y: int, height: int, seconds: float) -> None:
        """Paint a column per pixel: the mean probabilities of its time, stacked, the first label at the bottom, "unsure" on top."""
        columns = plot[1] - plot[0]
        times = (np.arange(columns) + 0.5) / columns * seconds
        bins = np.minimum((times / self._bin_s).astype(int), _BINS - 1)
        counts, sums = strip.counts, strip.sums
        # A frame lasts until the next one: short holes in time are those between frames, not absences.
        hole = max(1, round(1.6 * seconds / max(1, self._frames - 1) / self._bin_s))
        source = np.where(counts > 0, np.arange(_BINS), -1)
        filled = np.maximum.accumulate(source)
        filled = np.where((filled >= 0) & (np.arange(_BINS) - filled <= hole), filled, -1)[bins]
        area = np.full((height, columns, 3), _EMPTY, np.uint8)
        colours = np.array([*self._labels.colours, _UNSURE], np.uint8)
        levels = (np.arange(height)[::-1] + 0.5) / height
        for x in np.flatnonzero(filled >= 0):
            mean = sums[filled[x]] / counts[filled[x]]
            edges = np.cumsum(mean / mean.sum())
            area[:, x] = colours[np.minimum(np.searchsorted(edges, levels), len(colours) - 1)]
        picture.paste(Image.fromarray(area), (plot[0], y))

    def _head(self, picture: Image.Image, pen: ImageDraw.ImageDraw, number: int, y: int) -> None:
        strip = self._strips[number]
        if strip.thumbnail is not None:
            picture.paste(strip.thumbnail, (24, y + 6))
        pen.text((106, y + 8), f"person {number}", font=font("", 17), fill=_INK)
        for line, words in enumerate(self.summary(number)[:2]):
            text = self._readable(words)
            pen.text((106, y + 34 + 22 * line), text, font=font(text, 14), fill=_SOFT)

    def _readable(self, words: str) -> str:
        """Return words with the labels that no font here has replaced by what the legend calls them."""
        for label, name in zip(self._labels, self._names, strict=True):
            words = words.replace(label, name) if label != name else words
        return words

    def summary(self, number: int) -> list[str]:
        """Return a person's shares in words, as the console and events.json have them, the largest first."""
        return in_words(self._strips[number].shares.share())

    def _axis(self, pen: ImageDraw.ImageDraw, plot: tuple[int, int], top: int, bottom: int, seconds: float) -> None:
        origin = self._origin or 0.0
        step = next((s for s in _STEPS_S if seconds / s <= 12), _STEPS_S[-1] * max(1.0, np.ceil(seconds / _STEPS_S[-1] / 12)))
        tick = np.ceil(origin / step) * step
        while tick <= origin + seconds + 1e-9:
            x = plot[0] + (tick - origin) / seconds * (plot[1] - plot[0])
            pen.line((x, top, x, bottom + 6), fill=(210, 210, 210))
            pen.text((x, bottom + 10), _clock(float(tick), step), font=font("", 14), fill=_SOFT, anchor="ma")
            tick += step


def _thumbnail(pixels: NDArray[np.uint8], box: Sequence[float]) -> Image.Image:
    side = max(8.0, 1.25 * max(box[2] - box[0], box[3] - box[1]))
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x1, y1 = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    x2, y2 = max(x1 + 1, min(pixels.shape[1], round(x + side / 2))), max(y1 + 1, min(pixels.shape[0], round(y + side / 2)))
    return Image.fromarray(resized_to(np.ascontiguousarray(pixels[y1:y2, x1:x2]), _THUMB, _THUMB))


def _clock(seconds: float, step: float) -> str:
    if step < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else "..." + text[3 - most :]
