"""20,000 pictures in a Parquet column, in 40 shards, are one file that every reader reads alike.

python benchmarks/batch_readers.py

Ten files of Hugging Face's struct, row groups of 100; a pipeline that answers by the pictures' hashes. Spark is asked where it is installed.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import ferkit

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for the tests' pipeline, here and in the workers


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number % 256, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue() + number.to_bytes(4, "big")


def spark(folder: Path) -> list[str]:
    session = importlib.import_module("pyspark.sql").SparkSession
    opened = session.builder.master("local[2,4]").config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1").getOrCreate()
    found = sorted(row[0] for row in opened.read.parquet(str(folder)).select("image").collect())
    opened.stop()
    return found


def readers(folder: Path, path: Path) -> dict[str, Callable[[Any], list[str]]]:
    return {
        "pandas": lambda module: sorted(module.read_parquet(path)["image"]),
        "polars": lambda module: sorted(module.read_parquet(path)["image"].to_list()),
        "duckdb": lambda module: sorted(row[0] for row in module.sql(f"select image from '{folder}/*.parquet'").fetchall()),
        "pyspark": lambda _: spark(folder),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "in").mkdir()
        for file in range(10):
            numbers = range(2000 * file, 2000 * (file + 1))
            images = pa.array([{"bytes": picture(number), "path": None} for number in numbers])
            table = pa.table({"id": [f"p{number:05d}" for number in numbers], "image": images})
            pq.write_table(table, root / "in" / f"{file}.parquet", row_group_size=100)
        began = time.perf_counter()
        report = ferkit.batch(root / "in", root / "out", key_column="id", pipeline="tests.bulk.models:Quick", shard_images=500, workers=2)
        rows = report.dataset().to_table()
        names = sorted(rows["image"].to_pylist())
        print(
            f"{report.images} pictures, {report.shards} shards, {len(report.files)} file, {rows.num_rows} rows, {time.perf_counter() - began:.1f} s"
        )
        print(f"names: {len(set(names))}; error rows: {sum(report.errors.values())}")
        path = root / "out" / report.files[0]
        (told,) = json.loads((root / "out" / "_manifest.json").read_text())["files"]
        print(f"manifest: rows {told['rows'] == rows.num_rows}, sha256 {told['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()}")
        for module, read in readers(root / "out", path).items():
            said = (
                f"{version(module)}, the same rows: {read(importlib.import_module(module)) == names}"
                if find_spec(module)
                else "not installed"
            )
            print(f"{module}: {said}", flush=True)


if __name__ == "__main__":
    main()
