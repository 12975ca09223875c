"""The plots of a report, each as PNG bytes. Needs matplotlib, but no display and no Keras."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .drawing.fonts import font_file, readable
from .errors import MissingExtraError

__all__ = [
    "check_plots",
    "class_distribution",
    "confusion_matrix",
    "coverage_risk_curve",
    "face_png",
    "history_curves",
    "reliability_diagram",
]

_INK, _BLUE, _ORANGE, _GREY = "#1c2530", "#0072b2", "#d55e00", "#b8c0c8"  # Okabe and Ito's blue and vermilion


def check_plots() -> None:
    """Raises MissingExtraError if matplotlib is not installed."""
    _figure(1, 1)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", "A report with plots") from error
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")  # not pyplot: no global state, no display
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=_INK, labelsize=9)
    return figure, axes


def _name(axis: Any, names: Sequence[str], **look: Any) -> None:
    """Write names along an axis as they are: no formula between two dollars, in a font that has their letters."""
    from matplotlib.font_manager import FontProperties

    written = [readable(name, f"label {number + 1}") for number, name in enumerate(names)]
    axis.set_ticks(range(len(names)), written, parse_math=False, **look)
    for text, name in zip(axis.get_ticklabels(), written, strict=True):
        if file := font_file(name):  # matplotlib's own has all that Pillow's own has
            text.set_fontproperties(FontProperties(fname=file, size=text.get_fontsize()))


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def confusion_matrix(classes: Sequence[str], rows: Sequence[Sequence[int]], few: int = 20) -> bytes:
    """Draw counts ``(k, k)``, truth by prediction; the shade is the share of the row, that is of the true label.

    A label with fewer than ``few`` faces has counts alone: a share of so few would claim what nobody measured.
    """
    counts = np.array(rows)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.62 * len(classes)
    figure, (axis,) = _figure(side + 0.6, side)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    _name(axis.xaxis, classes, rotation=40, ha="right")
    _name(axis.yaxis, classes)
    axis.set_xlabel("prediction")
    axis.set_ylabel("label")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            colour = "white" if share[i, j] > 0.55 else _INK
            if row.sum() < few:
                axis.text(j, i, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
                continue
            axis.text(j, i - 0.12, f"{share[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=9)
            axis.text(j, i + 0.24, f"{count:,}", ha="center", va="center", color=colour, fontsize=6.5)
    return _png(figure)


def reliability_diagram(bins: Sequence[Mapping[str, Any]], ece: float) -> bytes:
    """Draw accuracy by confidence from the bins of ``reliability``; the area of a dot is the bin's share of the faces."""
    figure, (axis,) = _figure(4.6, 4.2)
    axis.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    x, y, n = (np.array([row[key] for row in bins]) for key in ("confidence", "accuracy", "n"))
    axis.plot(x, y, color=_BLUE, linewidth=1.2)
    axis.scatter(x, y, s=12 + 400 * n / n.sum(), color=_BLUE, alpha=0.75, label=f"measured (ECE {ece:.3f})")
    axis.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    axis.legend(loc="upper left", fontsize=8, frameon=False, markerscale=0.5)
    return _png(figure)


def coverage_risk_curve(curve: Mapping[str, Any], aurc: float) -> bytes:
    """Draw the error among the most confident share of the faces."""
    figure, (axis,) = _figure(4.6, 4.2)
    axis.plot(curve["coverage"], curve["risk"], color=_ORANGE, linewidth=1.6)
    axis.fill_between(curve["coverage"], curve["risk"], color=_ORANGE, alpha=0.12)
    top = max(0.05, 1.1 * max(curve["risk"]))
    axis.set(
        xlim=(0, 1.02),
        ylim=(0, min(1.02, top)),
        xlabel="coverage: share of faces that are answered",
        ylabel="risk: share of them that is wrong",
    )
    axis.text(0.03, 0.94, f"AURC {aurc:.3f}", transform=axis.transAxes, fontsize=9, color=_INK)
    return _png(figure)


def class_distribution(counts: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draw the number of faces per label, one group of bars per split: ``{split: {label: n}}``."""
    labels = list(dict.fromkeys(label for row in counts.values() for label in row))
    figure, (axis,) = _figure(max(5.0, 1.0 + 0.95 * len(labels)), 3.6)
    width = 0.8 / max(1, len(counts))
    for number, (split, row) in enumerate(counts.items()):
        x = np.arange(len(labels)) + (number - (len(counts) - 1) / 2) * width
        bars = axis.bar(
            x, [row.get(label, 0) for label in labels], width, label=split, color=(_BLUE, _ORANGE, "#009e73", "#cc79a7")[number % 4]
        )
        axis.bar_label(bars, fmt="{:,.0f}", fontsize=7, color=_INK)
    _name(axis.xaxis, labels)
    axis.set_ylabel("faces")
    if len(counts) > 1:
        axis.legend(fontsize=8, frameon=False)
    return _png(figure)


def history_curves(epochs: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw loss, accuracy and learning rate of a run's ``history.json`` over its epochs; what it lacks is left out."""
    keys = list(dict.fromkeys(key for row in epochs for key in row))
    panels = [
        ("loss", [key for key in keys if key.endswith("loss")]),
        ("accuracy", [key for key in keys if key.endswith("accuracy")]),
        ("learning rate", [key for key in keys if key == "learning_rate"]),
    ]
    panels = [(title, names) for title, names in panels if names]
    figure, axes = _figure(4.1 * max(1, len(panels)), 3.3, max(1, len(panels)))
    for axis, (title, names) in zip(axes, panels, strict=False):
        for name in names:
            rows = [row for row in epochs if row.get(name) is not None]
            axis.plot([row["epoch"] for row in rows], [row[name] for row in rows], linewidth=1.4, label=name.replace("_", " "))
        axis.set(xlabel="epoch", title=title)
        axis.title.set_size(10)
        if len(names) > 1:
            axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def face_png(face: NDArray[np.uint8]) -> bytes:
    """Return one face, grey ``(H, W)`` or RGB ``(H, W, 3)``, as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, format="PNG")
    return buffer.getvalue()
