"""The command itself."""

from __future__ import annotations

from tests.helpers.commands import ferkit


def test_version() -> None:
    import ferkit as package

    assert package.__version__ in ferkit("--version").stdout
