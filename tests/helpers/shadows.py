"""Folders whose files are called as Python's own modules are."""

from __future__ import annotations

from pathlib import Path


def shadowing(folder: Path) -> Path:
    """Return a folder in which no program can be started whose modules are looked for there."""
    folder.mkdir()
    for name in ("signal", "queue", "json", "threading", "pickle"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('the folder has a {name}.py of its own')\n")
    return folder
