"""Names, links, lists and tables as people have them: each is a row or is told of, and none costs the others theirs."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ferkit
from ferkit import InputError
from ferkit.bulk.columns import Rows
from ferkit.bulk.found import FoundFaces
from ferkit.bulk.listing import Listed, listed
from ferkit.bulk.local import Pool
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
    paths = {str(path) for path in folder.iterdir()}
    assert set(FoundFaces(tmp_path / "out").of(paths)) == paths


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are UTF-8 there")
def test_pictures_below_a_folder_that_is_not_utf8_are_found_again(jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    (here / "in").mkdir(parents=True)
    (here / "in" / "a.jpg").write_bytes(jpeg)
    monkeypatch.chdir(here)
    ferkit.batch("in", tmp_path / "out", pipeline=QUICK, workers=1)
    wanted = {str(here / "in" / "a.jpg")}
    assert set(FoundFaces(tmp_path / "out").of(wanted)) == wanted


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


@pytest.mark.skipif(os.name == "nt", reason="Windows makes no links for everybody")
def test_what_a_pattern_matches_and_nobody_reads_is_counted(jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "day-1").mkdir()
    for name in ("day-2.jpg", "day-1/a.jpg"):
        (tmp_path / name).write_bytes(jpeg)
    (tmp_path / "day-3.jpg").symlink_to("gone.jpg")
    os.mkfifo(tmp_path / "day-4.jpg")
    left_out: Counter[str] = Counter()
    assert [Path(one.key).name for one in listed([f"{tmp_path}/day-*"], "auto", left_out)] == ["day-2.jpg", "day-3.jpg"]
    assert left_out == {"(a folder)": 1, "(no file)": 1}
    left_out.clear()
    assert [Path(one.key).name for one in listed([f"{tmp_path}/**/*.jpg"], "auto", left_out)] == ["a.jpg", "day-2.jpg", "day-3.jpg"]
    assert left_out == {"(no file)": 1}


def test_a_folder_that_holds_output_is_refused_by_a_pattern_too(jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.jpg").write_bytes(jpeg)
    here = f"file://{tmp_path}/in"
    for inputs, output in (
        *((inputs, "in/out") for inputs in ("in", "in/**", "**/*.jpg", here)),
        ("in", f"{here}/out"),
        (here, f"{here}/out"),
        ("s3://bucket/a", "s3://bucket"),
    ):
        with pytest.raises(InputError, match="in one another"):
            ferkit.batch(inputs, output, pipeline=QUICK, dry_run=True)


def test_an_address_of_this_machine_is_a_folder_of_it(jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b%20.jpg").write_bytes(jpeg)
    report = ferkit.batch(f"file://{tmp_path}/in", f"file://{tmp_path}/o ut", pipeline=QUICK, workers=1)
    assert (report.state, report.output) == ("done", f"{tmp_path}/o ut")
    assert set(images(rows_of(tmp_path / "o ut"))) == {f"file://{tmp_path}/in/a b%20.jpg"}


def test_a_line_that_a_death_cut_is_no_answer() -> None:
    for cut in (b'{"done": ', b"12"):
        pool = Pool("", {}, None, 60)
        worker = SimpleNamespace(pipe=SimpleNamespace(stdout=[b"3\n", b'{"done": 1}\n', cut]), at=None, heard=0.0)
        pool._listen(worker)  # type: ignore[arg-type]
        assert [pool._said.get_nowait()[1] for _ in range(2)] == [b'{"done": 1}\n', b""]
        assert worker.at == 3


@pytest.mark.parametrize("name", ["signal", "queue"])
def test_a_folder_whose_files_are_called_as_pythons_modules(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with Pool(str(tmp_path / "out"), Options(pipeline=QUICK).identity(), None, 60) as pool:
        pool.add()
        answer = pool.next(wait=60)
    assert answer is not None
    assert answer.told is not None


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


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be"])
def test_a_list_in_another_encoding_is_refused(codec: str, tmp_path: Path) -> None:
    """As PowerShell writes it: its names would all have zeros in them."""
    mark = b"\xfe\xff" if codec == "utf-16-be" else b""
    (tmp_path / "names.txt").write_bytes(mark + "a.jpg\r\nb.jpg\r\n".encode(codec))
    with pytest.raises(InputError, match=r"names\.txt is UTF-16; expected UTF-8"):
        ferkit.batch([], tmp_path / "out", keys=tmp_path / "names.txt", pipeline=QUICK, dry_run=True)


@pytest.mark.parametrize("names", [["a.jpg", None], [1, 2], [b"a.jpg"]])
def test_entries_of_a_list_that_are_no_text_are_refused(names: list[object], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"key": names}), tmp_path / "names.parquet")
    with pytest.raises(InputError, match=r"^keys=.*names\.parquet has .* in the column key; expected names as text"):
        ferkit.batch([], tmp_path / "out", keys=tmp_path / "names.parquet", pipeline=QUICK, dry_run=True)


def test_a_name_that_no_file_can_have_is_a_row_among_others(jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg)
    keys = ["a.jpg", "zero\0.jpg", "a.jpg", "x" * 300 + ".jpg"]
    found = items([Unit("images", key, -1, 0, -1, -1) for key in keys], str(tmp_path))
    assert [item.kind for item in found] == [None, "not_found", None, "io"]


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


WRONG: dict[str, Any] = {
    "workers": ("2", 2.5, True, 0),
    "shard_images": (2.5, "many", -1),
    "max_side": (3.5, "1280"),
    "shard_mb": ("a", float("nan")),
    "memory": ("2",),
    "timeout": ("soon", 0),
    "fps": ("a", 0),
    "every": (-1,),
    "max_error_rate": ("5%", 5, float("nan")),
    "part": ("1/2", (1,), (1, 2, 3), (1.0, 2), (0, 2), 1),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_option_that_is_no_such_number_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"^{name}=.*; expected "):
        Options(**{name: value})


@pytest.mark.parametrize("inputs", [None, 5, b"folder", [b"folder"], [None], [["a"]], "", [""], [bytes(5)]], ids=repr)
def test_inputs_that_are_no_names_are_refused(inputs: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path"):
        ferkit.batch(inputs, tmp_path / "out", pipeline=QUICK, dry_run=True)


def test_any_collection_of_names_is_taken(jpeg: bytes, tmp_path: Path) -> None:
    names = [tmp_path / f"{number}.jpg" for number in range(3)]
    for name in names:
        name.write_bytes(jpeg)
    for inputs in ((name for name in names), set(names), dict.fromkeys(names), dict.fromkeys(map(str, names)).keys()):
        assert ferkit.batch(inputs, tmp_path / "out", pipeline=QUICK, dry_run=True).images == 3


def packed(path: Path, mode: str, data: bytes) -> Path:
    with tarfile.open(path, mode) as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar.bz2", "w:bz2"), (".tbz2", "w:bz2"), (".tar.xz", "w:xz"), (".txz", "w:xz"), (".tgz", "w:gz")]
)
def test_compressed_tars(suffix: str, mode: str, jpeg: bytes, tmp_path: Path) -> None:
    """Whole, and with each of some bytes changed: what is read is right, and what cannot be read is a row."""
    path = packed(tmp_path / f"a{suffix}", mode, jpeg)
    assert [one.kind for one in listed([str(tmp_path)], "auto", Counter())] == ["tar"]
    data = path.read_bytes()
    unit = Unit("tar", str(path), len(data), 0, 0, -1)
    assert [item.data for item in items([unit], "")] == [jpeg] * 3
    for place in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        found = list(items([unit], ""))
        assert len(found) >= 3 or found[-1].kind == "damaged", place


@pytest.mark.parametrize("name", ["a.zip", "a.tar.zst", "A.7Z", "a.jpg.gz", "a.rar"])
def test_an_archive_that_is_not_read_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(InputError, match="is an archive that is not read; expected it unpacked, or a tar"):
        ferkit.batch(tmp_path / name, tmp_path / "out", pipeline=QUICK, dry_run=True)


def test_a_tar_in_a_tar_is_a_row(jpeg: bytes, tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.tar", "w", jpeg)
    with tarfile.open(tmp_path / "outer.tar", "w") as tar:
        tar.add(inner, "deep/inner.tar")
    found = list(items([Unit("tar", str(tmp_path / "outer.tar"), -1, 0, 0, -1)], ""))
    assert [(item.key.rpartition("#")[2], item.kind) for item in found] == [("deep/inner.tar", "not_image")]
    assert "is a tar in a tar" in found[0].error


def test_cells_that_are_no_bytes_are_rows(jpeg: bytes, tmp_path: Path) -> None:
    """Whatever the type of the column that was named: the job goes on."""
    import pyarrow as pa

    columns = {
        "whole": pa.array([3, 10**12, None]),
        "real": pa.array([1.5, None]),
        "truth": pa.array([True]),
        "text": pa.array(["a.jpg"]),
        "time": pa.array([1], pa.timestamp("s")),
        "decimal": pa.array([1], pa.decimal128(5, 2)),
        "texts": pa.array([["a"]]),
        "wholes": pa.array([[300, -1], [None], list(jpeg)]),
        "structs": pa.array([[{"bytes": jpeg}]]),
        "map": pa.array([[("a", jpeg)]], pa.map_(pa.string(), pa.binary())),
    }
    for name, column in columns.items():
        found = list(items([table_of(tmp_path / f"{name}.parquet", image=column)], "", column="image"))
        assert len(found) == len(column)
        assert all(item.data == jpeg if item.kind is None else item.kind in ("empty", "not_image") for item in found), (name, found)


def test_a_column_of_views_holds_pictures(jpeg: bytes, tmp_path: Path) -> None:
    """As polars writes them."""
    import pyarrow as pa

    unit = table_of(tmp_path / "a.parquet", pic=pa.array([jpeg, None], pa.binary_view()))
    assert [(item.data, item.kind) for item in items([unit], "")] == [(jpeg, None), (None, "empty")]


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip"])
def test_a_damaged_table_is_a_row_and_not_the_end(codec: str, jpeg: bytes, tmp_path: Path) -> None:
    """Any byte of it: its head, its pages, its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array([jpeg] * 9, pa.binary())}), path, compression=codec, row_group_size=4)
    data, seen = path.read_bytes(), Counter[str]()
    for place in (*range(0, len(data) - 300, len(data) // 30), *range(len(data) - 300, len(data), 7)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        try:
            found = list(items([Unit("parquet", str(path), len(data), 0, -1, -1)], ""))
        except InputError as error:
            assert "has the columns" in str(error), place  # the column's name is what was changed
            continue
        seen.update(str(item.kind) for item in found)
        assert len(found) == 9 or found[-1].kind == "damaged", (place, found)
    assert seen["damaged"]
    (tmp_path / "list.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"list\.parquet cannot be read"):
        ferkit.batch([], tmp_path / "out", keys=tmp_path / "list.parquet", pipeline=QUICK)


def test_a_table_that_may_not_be_read_is_a_row(tmp_path: Path) -> None:
    for kind, name in (("parquet", "a.parquet"), ("tar", "a.tar")):
        (tmp_path / name).mkdir()
        (item,) = items([Unit(kind, str(tmp_path / name), -1, 0, -1, -1)], "")
        assert item.kind == "not_image"
        assert "is a folder; expected a" in item.error
