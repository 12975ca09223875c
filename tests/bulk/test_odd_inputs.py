"""Names, links, lists and tables as people have them: each is a row or is told of, and none costs the others theirs."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ferkit
from ferkit import InputError
from ferkit.bulk.columns import Rows
from ferkit.bulk.listing import Listed, listed
from ferkit.bulk.options import Options
from ferkit.bulk.plan import Unit, plan, units, write
from ferkit.bulk.reading import items
from ferkit.bulk.storage import Place

from ..helpers.jobs import QUICK, rows_of

NAMES = (
    *("a b.jpg", "smörgås.jpg", "100%.jpg", "%41.jpg", "new\nline.jpg", "#h.jpg", "?q.jpg", "*star.jpg", "[x].jpg", " lead.jpg"),
    *("Case.jpg", "case.jpg", "CASE.JPG", "-dash.jpg", ".hidden.jpg", "quote'\".jpg", "back\\slash.jpg", "s3:x.jpg", "x" * 246 + ".jpg"),
)


@pytest.fixture(scope="module")
def jpeg(pictures: Path) -> bytes:
    return min(pictures.rglob("*.jpg")).read_bytes()


def images(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["image"] for row in rows if row["face"] in (None, 0))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_every_name_that_a_disk_takes(jpeg: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "od d%20#ü"
    folder.mkdir()
    odd = [os.fsencode(name) for name in NAMES] + [b"not-utf8-\xff.jpg", b"not-utf8-\xfe.jpg"]
    for name in odd:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(jpeg)
    there = len(list(folder.iterdir()))
    report = ferkit.batch(folder, tmp_path / "out", pipeline=QUICK, shard_images=7, workers=1)
    found = images(rows_of(tmp_path / "out"))
    assert (report.errors, report.images, len(found)) == ({}, there, there), "names that are not UTF-8 became one"
    assert {f"{folder}/{name}" for name in NAMES} <= set(found) or there < len(odd)
    assert f"{folder}/not-utf8-\\udcff.jpg" in found


@pytest.mark.skipif(os.name == "nt", reason="Windows makes no links for everybody")
def test_links_pipes_and_outputs_in_a_folder(jpeg: bytes, tmp_path: Path) -> None:
    """A circle costs nothing, a link that leads nowhere is a row, and what is not looked into is counted."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg)
    for name, target in {"sub/up": "..", "circle.jpg": "circle.jpg", "nowhere.jpg": "gone.jpg", "link.jpg": "a.jpg"}.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")
    (folder / "earlier" / "_ferkit").mkdir(parents=True)
    (folder / "earlier" / "rows-0000-of-0001.parquet").write_bytes(b"")
    left_out: Counter[str] = Counter()
    found = list(listed([str(folder)], "auto", left_out))
    assert {Path(one.key).name for one in found} == {"a.jpg", "circle.jpg", "nowhere.jpg", "link.jpg"}
    assert left_out == {"(a link to a folder)": 1, "(no file)": 2, "(a job's OUTPUT)": 1}
    kinds = {Path(item.key).name: item.kind for item in items([Unit("images", *one[1:], -1, -1) for one in found], "")}
    assert kinds == {"a.jpg": None, "link.jpg": None, "circle.jpg": "io", "nowhere.jpg": "not_found"}
    (tmp_path / "round").symlink_to("round")
    assert ferkit.batch(tmp_path / "round", tmp_path / "out", pipeline=QUICK, workers=1).errors == {"io": 1}


