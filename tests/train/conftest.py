"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.training import TINY


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path
