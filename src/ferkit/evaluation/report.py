"""One self-contained HTML page about a measurement. Needs matplotlib, but no Keras."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, plots
from ..errors import InputError
from ..files import write_bytes
from ..image_files import expanded
from ..text import ESCAPES
from .figures import FEW, told
from .measuring import Measurement, learnt_warning
from .outputs import of_outputs

__all__ = ["confident_mistakes", "read_history", "write_report"]

_STYLE = """
:root { color: #1c2530; background: #f4f6f8; font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
body { margin: 0 auto; max-width: 1080px; padding: 28px 24px 48px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 8px; } .quiet { color: #5b6875; font-size: 13px; }
section { background: #fff; border: 1px solid #dde3e8; border-radius: 10px; padding: 18px 20px; margin-top: 18px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 18px; }
.tile { background: #fff; border: 1px solid #dde3e8; border-radius: 10px; padding: 12px 18px; flex: 1 1 130px; }
.tile b { display: block; font-size: 24px; font-weight: 600; } .tile span { color: #5b6875; font-size: 12.5px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid #e8edf1; } th:first-child, td:first-child { text-align: left; }
th { color: #5b6875; font-weight: 500; font-size: 13px; }
.plots { display: flex; flex-wrap: wrap; gap: 20px; justify-content: center; } .plots img { max-width: 100%; height: auto; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(108px, 1fr)); gap: 14px; }
figure { margin: 0; text-align: center; font-size: 12.5px; line-height: 1.35; } figure img { width: 96px; height: 96px; object-fit: cover; border-radius: 6px; }
figcaption b { color: #b34700; font-weight: 600; }
"""


Reason = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


def write_report(
    measurement: Measurement,
    out: str | Path,
    *,
    history: Sequence[Mapping[str, Any]] = (),
    mistakes: int = 24,
    reason: Reason | None = None,
) -> Path:
    """Write ``out/report.html``: figures, plots and the most confident mistakes, with nothing outside the file.

    The page holds pictures of the data: whoever gets the page gets them too.

    Args:
        measurement: From ``ferkit.evaluation.measuring.measure``.
        out: Folder; made if it is not there.
        history: Rows of the run's ``history.json``, for the curves of the training; see ``read_history``.
        mistakes: At most so many in the gallery; 0 leaves the pictures out.
        reason: Returns the picture that goes beside a mistake, RGB uint8, from the face and the column of the label that it was taken
            for: what the answer rests on (``ferkit.explain``). None: no such pictures.

    Returns:
        The page.

    Raises:
        InputError: The measurement is of several labels at once, or of values.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from ferkit import ExpressionClassifier
        >>> from ferkit.evaluation import measure, write_report
        >>> classifier = ExpressionClassifier("fer2013-n-v6")
        >>> measured = measure(classifier, "my_faces", split="Training")
        >>> write_report(measured, "report").name
        'report.html'
    """
    if (several := of_outputs(measurement.report)) is not None:
        raise InputError(
            f"A page is of weights that choose one of several classes; {measurement.report['weights']} answers "
            f"{several['kind']}. evaluate's report has their figures."
        )
    page = "\n".join(_page(measurement, history, mistakes, reason)) + "\n"
    out = expanded(out)
    out.mkdir(parents=True, exist_ok=True)
    return write_bytes(out / "report.html", page.encode("utf-8", ESCAPES))


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the epochs in a run's ``history.json``, or an empty list where there is none."""
    try:
        return list(json.loads((folder / "history.json").read_text(encoding="utf-8"))["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def confident_mistakes(measurement: Measurement, count: int) -> list[int]:
    """Return the rows of at most ``count`` wrong answers, the most confident first."""
    wrong = np.flatnonzero(measurement.probabilities.argmax(axis=1) != measurement.truth)
    return [int(i) for i in wrong[np.argsort(-measurement.probabilities[wrong].max(axis=1), kind="stable")][:count]]


def _page(measurement: Measurement, history: Sequence[Mapping[str, Any]], mistakes: int, reason: Reason | None) -> list[str]:
    report = measurement.report
    classes, rows = report["confusion"]["labels"], report["confusion"]["rows"]
    name = escape(str(report["weights"]))
    warning = learnt_warning(report)
    views = {"none": "single view", "flip": "face and mirror image"}.get(str(report["tta"]), f"{report['tta']} views")
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}: evaluation</title><style>{_STYLE}</style></head><body>",
        f"<h1>{name}</h1>",
        f'<p class="quiet">{escape(str(report["split"]))}, truth: {escape(str(report["truth"]))}; labels {escape(str(report["labels"]))}, {views}</p>',
        '<div class="tiles">',
        _accuracy_tile(report),
        _tile(f"{report['n']:,}", "faces"),
        _tile(f"{report['macro_f1']:.3f}", "macro-F1"),
        *([_tile(f"{report['mean_recall']:.1%}", "mean recall")] if report["n"] >= FEW else []),
        _tile(f"{report['ece']:.3f}", "calibration error (ECE)"),
        _tile(f"{report['aurc']:.3f}", "area under the risk-coverage curve"),
        "</div>",
        *([] if warning is None else [f"<section><h2>Learnt from</h2><p><b>{escape(warning)}</b></p></section>"]),
        "<section><h2>By label</h2><table><tr><th>label</th><th>faces</th><th>precision</th><th>F1</th><th>recall</th></tr>",
        *(
            f"<tr><td>{escape(label)}</td><td>{row['n']:,}</td><td>{row['precision']:.3f}</td><td>{row['f1']:.3f}</td><td>{escape(told(row['right'], row['n']))}</td></tr>"
            for label, row in report["per_label"].items()
        ),
        "</table></section>",
        _section(
            "Confusion matrix",
            "Shares of each true label, counts below; counts alone where faces are few.",
            plots.confusion_matrix(classes, rows, FEW),
        ),
        _section(
            "Confidence",
            "Left: does a confidence of 80 % mean right in 80 %? Right: the error that is left if only the most confident faces are answered.",
            plots.reliability_diagram(report["reliability"], report["ece"]),
            plots.coverage_risk_curve(report["coverage_risk"], report["aurc"]),
        ),
    ]
    if history:
        lines.append(_section("Training", f"{len(history)} epochs.", plots.history_curves(history)))
    lines += _gallery(measurement, mistakes, reason)
    lines += _files(measurement)
    if report["skipped"]:
        entries = "".join(f"<li>{escape(reason)}</li>" for _, reason in report["skipped"][:50])
        lines.append(f"<section><h2>Not counted: {len(report['skipped'])}</h2><ul>{entries}</ul></section>")
    return [*lines, f'<p class="quiet" style="margin-top:18px">ferkit {__version__}. Apparent expression, not feeling.</p></body></html>']


def _gallery(measurement: Measurement, count: int, reason: Reason | None) -> list[str]:
    shown = confident_mistakes(measurement, count)
    if not shown:
        return []
    classes = measurement.report["confusion"]["labels"]
    note = "The label, then the prediction with its confidence."
    if reason is not None:
        note += " Below each face what the prediction rests on: orange speaks for it, blue against it."
    lines = [f'<section><h2>Most confident mistakes</h2><p class="quiet">{note}</p><div class="gallery">']
    for row in shown:
        best = int(measurement.probabilities[row].argmax())
        alt = f"{classes[measurement.truth[row]]}, taken for {classes[best]}"
        why = (
            ""
            if reason is None
            else f'<img alt="why {escape(classes[best])}" src="{_uri(plots.face_png(reason(measurement.images[row], best)))}">'
        )
        lines.append(
            f'<figure><img alt="{escape(alt)}" src="{_uri(plots.face_png(measurement.images[row]))}">{why}'
            f"<figcaption>{escape(classes[measurement.truth[row]])}<br><b>{escape(classes[best])}</b> {measurement.probabilities[row, best]:.0%}</figcaption></figure>"
        )
    return [*lines, "</div></section>"]


def _files(measurement: Measurement) -> list[str]:
    """Every face by its file, so that an answer can be looked up; folded, as there may be thousands."""
    if not measurement.files:
        return []
    classes = measurement.report["confusion"]["labels"]
    rows = []
    for number, file in enumerate(measurement.files):
        best = int(measurement.probabilities[number].argmax())
        truth, answer = classes[measurement.truth[number]], classes[best]
        shown = escape(answer) if answer == truth else f"<b>{escape(answer)}</b>"
        rows.append(
            f"<tr><td>{escape(file)}</td><td>{escape(truth)}</td><td>{shown}</td><td>{measurement.probabilities[number, best]:.0%}</td></tr>"
        )
    head = "<tr><th>file</th><th>label</th><th>answer</th><th>confidence</th></tr>"
    return [f"<section><details><summary>All {len(rows):,} files</summary><table>{head}{''.join(rows)}</table></details></section>"]


def _accuracy_tile(report: Mapping[str, Any]) -> str:
    share, _, interval = told(round(report["accuracy"] * report["n"]), report["n"]).partition(" (")
    return _tile(share, f"accuracy, {interval.partition(', n')[0].rstrip(')')}")


def _tile(value: str, title: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(title)}</span></div>'


def _section(title: str, note: str, *pictures: bytes) -> str:
    images = "".join(f'<img alt="{escape(title)}" style="width:{_width(p)}px" src="{_uri(p)}">' for p in pictures)
    return f'<section><h2>{escape(title)}</h2><p class="quiet">{escape(note)}</p><div class="plots">{images}</div></section>'


def _width(png: bytes) -> int:
    return round(int.from_bytes(png[16:20], "big") / 1.3)  # drawn at 130 dots for every 100 of the page


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
