"""Finding pictures of the same moment: exact copies by their bytes, near copies by a thumbnail. Needs no Keras."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..resizing import resized_to

__all__ = ["NEAR", "Looks", "digests", "groups", "groups_of", "near_pairs", "thumbnails"]

_SIDE = 16
# Correlation of two thumbnails from which faces count as near copies. Chosen by looking at 98 pairs of FER2013 between
# 0.95 and 0.995: every one was the same picture, scaled, watermarked or lit a little differently.
NEAR = 0.95
_BLOCK = 2048
_TOGETHER = 256  # faces that are looked at together


def digests(faces: NDArray[np.uint8]) -> list[str]:
    """Return the SHA-256 of every face ``(n, H, W)``: equal for equal pixels, whatever the file."""
    return [hashlib.sha256(np.ascontiguousarray(face).tobytes()).hexdigest() for face in faces]


def thumbnails(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return faces ``(n, H, W)`` as small pictures of zero mean and unit length, float32 ``(n, 256)``.

    The scalar product of two is then their correlation, which does not see brightness and contrast. A picture of one
    grey has no shape to compare: its row is zero, and it is near nothing.
    """
    if not len(faces):
        return np.zeros((0, _SIDE * _SIDE), np.float32)
    small = np.stack([resized_to(face, _SIDE, _SIDE) for face in faces]).reshape(len(faces), -1)
    rows = small.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.zeros_like(rows), where=length > _SIDE), np.float32)  # a grey level of deviation


def near_pairs(rows: NDArray[np.float32], others: NDArray[np.float32] | None = None, near: float = NEAR) -> NDArray[np.int64]:
    """Return the pairs ``(m, 2)`` of thumbnails that correlate above ``near``.

    Args:
        rows: ``(n, d)``, from ``thumbnails``.
        others: ``(k, d)``; the second column counts these. None compares ``rows`` with themselves, each pair once.
        near: 0-1.
    """
    against = rows if others is None else others
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(rows), _BLOCK):
        first = start if others is None else 0
        for low in range(first, len(against), _BLOCK):
            i, j = np.nonzero(rows[start : start + _BLOCK] @ against[low : low + _BLOCK].T > near)
            pairs = np.column_stack([i + start, j + low])
            found.append(pairs[pairs[:, 0] < pairs[:, 1]] if others is None else pairs)
    return np.concatenate(found)


@dataclass(frozen=True)
class Looks:
    """What is compared of faces: two kilobytes each, so that the faces themselves need not be held.

    Attributes:
        digests: As of ``digests``.
        rows, mirrored: Thumbnails of the faces and of their mirror images, float32 ``(n, 256)`` each.
    """

    digests: Sequence[str]
    rows: NDArray[np.float32]
    mirrored: NDArray[np.float32]

    @classmethod
    def of(cls, faces: Iterable[NDArray[np.uint8]]) -> Looks:
        """Return those of faces ``(H, W)`` of one size, which are read a few at a time."""
        content, rows, mirrored = list[str](), [np.zeros((0, _SIDE * _SIDE), np.float32)], [np.zeros((0, _SIDE * _SIDE), np.float32)]
        stream = iter(faces)
        while some := list(islice(stream, _TOGETHER)):
            block = np.stack(some)
            content += digests(block)
            rows.append(thumbnails(block))
            mirrored.append(thumbnails(np.ascontiguousarray(block[:, :, ::-1])))
        return cls(content, np.concatenate(rows), np.concatenate(mirrored))

    @classmethod
    def joined(cls, parts: Sequence[Looks]) -> Looks:
        """Return those of several sets of faces, one after the other."""
        return cls(
            [digest for part in parts for digest in part.digests],
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.mirrored for part in parts]),
        )


def groups(faces: NDArray[np.uint8], near: float = NEAR) -> NDArray[np.int64]:
    """Return for every face ``(n, H, W)`` the number of its group: copies, near copies and their mirror images share one.

    Nearness is chained: if a is near b and b near c, all three are one group.
    """
    return groups_of(Looks.of(faces), near)


def groups_of(looks: Looks, near: float = NEAR) -> NDArray[np.int64]:
    """Return what ``groups`` does, from what is compared."""
    parent = np.arange(len(looks.digests))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halve the path on the way up
            i = int(parent[i])
        return i

    for i, j in _links(looks, near):
        parent[root(j)] = root(i)
    roots = np.array([root(i) for i in range(len(parent))], np.int64)
    return np.asarray(np.unique(roots, return_inverse=True)[1], np.int64)


def _links(looks: Looks, near: float) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for number, digest in enumerate(looks.digests):
        yield first.setdefault(digest, number), number
    yield from ((int(i), int(j)) for i, j in near_pairs(looks.rows, near=near))
    yield from ((int(i), int(j)) for i, j in near_pairs(looks.rows, looks.mirrored, near) if i < j)
