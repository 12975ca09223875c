"""The same pictures as files, in Parquet, in tars and in a bucket give the same rows; videos give those of ``ferkit video``."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ferkit
from ferkit import InputError
from ferkit.bulk.storage import remote

from ..helpers.jobs import QUICK, rows_of

NAMES = ("image", "shard", "row_in_shard")


def contents(rows: list[dict[str, Any]]) -> list[str]:
    """Return rows without their pictures' names, as a multiset."""
    return sorted(str([value for name, value in row.items() if name not in NAMES]) for row in rows)


@pytest.fixture(scope="module")
def files(pictures: Path) -> list[Path]:
    return sorted(pictures.rglob("*.jpg"))


@pytest.fixture(scope="module")
def wanted(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    output = tmp_path_factory.mktemp("files") / "out"
    ferkit.batch(pictures, output, pipeline=QUICK, workers=1)
    return rows_of(output)


@pytest.mark.parametrize("shape", ["binary", "large_binary", "struct", "list"])
def test_parquet_columns(shape: str, files: list[Path], wanted: list[dict[str, Any]], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = [path.read_bytes() for path in files]
    kinds = {
        "binary": pa.array(data, pa.binary()),
        "large_binary": pa.array(data, pa.large_binary()),
        "struct": pa.array([{"bytes": one, "path": path.name} for one, path in zip(data, files, strict=True)]),
        "list": pa.array([list(one) for one in data], pa.list_(pa.uint8())),
    }
    table = pa.table({"name": [path.name for path in files], "image": kinds[shape]})
    for number in range(2):
        pq.write_table(table.slice(120 * number, 120), tmp_path / f"{number}.parquet", row_group_size=16)
    report = ferkit.batch(tmp_path, tmp_path.parent / f"{tmp_path.name}-out", pipeline=QUICK, shard_images=40, workers=1)
    rows = report.dataset().to_table().to_pylist()
    assert contents(rows) == contents(wanted)
    assert report.shards == 8  # 120 rows in groups of 16: two to a shard, and never a group in two
    assert [row["image"] for row in rows if row["face"] in (None, 0)] == [f"{tmp_path}/{n // 120}.parquet#{n % 120}" for n in range(240)]
    named = ferkit.batch(
        tmp_path, tmp_path.parent / f"{tmp_path.name}-named", pipeline=QUICK, kind="parquet", column="image", key_column="name", workers=1
    )
    assert [row["image"] for row in named.dataset().to_table().to_pylist() if row["face"] in (None, 0)] == [path.name for path in files]


def test_parquet_without_pictures_says_what_it_has(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"name": ["a"], "age": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"columns name, age; say which one"):
        ferkit.batch(tmp_path / "a.parquet", tmp_path / "out", pipeline=QUICK, workers=1)


def test_rows_of_parquet_that_are_no_pictures_are_error_rows(files: list[Path], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([files[0].read_bytes(), None, b"", b"text"], pa.binary())
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"not parquet")
    report = ferkit.batch([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "out", pipeline=QUICK, workers=1)
    found = {row["image"].rpartition("/")[2]: row["error_kind"] for row in report.dataset().to_table().to_pylist() if row["error_kind"]}
    assert found == {"a.parquet#1": "empty", "a.parquet#2": "empty", "a.parquet#3": "not_image", "b.parquet": "damaged"}


def pack(path: Path, files: list[Path], how: str = "w") -> None:
    """Write a tar as WebDataset has them: beside each picture its label, and names with dots, spaces and beyond ASCII."""
    with tarfile.open(path, how, format=tarfile.PAX_FORMAT) as tar:
        for number, file in enumerate(files):
            stem = ["a.b", "with space", "smörgås", "x" * 150][number % 4] + f"-{number:04d}"
            for name, data in ((f"{stem}.jpg", file.read_bytes()), (f"{stem}.cls", b"3")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(("suffix", "how", "shards"), [(".tar", "w", 1), (".tar", "w", 9), (".tar.gz", "w:gz", 1)])
def test_tars(suffix: str, how: str, shards: int, files: list[Path], wanted: list[dict[str, Any]], tmp_path: Path) -> None:
    """Whole, cut where members begin, and compressed."""
    pack(tmp_path / f"a{suffix}", files, how)
    cut = {} if shards == 1 else {"shard_mb": (tmp_path / "a.tar").stat().st_size / 8.5e6}
    report = ferkit.batch(tmp_path / f"a{suffix}", tmp_path / "out", pipeline=QUICK, workers=1, **cut)
    rows = report.dataset().to_table().to_pylist()
    assert contents(rows) == contents(wanted)
    assert report.shards == shards
    assert len({row["image"] for row in rows}) == 240
    assert f"{tmp_path}/a{suffix}#smörgås-0002.jpg" in {row["image"] for row in rows}


@pytest.mark.parametrize("cut", [0, 100, 512])
def test_a_cut_tar_keeps_what_came_before(cut: int, files: list[Path], tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", files)
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: len(data) // 2 + cut])
    (tmp_path / "b.tar").write_bytes(b"no tar at all, but text" * 100)
    report = ferkit.batch([tmp_path / "a.tar", tmp_path / "b.tar"], tmp_path / "out", pipeline=QUICK, workers=1)
    assert report.errors == {"damaged": 2}
    assert 100 < report.images < 140


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of a store on this machine."""
    server = pytest.importorskip("moto.server", reason='needs moto: pip install "moto[server]"')
    patch = pytest.MonkeyPatch()
    store = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        patch.setenv(name, value)
    from pyarrow import fs

    fs.S3FileSystem(allow_bucket_creation=True, endpoint_override=f"http://{host}:{port}").create_dir("pictures")
    yield "s3://pictures"
    store.stop()
    patch.undo()


ODD = ("plain.jpg", "with space.jpg", "smörgås.jpg", "hash#1.jpg", "plus+percent%20.jpg", "question?.jpg", "no-suffix")


def test_a_bucket_in_and_out(bucket: str, files: list[Path], wanted: list[dict[str, Any]], tmp_path: Path) -> None:
    from pyarrow import fs

    store = remote("s3://pictures")[0]
    keys = [f"in/d{n % 3}/{n:03d}-{ODD[n % 6]}" for n in range(240)]
    for key, path in zip(keys, files, strict=True):
        with store.open_output_stream(f"pictures/{key}") as stream:
            stream.write(path.read_bytes())
    output = f"{bucket}/out"
    report = ferkit.batch(f"{bucket}/in", output, pipeline=QUICK, shard_images=60, workers=2)
    rows = report.dataset().to_table().to_pylist()
    assert (report.state, report.errors) == ("done", {})
    assert contents(rows) == contents(wanted)
    assert {row["image"] for row in rows} == {f"{bucket}/{key}" for key in keys}
    listed = {info.path for info in store.get_file_info(fs.FileSelector("pictures/out", recursive=True)) if info.type == fs.FileType.File}
    assert not [path for path in listed if "/parts/" in path or "lock" in path]
    assert ferkit.batch(f"{bucket}/in", output, pipeline=QUICK, shard_images=60).state == "done"
    some = ferkit.batch(f"{bucket}/in/d0/*.jpg", tmp_path / "some", pipeline=QUICK, workers=1)
    assert some.images == 80


def test_missing_keys_of_a_bucket_are_rows_and_a_missing_bucket_is_not(bucket: str, files: list[Path], tmp_path: Path) -> None:
    with remote("s3://pictures")[0].open_output_stream("pictures/few/a.jpg") as stream:
        stream.write(files[0].read_bytes())
    (tmp_path / "names.txt").write_text(f"{bucket}/few/a.jpg\n{bucket}/few/gone.jpg\n")
    report = ferkit.batch([], tmp_path / "out", keys=tmp_path / "names.txt", pipeline=QUICK, workers=1)
    assert (report.errors, report.images) == ({"not_found": 1}, 2)
    with pytest.raises(InputError, match=r"cannot be listed|no pictures"):
        ferkit.batch("s3://no-such-bucket/in", tmp_path / "none", pipeline=QUICK, workers=1)


def test_names_without_a_suffix_are_pictures_when_they_are_asked_for(bucket: str, files: list[Path], tmp_path: Path) -> None:
    with remote("s3://pictures")[0].open_output_stream("pictures/hashed/0123abcd") as stream:
        stream.write(files[0].read_bytes())
    with pytest.raises(InputError, match="no pictures"):
        ferkit.batch(f"{bucket}/hashed", tmp_path / "auto", pipeline=QUICK, workers=1)
    assert ferkit.batch(f"{bucket}/hashed", tmp_path / "out", kind="images", pipeline=QUICK, workers=1).images == 1


def test_a_store_of_fsspec_alone(files: list[Path], tmp_path: Path) -> None:
    """hf:// and others go through fsspec; file-like bytes of its memory store stand for them, in this process."""
    import fsspec

    from ferkit.bulk.listing import listed
    from ferkit.bulk.storage import Place, read

    store = fsspec.filesystem("memory")
    store.pipe("/pictures/a b#c.jpg", files[0].read_bytes())
    from collections import Counter

    (one,) = listed(["memory:///pictures"], "auto", Counter())
    assert read(one.key, "")[0] == files[0].read_bytes()
    place = Place("memory:///out")
    place.put("x/y", b"data")
    assert (place.read("x/y"), place.read("x/z"), [found.name for found in place.list("x")]) == (b"data", None, ["y"])


def test_videos(tmp_path: Path) -> None:
    """Rows as ``ferkit video --table`` writes them; one that is cut and one that has no pictures are error rows; the longest is first."""
    pytest.importorskip("av", reason='needs the extra "video"')
    import pyarrow.parquet as pq
    from click.testing import CliRunner

    from ferkit.cli import main

    films = tmp_path / "films"
    films.mkdir()
    for name, seconds in (("short", 1), ("long", 4), ("cut", 3)):
        film(films / f"{name}.mp4", seconds)
    data = (films / "cut.mp4").read_bytes()
    (films / "cut.mp4").write_bytes(data[: len(data) // 2])
    (films / "text.mp4").write_text("no film")
    report = ferkit.batch(films, tmp_path / "out", weights="fer2013-n-v6", detector="none", workers=2)
    rows = report.dataset().to_table().to_pylist()
    assert report.files == ("frames-0000-of-0001.parquet",)
    assert rows[0]["video"].endswith("long.mp4")
    assert {Path(row["video"]).stem for row in rows if row["error_kind"]} == {"cut", "text"}
    for name in ("short", "long"):
        table = tmp_path / f"{name}.parquet"
        options = ["--weights", "fer2013-n-v6", "--detector", "none", "--min-confidence", "0", "--table", str(table)]
        assert CliRunner().invoke(main, ["video", str(films / f"{name}.mp4"), *options]).exit_code == 0
        wanted = pq.read_table(table).to_pylist()
        found = [row for row in rows if Path(row["video"]).stem == name]
        assert len(found) == len(wanted) > 0
        for one, other in zip(found, wanted, strict=True):
            assert {key: one[key] for key in other} == pytest.approx(other, abs=0.006)


def film(path: Path, seconds: int) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        rng = np.random.default_rng(seconds)
        for _ in range(10 * seconds):
            pixels = rng.integers(0, 255, (96, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())


def test_pictures_and_videos_together_are_refused(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="videos have a table of their own"):
        ferkit.batch([files[0], tmp_path / "a.mp4"], tmp_path / "out", pipeline=QUICK, workers=1)
