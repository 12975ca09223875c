"""``ferkit.batch`` on folders of pictures: its rows, its files, going on, and what it refuses."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ferkit
from ferkit import FerkitError, InputError
from ferkit.bulk.status import status, verify
from ferkit.cli import main

from ..helpers.jobs import QUICK, digests, rows_of


@pytest.fixture(scope="module")
def undisturbed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one worker."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    report = ferkit.batch(pictures, output, pipeline=QUICK, shard_images=30, workers=1)
    assert (report.state, report.images, report.shards, report.missing, report.exit_code) == ("done", 240, 8, 0, 0)
    return output


def test_every_picture_has_its_rows_in_the_order_of_the_names(pictures: Path, undisturbed: Path) -> None:
    rows = rows_of(undisturbed)
    names = list(dict.fromkeys(row["image"] for row in rows))
    assert names == sorted(str(path) for path in pictures.rglob("*.jpg"))
    for name, count in Counter(row["image"] for row in rows).items():
        faces = [row for row in rows if row["image"] == name]
        assert {row["faces"] for row in faces} == ({0} if faces[0]["face"] is None else {count})
    assert all((row["label"] == "happy") == (row["happy"] >= 0.5) for row in rows if row["label"])
    assert all(row["lm1y"] == row["lm1x"] + 1 for row in rows if row["label"])


def test_features_are_a_column(tmp_path: Path, crops: np.ndarray) -> None:
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(crops[:4]):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "4.png").write_bytes(b"no picture")
    options = {"weights": "fer2013-n-v6", "detector": "none", "workers": 1}
    report = ferkit.batch(tmp_path / "in", tmp_path / "out", features=True, **options)
    table = report.dataset().to_table()
    expected = ferkit.ExpressionClassifier("fer2013-n-v6").features(crops[:4])
    assert np.abs(np.array(table["features"].to_pylist()[:4], np.float32) - expected).max() < 1e-4
    assert table["features"].to_pylist()[4] is None
    plain = ferkit.batch(tmp_path / "in", tmp_path / "plain", **options).dataset().to_table()
    assert "features" not in plain.column_names


def test_the_rows_are_those_of_the_pipeline(tmp_path: Path, crops: np.ndarray) -> None:
    for number, pixels in enumerate(crops):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number:02d}.png")
    report = ferkit.batch(tmp_path / "in", tmp_path / "out", weights="fer2013-n-v6", detector="none", shard_images=7, workers=1)
    pipeline = ferkit.Pipeline("none", "fer2013-n-v6")
    rows = report.dataset().to_table().to_pylist()
    assert len(rows) == len(crops)
    for row in rows:
        face = pipeline(row["image"])[0]
        assert (row["x1"], row["y1"], row["x2"], row["y2"]) == pytest.approx(face.box, abs=0.01)
        assert row["label"] == face.expression.label
        assert {name: row[name] for name in pipeline.classifier.labels} == pytest.approx(dict(face.expression.probabilities), abs=1e-6)


def test_two_workers_and_three_parts_in_any_order_write_the_same_bytes(pictures: Path, undisturbed: Path, tmp_path: Path) -> None:
    ferkit.batch(pictures, tmp_path / "two", pipeline=QUICK, shard_images=30, workers=2)
    assert digests(tmp_path / "two") == digests(undisturbed)
    for part in (3, 1, 2):
        assert not (tmp_path / "parts" / "_manifest.json").exists()
        report = ferkit.batch(pictures, tmp_path / "parts", pipeline=QUICK, shard_images=30, workers=1, part=(part, 3))
        assert report.state == ("done" if part == 2 else "partial")
    assert digests(tmp_path / "parts") == digests(undisturbed)


def test_rows_do_not_depend_on_how_shards_are_cut(pictures: Path, undisturbed: Path, tmp_path: Path) -> None:
    ferkit.batch(pictures, tmp_path / "out", pipeline=QUICK, shard_images=77, workers=1)

    def content(output: Path) -> list[dict[str, object]]:
        return [{name: value for name, value in row.items() if name not in ("shard", "row_in_shard")} for row in rows_of(output)]

    assert content(tmp_path / "out") == content(undisturbed)


def test_a_finished_job_is_not_done_again(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = tmp_path / "count"
    monkeypatch.setenv("FERKIT_TEST_COUNT", str(counted))
    for _ in range(2):
        report = ferkit.batch(pictures, tmp_path / "out", pipeline="tests.bulk.models:Counted", shard_images=100, workers=1)
        assert (report.state, report.images) == ("done", 240)
        assert counted.stat().st_size == 240


@pytest.mark.parametrize(("workers", "part", "count"), [(1, None, 1), (3, None, 3), (3, (1, 4), 2)])
def test_the_workers_of_a_new_job_start_together(
    workers: int, part: tuple[int, int] | None, count: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first of them answers; no more of them than there are shards to do."""
    from ferkit.bulk import running

    class Greeted(Exception):
        pass

    def greeting(pool: Any) -> None:
        raise Greeted(len(pool.processes))

    monkeypatch.setattr(running, "_greeting", greeting)
    with pytest.raises(Greeted, match=f"^{count}$"):
        ferkit.batch(pictures, tmp_path / "out", pipeline=QUICK, shard_images=30, workers=workers, part=part)