def test_a_folder_that_holds_output_is_refused_by_a_pattern_too(jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.jpg").write_bytes(jpeg)
    for inputs in ("in", "in/**", "**/*.jpg", "s3://bucket/a"):
        output = "s3://bucket" if "://" in inputs else "in/out"
        with pytest.raises(InputError, match="in one another"):
            ferkit.batch(inputs, output, pipeline=QUICK, dry_run=True)


def test_an_address_of_this_machine_is_a_folder_of_it(jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b%20.jpg").write_bytes(jpeg)
    report = ferkit.batch(f"file://{tmp_path}/in", f"file://{tmp_path}/o ut", pipeline=QUICK, workers=1)
    assert (report.state, report.output) == ("done", f"{tmp_path}/o ut")
    assert set(images(rows_of(tmp_path / "o ut"))) == {f"file://{tmp_path}/in/a b%20.jpg"}


@pytest.fixture
def web(jpeg: bytes, tmp_path: Path) -> Iterator[str]:
    """A server of this machine that has two pictures."""
    folder = tmp_path / "www"
    folder.mkdir()
    for name in ("a.jpg", "b c.jpg"):
        (folder / name).write_bytes(jpeg)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_list_of_addresses_with_some_that_are_none(web: str, jpeg: bytes, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="fsspec needs aiohttp for http://")
    wanted = {
        f"{web}/a.jpg": None,
        f"{web}/b%20c.jpg": None,
        f"{web}/a.jpg?x=1": None,
        f"{web}/gone.jpg": "not_found",
        "nope://x/y.jpg": "not_found",
        "s3://a b/y.jpg": "not_found",
        "nope://x/y.tar": "not_found",
        "nope://x/y.parquet": "not_found",
        str(tmp_path / "gone.jpg"): "not_found",
    }
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*wanted, "", *wanted]).encode())
    ferkit.batch([], tmp_path / "out", keys=names, pipeline=QUICK, workers=1)
    rows = [row for row in rows_of(tmp_path / "out") if row["face"] in (None, 0)]
    assert {row["image"]: row["error_kind"] for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert ferkit.batch(f"{web}/a.jpg", tmp_path / "one", pipeline=QUICK, workers=1).errors == {}


@pytest.mark.parametrize("text", ["", "\n\r\n"])
def test_a_list_without_names_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(InputError, match="names nothing"):
        ferkit.batch([], tmp_path / "out", keys=tmp_path / "names.txt", pipeline=QUICK, dry_run=True)


def test_links_and_twins_in_a_tar(jpeg: bytes, tmp_path: Path) -> None:
    """What a link leads to is not there in a stream: a row says so. Members of the same name each have theirs."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a/b/c.jpg", "a/b/c.jpg", "./x.jpg", "../up.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg)
            tar.addfile(member, io.BytesIO(jpeg))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo(f"link{int(kind)}.jpg")
            member.type, member.linkname = kind, "./x.jpg"
            tar.addfile(member)
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    found = [(item.key.rpartition("#")[2], item.kind) for item in items([Unit("tar", str(path), path.stat().st_size, 0, 0, -1)], "")]
    good = [(name, None) for name in ("a/b/c.jpg", "a/b/c.jpg", "./x.jpg", "../up.jpg")]
    assert found == [*good, ("link2.jpg", "not_image"), ("link1.jpg", "not_image")]


def table_of(path: Path, **columns: Any) -> Unit:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=7)
    return Unit("parquet", str(path), path.stat().st_size, 0, -1, -1)


def test_tables_as_writers_have_them(jpeg: bytes, tmp_path: Path) -> None:
    """Dictionaries, names with dots, names that are missing, and no rows at all, in a row group or in none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = pa.array([jpeg] * 20, pa.binary())
    unit = table_of(tmp_path / "a.parquet", **{"my.image": data.dictionary_encode(), "n": pa.array([None, *range(19)])})
    found = list(items([unit], "", key_column="n"))
    assert [item.key for item in found] == [f"{unit.key}#0", *map(str, range(19))]
    assert {item.data for item in found} == {jpeg}
    with pytest.raises(InputError, match=r"expected one named 'id', as key_column says"):
        list(items([unit], "", key_column="id"))
    table_of(tmp_path / "none.parquet", image=pa.array([], pa.binary()))
    with pq.ParquetWriter(tmp_path / "nothing.parquet", pa.schema([("image", pa.binary())])):
        pass
    for name in ("none", "nothing"):
        report = ferkit.batch(tmp_path / f"{name}.parquet", tmp_path / f"{name}-out", pipeline=QUICK, workers=1)
        assert (report.state, report.images, report.exit_code, report.dataset().count_rows()) == ("done", 0, 0, 0)


def test_a_plan_of_many_groups_is_the_listing_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed in any order and twice, cut by number and by bytes: every name once, shard by shard, as bytes sort."""
    monkeypatch.setattr("ferkit.bulk.plan.GROUP", 3)
    monkeypatch.setattr("ferkit.bulk.plan._ROW_GROUP", 4)
    names = [f"d{n % 5}/{n:03d} ü\udcff.jpg" for n in range(40)]
    found = [Listed("images", name, 7 if n % 2 else -1, n) for n, name in enumerate(names)]
    made = plan([*found[::-1], *found[:9]], Options(shard_images=4, shard_mb=1e-5), first=2)
    place = Place(str(tmp_path))
    groups = write(place, made)
    assert [(group["first"], group["last"]) for group in groups[:2]] == [(2, 4), (5, 7)]
    shards = [units(place, group["plan"], n) for group in groups for n in range(group["first"], group["last"] + 1)]
    told = [unit for shard in shards for unit in shard]
    assert [unit.key for unit in told] == sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))
    assert {unit.key: (unit.size, unit.changed) for unit in told} == {one.key: (one.size, one.changed) for one in found}
    assert (made.pictures, made.shards, made.bytes) == (40, len(shards), 20 * 7)
    assert all(len(shard) <= 4 for shard in shards)
    assert all(sum(max(unit.size, 0) for unit in shard) <= 10 or len(shard) == 1 for shard in shards)


def test_text_that_no_encoding_holds_is_escaped() -> None:
    rows = Rows(("happy",), 0)
    rows.add_error("a\udcff.jpg", 0, "io", "a\udcff.jpg: no")
    assert rows.table()["image"].to_pylist() == ["a\\udcff.jpg"]
