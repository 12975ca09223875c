"""How a job goes, told to people and to programs: lines of JSON, and a file for the node exporter."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ferkit import InputError
from ferkit.bulk import progress
from ferkit.bulk.progress import Progress
from ferkit.bulk.records import Receipt

RECEIPT: Receipt = {"shard": 3, "images": 20, "faces": 31, "errors": {"io": 2}, "seconds": 0.5, "host": "h", "pid": 7}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the file with every receipt."""
    monkeypatch.setattr(progress, "_EVERY_S", -1.0)


def metrics(path: Path) -> dict[str, str]:
    return dict(line.rsplit(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))


def test_the_file_for_the_node_exporter(tmp_path: Path) -> None:
    path = tmp_path / "faces.prom"
    watch = Progress(metrics=path)
    assert metrics(path)["ferkit_batch_images_total"] == "0"
    watch.start(8, 2, None)
    for _ in range(2):
        watch.receipt(RECEIPT)
    watch.close()
    assert metrics(path) == {
        "ferkit_batch_shards_planned": "8",
        "ferkit_batch_shards_done": "4",
        "ferkit_batch_images_total": "40",
        "ferkit_batch_faces_total": "62",
        'ferkit_batch_errors_total{kind="io"}': "4",
    }
    assert [found.name for found in tmp_path.iterdir()] == ["faces.prom"]


def test_lines_are_the_receipts() -> None:
    lines = io.StringIO()
    watch = Progress(lines)
    watch.start(8, 0, 160)
    watch.receipt(RECEIPT)
    watch.close()
    assert [json.loads(line) for line in lines.getvalue().splitlines()] == [RECEIPT]


def test_a_file_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"faces\.prom cannot be written .*; expected a file in a folder"):
        Progress(metrics=tmp_path / "none" / "faces.prom")


def test_a_file_that_cannot_be_written_any_more_stops_no_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    watch = Progress(metrics=folder / "faces.prom")
    watch.start(8, 0, None)
    (folder / "faces.prom").unlink()
    folder.rmdir()
    for _ in range(3):
        watch.receipt(RECEIPT)
    watch.close()
    assert capsys.readouterr().err.count("cannot be written") == 1
