"""What a prediction looked at: maps of evidence for each label, on the crop and on the photo, and the check that they mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .checking import Curves as Curves
    from .checking import curves as curves
    from .coloring import overlay as overlay
    from .gradients import grad_cam as grad_cam
    from .occluding import occlusion as occlusion
    from .photo import Explanation as Explanation
    from .photo import explain as explain
    from .photo import sheet as sheet

_HOMES = {
    "Curves": "checking",
    "Explanation": "photo",
    "curves": "checking",
    "explain": "photo",
    "grad_cam": "gradients",
    "occlusion": "occluding",
    "overlay": "coloring",
    "sheet": "photo",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table is the list
__getattr__, __dir__ = attach(__name__, _HOMES)
