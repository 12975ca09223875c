"""``ferkit export``: what the page and single files have to do with each other, which is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import ferkit


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--web", "page"], "--web needs --onnxruntime-web"),
        (["fer2013-n-v6", "--out", "files", "--onnxruntime-web", "ort"], "add --web FOLDER"),
        (["fer2013-n-v6"], "Missing WEIGHTS or --out"),
    ],
)
def test_what_is_lacking_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = ferkit("export", *options)
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
