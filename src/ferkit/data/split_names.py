"""Names that data sets give their splits, in folders and in tables, told apart from labels."""

from __future__ import annotations

import re

__all__ = ["FOLDER_OF", "SPLITS", "split_of"]

SPLITS = ("Training", "PublicTest", "PrivateTest")
FOLDER_OF = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}  # what ferkit itself writes and speaks of
_NAMES = {
    "Training": ("train", "training", "trn", "learn"),
    "PublicTest": ("val", "valid", "validate", "validation", "dev", "development", "eval", "evaluation", "publictest"),
    "PrivateTest": ("test", "testing", "tst", "privatetest", "holdout"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}
_FILLERS = ("set", "sets", "data", "dataset", "images", "image", "imgs", "img", "faces", "crops", "split", "folder", "samples", "aligned")


def split_of(name: str) -> str | None:
    """Return the split that a folder's name, or a table's entry, means; None where it means none.

    Capitals, separators and words such as "set" or "images" do not count: ``Train``, ``val_set``, ``test-images``.

    >>> split_of("Valid"), split_of("train_set"), split_of("TestImages"), split_of("happy")
    ('PublicTest', 'Training', 'PrivateTest', None)
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip()).lower())
    joined = "".join(words)
    if joined in _SPLIT_OF:
        return _SPLIT_OF[joined]
    for filler in _FILLERS:  # trainset, testimages
        joined = joined.removesuffix(filler) or joined
    left = [word for word in words if word not in _FILLERS]
    return _SPLIT_OF.get(joined, _SPLIT_OF.get(left[0]) if len(left) == 1 else None)
