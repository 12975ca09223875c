"""Names that data sets give their splits, in folders and in tables, told apart from labels."""

from __future__ import annotations

import re

__all__ = ["FOLDER_OF", "SPLITS", "split_of", "split_within"]

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
    words = _words(name)
    joined = "".join(words)
    for whole in (joined, "".join(reversed(words))):  # test_private too
        if whole in _SPLIT_OF:
            return _SPLIT_OF[whole]
    for filler in _FILLERS:  # trainset, testimages
        joined = joined.removesuffix(filler) or joined
    left = [word for word in words if word not in _FILLERS]
    return _SPLIT_OF.get(joined, _SPLIT_OF.get(left[0]) if len(left) == 1 else None)


def split_within(name: str) -> str | None:
    """Return the split that one of a name's words means, whatever the others say; None where none does, or two do.

    What it finds is a guess, for folders of which all are called so.

    >>> split_within("FER2013Train"), split_within("val_class"), split_within("train_test"), split_within("happy")
    ('Training', 'PublicTest', None, None)
    """
    found = {split for word in _words(name) if (split := split_of(word)) is not None}
    return split_of(name) or (found.pop() if len(found) == 1 else None)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.strip()).lower())
