"""Other names of FER2013's labels."""

from __future__ import annotations

import pytest

from ferkit.data.label_names import canonical, columns_of

pytestmark = pytest.mark.train


def test_aliases() -> None:
    assert canonical(" Happiness") == "happy"
    assert canonical("bored") == "bored"
    assert columns_of(["sadness", "happy"], ["angry", "happy", "sad"]) == [2, 1]
    assert columns_of(["happy", "joy"], ["happy", "sad"]) is None  # both would be one column
    assert columns_of(["bored"], ["happy", "sad"]) is None
    assert columns_of(["happiness"], ["happy", "happiness"]) == [1]  # an equal name wins
