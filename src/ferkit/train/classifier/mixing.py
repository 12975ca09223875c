"""Faces mixed with other faces of their batch, and their targets with them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["mix", "partners"]

Targets = Mapping[str, NDArray[np.float32]]


def _drawn(count: int, rng: np.random.Generator, mixup: float, cutmix: float) -> tuple[bool, float, NDArray[np.int64]]:
    """Draw whether a box is cut, whole faces' share, and whom each face meets."""
    cut = cutmix > 0 and (mixup == 0 or rng.random() < 0.5)
    alpha = cutmix if cut else mixup
    return cut, float(rng.beta(alpha, alpha)), rng.permutation(count)


def partners(count: int, rng: np.random.Generator, *, mixup: float = 0.0, cutmix: float = 0.0) -> NDArray[np.int64]:
    """Return whom each face of a batch will be mixed with, given a generator in the state in which ``mix`` will get its own."""
    return _drawn(count, rng, mixup, cutmix)[2] if mixup or cutmix else np.arange(count)


def mix(
    faces: NDArray[np.float32], targets: Targets, rng: np.random.Generator, *, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Mix a batch with itself in another order.

    Args:
        faces: ``(n, S, S, 1)``.
        targets: ``{head: (n, k)}``.
        rng: Draws the order, the share and the box.
        mixup: Alpha of the Beta distribution of the share of one whole face in another (Zhang et al., "mixup: Beyond Empirical
            Risk Minimization", ICLR 2018); 0: none.
        cutmix: Alpha of the Beta distribution of the area of a box that comes from the other face (Yun et al., "CutMix", ICCV
            2019); 0: none. With both, each batch has one of them, half and half.

    Returns:
        Faces and targets, of the same shapes.
    """
    if not (mixup or cutmix):
        return faces, dict(targets)
    cut, share, order = _drawn(len(faces), rng, mixup, cutmix)
    if cut:
        side = faces.shape[1]
        half = np.sqrt(1.0 - share) * side / 2
        (top, left), (bottom, right) = np.clip(np.round(rng.uniform(0, side, 2)[None] + [[-half], [half]]), 0, side).astype(int)
        faces = faces.copy()
        faces[:, top:bottom, left:right] = faces[order, top:bottom, left:right]
        share = 1.0 - (bottom - top) * (right - left) / side**2
    else:
        faces = share * faces + (1.0 - share) * faces[order]
    return faces.astype(np.float32), {head: (share * t + (1.0 - share) * t[order]).astype(np.float32) for head, t in targets.items()}
