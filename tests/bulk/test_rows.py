"""``ferkit.bulk.rows``: alone, and called by other people's engines."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit import InputError, LabelSet
from ferkit.bulk import rows

from ..helpers.broken import blind_to
from .models import Quick

pa = pytest.importorskip("pyarrow", reason='needs the extra "batch"')


@pytest.fixture(scope="module")
def table(pictures: Path) -> Any:
    """240 pictures, and ten that are none."""
    files = sorted(pictures.rglob("*.jpg"))
    data = [path.read_bytes() for path in files] + [b"", b"text", None, *[b"\xff\xd8\xff" + bytes([n]) for n in range(7)]]
    return pa.table({"name": [path.name for path in files] + [f"bad{n}" for n in range(10)], "image": pa.array(data, pa.binary())})


@pytest.fixture(scope="module")
def wanted(table: Any) -> list[str]:
    return contents(rows(table, key="name", pipeline=Quick()))


def contents(found: Any) -> list[str]:
    """Return rows as a multiset: engines cut tables as they like, so the row's number in its piece is left out."""
    names = [name for name in found.schema.names if name != "row_in_shard"]
    return sorted(map(str, found.select(names).to_pylist()))


def row_schema() -> Any:
    return rows(pa.table({"name": pa.array([], pa.string()), "image": pa.array([], pa.binary())}), key="name", pipeline=Quick()).schema


def test_rows_are_those_of_batch(table: Any, wanted: list[str], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, tmp_path / "in.parquet")
    report = ferkit.batch(tmp_path / "in.parquet", tmp_path / "out", key_column="name", pipeline="tests.bulk.models:Quick", workers=1)
    assert contents(report.dataset().to_table()) == wanted
    assert report.errors == {"empty": 2, "not_image": 8}


def test_a_bad_picture_is_a_row(table: Any) -> None:
    found = rows(table, key="name", pipeline=Quick())
    assert sum(kind is not None for kind in found["error_kind"].to_pylist()) == 10
    assert rows(table.slice(0, 0), pipeline=Quick()).num_rows == 0


def test_memory_that_there_is_not_is_a_row(table: Any) -> None:
    class Greedy(Quick):
        def __call__(self, *_: Any, **__: Any) -> Any:
            raise MemoryError("no room")

    assert rows(table.slice(0, 2), key="name", pipeline=Greedy())["error_kind"].to_pylist() == ["crash"] * 2


def test_an_answer_that_is_not_a_number_is_a_row(monkeypatch: pytest.MonkeyPatch, crops: Any) -> None:
    blind_to(monkeypatch, (200, 200, 200))
    pictures = []
    for pixels in (crops[0], np.full((48, 48, 3), 200, np.uint8)):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    found = rows(pa.table({"image": pictures}), pipeline=ferkit.Pipeline("none")).to_pylist()
    assert [row["error_kind"] for row in found] == [None, "crash"]
    assert "answers nan for 1 of 1 faces" in found[1]["error"]


def test_columns_are_named_when_they_are_not_there(table: Any) -> None:
    with pytest.raises(InputError, match=r"columns name, image; expected one named 'picture', as image says"):
        rows(table, image="picture", pipeline=Quick())
    with pytest.raises(InputError, match=r"expected one named 'id', as key says"):
        rows(table, key="id", pipeline=Quick())


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_answers_that_have_no_columns_are_refused_at_once(table: Any, kind: str) -> None:
    class Several(Quick):
        classifier = SimpleNamespace(labels=LabelSet("own", ("valence", "arousal"), kind=kind), name="several")

    with pytest.raises(InputError, match="A batch job needs weights that choose one of several classes; several answers"):
        rows(table, pipeline=Several())


def test_the_default_pipeline_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.bulk import tables

    one = pa.table({"image": pa.array([b"text"], pa.binary())})
    tables._default.cache_clear()
    for _ in range(2):
        assert rows(one)["error_kind"].to_pylist() == ["not_image"]
    assert tables._default.cache_info().misses == 1


def test_dask(table: Any, wanted: list[str]) -> None:
    dask = pytest.importorskip("dask", reason='needs dask: pip install "dask[dataframe]"')
    pieces = [dask.delayed(rows)(table.slice(n, 60), key="name", pipeline=Quick()) for n in range(0, 250, 60)]
    assert contents(pa.concat_tables(dask.compute(*pieces, scheduler="threads"))) == wanted


def test_daft(table: Any, wanted: list[str]) -> None:
    daft = pytest.importorskip("daft", reason="needs daft: pip install daft")
    frame = daft.from_arrow(table).into_batches(64)
    found = [rows(piece, key="name", pipeline=Quick()) for piece in frame.to_arrow_iter()]
    assert contents(pa.concat_tables([piece if isinstance(piece, pa.Table) else pa.table(piece) for piece in found])) == wanted


@pytest.mark.slow
def test_spark(table: Any, wanted: list[str], tmp_path: Path) -> None:
    """``mapInArrow``; four tries a task, since ``local[2]`` alone ends the job with the first Python process that dies."""
    import os
    import shutil
    import subprocess
    import sys

    import pyarrow.parquet as pq

    pytest.importorskip("pyspark", reason="needs pyspark: pip install pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=64)
    script = """
import sys
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from ferkit.bulk import rows
from tests.bulk.models import Quick

def work(batches):
    for batch in batches:
        yield from rows(pa.Table.from_batches([batch]), key="name", pipeline=Quick()).to_batches()

empty = pa.table({"name": pa.array([], pa.string()), "image": pa.array([], pa.binary())})
spark = SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1").getOrCreate()
schema = from_arrow_schema(rows(empty, key="name", pipeline=Quick()).schema)
spark.read.parquet(sys.argv[1]).mapInArrow(work, schema).write.parquet(sys.argv[2])
spark.stop()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "SPARK_LOCAL_IP": "127.0.0.1"}
    environment |= {"PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", script, tmp_path / "in.parquet", tmp_path / "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    import pyarrow.dataset as ds

    assert contents(ds.dataset(tmp_path / "out").to_table()) == wanted
