"""Child processes: where they find modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ferkit
from ferkit.orphans import search_path


def test_what_python_itself_passes_over_on_its_path_is_no_place_for_a_child() -> None:
    """A program may have put a Path there, which finds it nothing: films of an application failed of it."""
    folders: Any = ["", "/first", Path("/second"), b"/third", "/first", "/last"]
    assert search_path(folders).split(os.pathsep) == ["/first", "/last", str(Path(ferkit.__file__).parents[1])]
