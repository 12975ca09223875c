"""Copies and near copies."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit.data.near_copies import groups, near_pairs, thumbnails
from tests.helpers.faces import picture

pytestmark = pytest.mark.train


def test_near_copies_are_found_and_others_are_not() -> None:
    faces = np.stack([picture(k, n) for k in range(3) for n in range(4)])
    darker = (faces[0] * 0.7).astype(np.uint8)
    moved = np.roll(faces[5], 1, axis=1)
    mirrored = faces[7, :, ::-1]
    flat = np.full((2, 48, 48), 90, np.uint8)
    flat[1] = 91
    everything = np.stack([*faces, darker, moved, mirrored, faces[2], *flat])
    group = groups(everything)
    assert group[12] == group[0]
    assert group[13] == group[5]
    assert group[14] == group[7]
    assert group[15] == group[2]
    assert len(set(group)) == 12 + 2  # two greys have no shape to be near in
    assert near_pairs(thumbnails(faces[:3]), thumbnails(everything)).tolist() == [[0, 0], [0, 12], [1, 1], [2, 2], [2, 15]]
