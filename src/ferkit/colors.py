"""Colors for categories: as many as there are labels, as far apart as can be, for color-blind eyes too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RGB", "distinct", "in_hex"]

RGB = tuple[int, int, int]

# Okabe and Ito's hues first (Color Universal Design, 2008), then what is farthest from all before it.
_FIRST: tuple[RGB, ...] = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (240, 180, 20), (86, 180, 233))
# "unsure", the paper and the ink: no label may look like them.
_RESERVED: tuple[RGB, ...] = ((110, 110, 110), (240, 240, 240), (30, 30, 30))
# Linear RGB as a protanope and a deuteranope see it (Viénot, Brettel and Mollon, Color Research & Application, 1999).
_PROTAN = ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0))
_DEUTAN = ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0))
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


def in_hex(color: RGB) -> str:
    """Return a color as CSS writes it, ``"#0072b2"``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


@lru_cache(maxsize=128)
def distinct(count: int, taken: tuple[RGB, ...] = ()) -> tuple[RGB, ...]:
    """Return ``count`` colors (RGB, 0-255) that differ from each other and from those that are taken; the same for the same arguments.

    Each is the farthest from all before it among a grid of colors that are neither too light nor too dark (Glasbey, van der
    Heijden, Toh and Gray, "Colour displays for categorical images", Color Research & Application, 2007). The distance is
    CIE 1976 L*a*b*, the least of normal, protanope and deuteranope vision.

    Args:
        count: 0 or more.
        taken: Colors of labels that have one already.
    """
    import numpy as np

    chosen = [color for color in _FIRST if color not in taken][:count]
    if len(chosen) == count:
        return tuple(chosen)
    steps = np.linspace(16, 240, 15).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = _seen(grid)
    fit = (seen[:, 0, 0] > 35) & (seen[:, 0, 0] < 85)
    grid, seen = grid[fit], seen[fit]
    nearest = np.full(len(grid), np.inf)
    for color in (*_RESERVED, *taken, *chosen):
        nearest = np.minimum(nearest, _apart(seen, color))
    while len(chosen) < count:
        best = int(nearest.argmax())
        red, green, blue = (int(value) for value in grid[best])
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, _apart(seen, chosen[-1]))
        nearest[best] = -1.0
    return tuple(chosen)


def _apart(seen: NDArray[np.float64], color: RGB) -> NDArray[np.float64]:
    import numpy as np

    return np.asarray(np.linalg.norm(seen - _seen(np.array([color], np.float64)), axis=2).min(axis=1))


def _seen(rgb: NDArray[np.float64] | Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return L*a*b* of RGB ``(n, 3)``, 0-255, as three kinds of eyes see it, ``(n, 3 eyes, 3)``."""
    import numpy as np

    values = np.asarray(rgb, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    eyes = np.stack([linear, linear @ np.array(_PROTAN).T, linear @ np.array(_DEUTAN).T], axis=1)
    xyz = np.clip(eyes, 0, 1) @ np.array(_TO_XYZ).T / np.array((0.95047, 1.0, 1.08883))  # white: D65
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
