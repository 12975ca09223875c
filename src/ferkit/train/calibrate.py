"""Where the temperature's fit was once; it is in ``ferkit.evaluation.calibration``, which needs no Keras. Programs that hold this name keep working."""

from __future__ import annotations

from ..evaluation.calibration import fit_temperature

__all__ = ["fit_temperature"]
