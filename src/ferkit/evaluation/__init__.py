"""Measuring what users run: figures, calibration, comparisons, reports. Needs no Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .comparing import compare as compare
    from .figures import score as score
    from .measuring import Measurement as Measurement
    from .measuring import evaluate as evaluate
    from .measuring import measure as measure
    from .outputs import score_outputs as score_outputs
    from .report import write_report as write_report

# No module here bears the name of a function: importing it would hide the function.
_HOMES = {
    "Measurement": "measuring",
    "compare": "comparing",
    "evaluate": "measuring",
    "measure": "measuring",
    "score": "figures",
    "score_outputs": "outputs",
    "write_report": "report",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table is the list
__getattr__, __dir__ = attach(__name__, _HOMES)