def test_what_is_missing_is_done_and_nothing_else(
    pictures: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = tmp_path / "count"
    monkeypatch.setenv("FERKIT_TEST_COUNT", str(counted))
    how = {"pipeline": "tests.bulk.models:Counted", "shard_images": 30, "workers": 1}
    ferkit.batch(pictures, tmp_path / "out", part=(1, 4), **how)
    assert counted.stat().st_size == 60
    ferkit.batch(pictures, tmp_path / "out", **how)
    assert counted.stat().st_size == 240
    assert rows_of(tmp_path / "out") == rows_of(undisturbed)
    assert not any((tmp_path / "out" / "_ferkit" / "parts").iterdir())


def damaged(pictures: Path, folder: Path) -> Path:
    """Return a list of 240 names, ten of which cannot be read, each in its way."""
    folder.mkdir()
    names = sorted(str(path) for path in pictures.rglob("*.jpg"))[10:]
    good = Path(names[0]).read_bytes()
    for name, data in {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "text": b"no picture",
        "random": b"\xff\xd8\xff" + bytes(range(200)),
    }.items():
        (folder / f"{name}.jpg").write_bytes(data)
    Image.new("1", (12_000, 10_000)).save(folder / "bomb.png")
    (folder / "folder.jpg").mkdir()
    bad = [*(folder / f"{name}.jpg" for name in ("empty", "cut", "text", "random", "folder", "missing")), folder / "bomb.png"]
    (folder / "names.txt").write_text("\n".join([*names, *map(str, bad)]))
    return folder / "names.txt"


KINDS = {
    "empty": "empty",
    "cut": "damaged",
    "text": "not_image",
    "random": "not_image",
    "folder": "not_image",
    "missing": "not_found",
    "bomb": "pixels",
}


def test_each_unreadable_picture_is_one_row_with_its_kind(pictures: Path, tmp_path: Path) -> None:
    names = damaged(pictures, tmp_path / "bad")
    report = ferkit.batch([], tmp_path / "out", keys=names, weights="fer2013-n-v6", detector="none", shard_images=80, workers=2)
    rows = rows_of(tmp_path / "out")
    assert {Path(row["image"]).stem: row["error_kind"] for row in rows if row["error_kind"]} == KINDS
    assert len(rows) == 237
    assert all(Path(row["image"]).name in row["error"] for row in rows if row["error_kind"])
    assert (report.errors, report.exit_code) == (dict(sorted(Counter(KINDS.values()).items())), 1)


def test_above_the_error_budget_it_stops_and_can_go_on(pictures: Path, tmp_path: Path) -> None:
    names = damaged(pictures, tmp_path / "bad")
    command = ["batch", "--keys", str(names), str(tmp_path / "out"), "--pipeline", QUICK, "--shard-images", "80", "--workers", "1"]
    stopped = CliRunner().invoke(main, [*command, "--max-error-rate", "0.005"])
    assert stopped.exit_code == 3, stopped.output
    assert "could not be read" in stopped.stderr
    assert not (tmp_path / "out" / "_manifest.json").exists()
    done = CliRunner().invoke(main, [*command, "--max-error-rate", "0.5"])
    assert done.exit_code == 1, done.output
    assert CliRunner().invoke(main, ["batch", str(tmp_path / "out"), "--verify"]).exit_code == 0


def test_a_function_that_returns_no_pipeline_is_told(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SimpleNamespace returned SimpleNamespace; expected a ferkit\.Pipeline"):
        ferkit.batch(pictures, tmp_path / "out", pipeline="tests.bulk.models:SimpleNamespace", workers=1)


def test_a_fault_of_the_pipeline_costs_its_pictures_alone(pictures: Path, tmp_path: Path) -> None:
    report = ferkit.batch(pictures, tmp_path / "out", pipeline="tests.bulk.models:Broken", workers=1)
    wrong = [row for row in rows_of(tmp_path / "out") if row["error_kind"]]
    assert 0 < len(wrong) < 60
    assert {(row["error_kind"], row["error"].rpartition(": ")[2]) for row in wrong} == {("crash", "a fault of the pipeline")}
    assert report.images == 240


def test_another_job_in_the_same_place_is_refused_by_what_differs(pictures: Path, undisturbed: Path) -> None:
    with pytest.raises(InputError, match=r"shard_images: 30 then, 31 now"):
        ferkit.batch(pictures, undisturbed, pipeline=QUICK, shard_images=31)
    with pytest.raises(InputError, match="inputs: "):
        ferkit.batch(pictures / "d0", undisturbed, pipeline=QUICK, shard_images=30)
    assert ferkit.batch(pictures, undisturbed, pipeline=QUICK, shard_images=30, workers=7).state == "done"  # which changes no row


def test_a_detector_is_held_against_the_jobs_whatever_it_is_called(tmp_path: Path, crops: np.ndarray) -> None:
    from ferkit.bulk.opening import difference, facts
    from ferkit.bulk.options import Options

    told = [facts(Options(detector=name).identity())["detector sha256"] for name in (None, "ferkit", "ferkit-face-v4")]
    assert len(set(told)) == 1
    here = facts(Options(detector="ferkit-face-v4").identity())
    assert difference({**here, "detector sha256": "another"}, here) == [f"detector sha256: 'another' then, {told[0]!r} now"]
    assert not difference({name: value for name, value in here.items() if name != "detector sha256"}, here)  # as earlier versions planned


def test_other_weights_of_the_same_name_are_refused(tmp_path: Path, crops: np.ndarray) -> None:
    from ferkit.weights.hashes import sha256_of
    from ferkit.weights.store import resolve

    (tmp_path / "in").mkdir()
    Image.fromarray(crops[0]).save(tmp_path / "in" / "a.png")
    weights = tmp_path / "weights"
    shutil.copytree(resolve("fer2013-n-v6"), weights)
    how = {"weights": weights, "detector": "none", "workers": 1}
    ferkit.batch(tmp_path / "in", tmp_path / "out", **how)
    spec = json.loads((weights / "spec.json").read_text())
    name = next(iter(spec["files"]))
    data = (weights / name).read_bytes() + b"\n"
    (weights / name).write_bytes(data)
    spec["files"][name] = {"sha256": sha256_of(data), "size": len(data)}
    (weights / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(InputError, match="weights sha256: "):
        ferkit.batch(tmp_path / "in", tmp_path / "out", **how)


def test_update_does_what_is_new_or_changed(tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(pictures / "d0", folder)
    how = {"pipeline": QUICK, "shard_images": 20, "workers": 1}
    ferkit.batch(folder, tmp_path / "out", **how)
    before = rows_of(tmp_path / "out")
    shutil.copytree(pictures / "d1", folder / "more")
    changed = sorted(folder.glob("*.jpg"))[7]
    shutil.copy(next((pictures / "d2").iterdir()), changed)
    assert ferkit.batch(folder, tmp_path / "out", **how).images == 60  # nobody asked
    report = ferkit.batch(folder, tmp_path / "out", update=True, **how)
    assert (report.state, report.images, report.errors) == ("done", 120, {})
    after = rows_of(tmp_path / "out")
    assert [row for row in after if "more" not in row["image"] and row["image"] != str(changed)] == [
        row for row in before if row["image"] != str(changed)
    ]
    assert len({row["image"] for row in after}) == 120
    fresh = ferkit.batch(folder, tmp_path / "fresh", **how).dataset().to_table().to_pylist()
    place = ("shard", "row_in_shard")
    strip = lambda rows: sorted((tuple((k, v) for k, v in row.items() if k not in place) for row in rows), key=str)  # noqa: E731
    assert strip(after) == strip(fresh)


def test_update_takes_what_is_named_twice_once(tmp_path: Path, pictures: Path) -> None:
    """Also a table of several row groups, which the plan has as often."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "in").mkdir()
    data = [path.read_bytes() for path in sorted((pictures / "d0").iterdir())[:12]]
    pq.write_table(pa.table({"image": pa.array(data, pa.binary())}), tmp_path / "in" / "a.parquet", row_group_size=4)
    notes: list[str] = []
    how: dict[str, Any] = {"pipeline": QUICK, "shard_images": 4, "workers": 1}
    for folder, count in ((pictures / "d0", 60), (tmp_path / "in", 12)):
        output = tmp_path / f"out{count}"
        inputs = [folder, min(folder.iterdir())]
        assert ferkit.batch(inputs, output, **how).images == count
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ferkit.bulk.running.Quiet.note", lambda _, text: notes.append(text))
            report = ferkit.batch(inputs, output, update=True, **how)
        assert (report.state, report.images, notes) == ("done", count, [])


def test_a_picture_that_changed_since_the_plan_says_so(tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(pictures / "d0", folder)
    how = {"pipeline": QUICK, "shard_images": 20, "workers": 1}
    ferkit.batch(folder, tmp_path / "out", part=(1, 3), **how)
    changed = sorted(folder.glob("*.jpg"))[30]
    changed.write_bytes(changed.read_bytes() + b" ")
    report = ferkit.batch(folder, tmp_path / "out", **how)
    assert report.errors == {"changed": 1}
    assert [row["image"] for row in rows_of(tmp_path / "out") if row["error_kind"] == "changed"] == [str(changed)]
    assert ferkit.batch(folder, tmp_path / "out", update=True, **how).errors == {}


def test_retry_errors_does_the_shards_again_whose_errors_may_be_gone(tmp_path: Path, pictures: Path) -> None:
    names = sorted(str(path) for path in (pictures / "d0").glob("*.jpg"))
    late = tmp_path / "late.jpg"
    (tmp_path / "names.txt").write_text("\n".join([*names, str(late), str(tmp_path / "never.jpg")]))
    how = {"keys": tmp_path / "names.txt", "pipeline": QUICK, "shard_images": 20, "workers": 1}
    assert ferkit.batch([], tmp_path / "out", **how).errors == {"not_found": 2}
    stale = digests(tmp_path / "out")
    shutil.copy(names[0], late)
    report = ferkit.batch([], tmp_path / "out", retry_errors=True, **how)
    assert (report.state, report.errors, report.images) == ("done", {"not_found": 1}, 62)
    assert digests(tmp_path / "out") != stale
    assert sum(row["image"] == str(late) and row["error_kind"] is None for row in rows_of(tmp_path / "out")) >= 1
    assert len({row["image"] for row in rows_of(tmp_path / "out")}) == 62


def test_verify_finds_a_flipped_byte_a_missing_and_an_extra_file(undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)

    def wrong() -> str:
        result = CliRunner().invoke(main, ["batch", str(output), "--verify"])
        return f"{result.exit_code} {result.stderr}"

    assert wrong().startswith("0")
    plain = CliRunner().invoke(main, ["batch", str(output), "--verify", "--format", "json"])
    assert json.loads(plain.stdout) == {"output": str(output), "wrong": []}
    rows = output / "rows-0000-of-0001.parquet"
    data = bytearray(rows.read_bytes())
    data[len(data) // 2] ^= 1
    rows.write_bytes(data)
    assert "expected" in wrong()
    rows.unlink()
    assert "is missing" in wrong()
    (output / "extra.parquet").write_bytes(b"")
    assert wrong().startswith("1")
    assert "extra.parquet is not a file of this job" in wrong()


def spoiled(data: bytes) -> Iterator[bytes]:
    for place in (0, len(data) // 2, len(data) - 9):
        yield data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
    yield data[: len(data) // 2]
    yield b""


def test_any_damaged_file_of_a_job_is_told_of(undisturbed: Path, pictures: Path, tmp_path: Path) -> None:
    """Every file, changed, cut and emptied: whoever reads it says so, or needs it not; and --verify finds all but how long shards took."""
    output = tmp_path / "out"
    how: dict[str, Any] = {"pipeline": QUICK, "shard_images": 30, "workers": 1}
    names = [path.relative_to(undisturbed) for path in undisturbed.rglob("*") if path.is_file()]
    assert len(names) == 5
    for name in names:
        for data in spoiled((undisturbed / name).read_bytes()):
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(undisturbed, output)
            (output / name).write_bytes(data)
            found: list[object] = []
            for ask in (verify, status, partial(ferkit.batch, pictures, **how), partial(ferkit.batch, pictures, update=True, **how)):
                try:
                    found.append(ask(output if ask not in (verify, status) else str(output)))
                except FerkitError as error:
                    found.append(str(error))
            assert found[0] or name.parent.name == "receipts", (name, found)


def test_a_finished_job_whose_rows_are_gone_makes_them_anew(undisturbed: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    (output / "rows-0000-of-0001.parquet").unlink()
    assert status(str(output))["state"] == "stopped"
    assert ferkit.batch(pictures, output, pipeline=QUICK, shard_images=30, workers=1).state == "done"
    assert digests(output) == digests(undisturbed)
    assert verify(str(output)) == []


def test_status_tells_how_far_it_is(pictures: Path, tmp_path: Path) -> None:
    ferkit.batch(pictures, tmp_path / "out", pipeline=QUICK, shard_images=30, workers=1, part=(1, 2))
    result = CliRunner().invoke(main, ["batch", str(tmp_path / "out"), "--status", "--format", "json"])
    told = json.loads(result.stdout)
    assert (told["state"], told["shards"], told["done"], told["images"], told["held_by"]) == ("stopped", 8, 4, 120, [])
    assert len(told["slowest"]) == 4
    assert CliRunner().invoke(main, ["batch", str(pictures), "--status"]).exit_code == 2


def test_dry_run_writes_nothing_and_tells_what_is_left_out(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(pictures / "d0", folder)
    (folder / "notes.txt").write_text("a note")
    result = CliRunner().invoke(main, ["batch", str(folder), str(tmp_path / "out"), "--dry-run", "--shard-images", "25"])
    assert result.exit_code == 0
    assert "60 entries (60 images)" in result.stderr
    assert "3 shards" in result.stderr
    assert "1 .txt" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_same_picture_named_twice_is_done_once(pictures: Path, tmp_path: Path) -> None:
    report = ferkit.batch([pictures / "d0", pictures, str(pictures / "d1" / "*.jpg")], tmp_path / "out", pipeline=QUICK, workers=1)
    assert report.images == 240


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "fer2013-n-v6", "tta": "flip"}, r"reads with what it opens itself, and not with weights, tta; leave these out"),
        ({"runtime": "onnxruntime"}, "not with runtime"),
        (
            {"labels": "ferplus", "detector": "none", "detector_model": "m", "min_confidence": 0.5},
            "not with labels, detector, detector_model",
        ),
        ({"fps": 2}, "fps=2 is for videos; these inputs are of kind images"),
        ({"every": 2, "kind": "images"}, "every=2 is for videos"),
        ({"column": "image"}, "column='image' is for Parquet input"),
        ({"key_column": "id", "kind": "images"}, "key_column='id' is for Parquet input"),
        ({"max_side": 640, "kind": "video"}, "max_side=640 is for pictures; these inputs are of kind video"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    options: dict[str, Any], said: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more in ({"dry_run": True}, {"workers": 1}):
        with pytest.raises(InputError, match=said):
            ferkit.batch(pictures / "d0", tmp_path / "out", pipeline=QUICK, **options, **more)
    assert not (tmp_path / "out" / "_ferkit" / "job.json").exists()
    if "video" not in options.values() and "detector_model" not in options:
        monkeypatch.setattr("ferkit.bulk.options.Options.check_new", lambda *_: None)  # as an earlier version planned
        ferkit.batch(pictures / "d0", tmp_path / "out", pipeline=QUICK, workers=1, **options)
        monkeypatch.undo()
        assert ferkit.batch(pictures / "d0", tmp_path / "out", pipeline=QUICK, workers=1, **options).state == "done"


def test_names_can_be_hashed(pictures: Path, tmp_path: Path) -> None:
    names = damaged(pictures, tmp_path / "bad")
    ferkit.batch([], tmp_path / "out", keys=names, pipeline=QUICK, workers=1, hash_keys=True)
    rows = rows_of(tmp_path / "out")
    assert {len(row["image"]) for row in rows} == {64}
    assert {row["error"] for row in rows} == {None}
    assert b".jpg" not in (tmp_path / "out" / "rows-0000-of-0001.parquet").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["in", "in/out"], "in one another"),
        (["in", "note.txt/out"], "is a file; expected a folder"),
        (["out"], "INPUT or OUTPUT is missing"),
        (["empty", "out"], "no pictures"),
        (["in", "out", "--part", "4/3"], "expected I/N"),
        (["in", "out", "--pipeline", "nowhere.at.all:f"], "no module"),
        (["in", "out", "--pipeline", "no_spec:f"], "no module"),
        (["out", "--status"], "holds no batch job"),
    ],
)
def test_usage_errors(arguments: list[str], said: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(pictures / "d0", tmp_path / "in")
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("not a folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "no_spec", ModuleType("no_spec"))  # as the __main__ of a script, or of a notebook
    result = CliRunner().invoke(main, ["batch", *arguments])
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_labels_named_as_columns_are_refused() -> None:
    from ferkit.bulk.columns import schema

    with pytest.raises(InputError, match="labels named score"):
        schema(["happy", "score"])


def test_forty_shards_are_one_file_that_everybody_reads(pictures: Path, tmp_path: Path) -> None:
    """pyarrow, pandas, Polars and DuckDB read the folder's file alike; the manifest's hash and rows are true."""
    output = tmp_path / "out"
    report = ferkit.batch(pictures, output, pipeline=QUICK, shard_images=6, workers=1)
    assert (report.shards, report.files) == (40, ("rows-0000-of-0001.parquet",))
    path, count = output / report.files[0], len(rows_of(output))
    (told,) = json.loads((output / "_manifest.json").read_text())["files"]
    assert (told["rows"], told["sha256"]) == (count, digests(output)[path.name])
    named = sorted(str(row["image"]) for row in rows_of(output))
    readers = {
        "pandas": lambda module: sorted(module.read_parquet(path)["image"]),
        "polars": lambda module: sorted(module.read_parquet(path)["image"].to_list()),
        "duckdb": lambda module: sorted(row[0] for row in module.sql(f"select image from '{output}/*.parquet'").fetchall()),
    }
    for name, read in readers.items():
        if importlib.util.find_spec(name) is not None:
            assert read(importlib.import_module(name)) == named, name


def test_a_finished_job_asks_the_store_for_no_picture(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a second run start a worker: what is done is told by the manifest."""
    how = {"pipeline": QUICK, "shard_images": 60, "workers": 1}
    ferkit.batch(pictures, tmp_path / "out", **how)

    def nobody(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("ferkit.bulk.local.Pool.add", nobody)
    assert ferkit.batch(pictures, tmp_path / "out", **how).state == "done"


def test_a_group_is_made_of_parts_that_are_asked_for_once(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where machines die every few seconds, and each request may fail, a slow compaction would never come to its end."""
    from ferkit.bulk.commit import compact
    from ferkit.bulk.job import Job
    from ferkit.bulk.storage import Place

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("ferkit.bulk.driving.Drive._done", lambda *_: None)  # which would have the parts made into a file
        patch.setattr("ferkit.bulk.driving.Drive.groups", lambda *_: None)
        ferkit.batch(pictures, output, pipeline=QUICK, shard_images=30, workers=1)
    asked: list[str] = []
    for name in ("read", "open"):
        method = getattr(Place, name)
        monkeypatch.setattr(Place, name, lambda self, what, method=method: (asked.append(what), method(self, what))[1])
    place = Place(str(output))
    job = Job.read(place)
    assert job is not None
    compact(place, job, 0)
    assert sorted(name for name in asked if "/parts/" in name) == [f"_ferkit/parts/0000/part-{n:07d}.parquet" for n in range(8)]
    assert len(rows_of(output)) > 200


def test_parts_that_were_left_when_a_process_died_are_let_go(pictures: Path, tmp_path: Path) -> None:
    """The file is there and whole, some of its parts are too: no more is done, and nothing stays."""
    output, how = tmp_path / "out", {"pipeline": QUICK, "shard_images": 30, "workers": 1}
    ferkit.batch(pictures, output, **how)
    before = digests(output)
    left = output / "_ferkit" / "parts" / "0000" / "part-0000003.parquet"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"whatever")
    (output / "_manifest.json").unlink()
    assert ferkit.batch(pictures, output, **how).state == "done"
    assert digests(output) == before
    assert not left.exists()
