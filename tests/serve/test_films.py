"""Films in the service: jobs, their limits, their results, and what becomes of them when a worker dies."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets"):
    pytest.importorskip(module, reason="needs ferkit[serve]")
for module in ("av", "scipy", "pyarrow"):
    pytest.importorskip(module, reason="needs ferkit[video]")

from ferkit.serve import film as reading  # noqa: E402
from ferkit.serve.film import containers  # noqa: E402
from ferkit.serve.jobs import Jobs  # noqa: E402
from ferkit.serve.problems import Problem  # noqa: E402
from ferkit.serve.settings import Settings  # noqa: E402
from tests.helpers import films  # noqa: E402
from tests.helpers.film_of_three import film_of_three  # noqa: E402
from tests.helpers.serving import Coming, Service, running  # noqa: E402
from tests.helpers.shadows import shadowing  # noqa: E402
from tests.helpers.waiting import until  # noqa: E402


def ask(url: str, method: str = "GET", body: bytes | None = None, kind: str = "video/mp4") -> tuple[int, Any, dict[str, str]]:
    """Return status, body (JSON as values) and headers."""
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body is not None else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, data, headers = answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        status, data, headers = error.code, error.read(), dict(error.headers)
    return status, json.loads(data) if "json" in headers.get("Content-Type", headers.get("content-type", "")) else data, headers


def finished(url: str) -> Any:
    until(lambda: ask(url)[1]["state"] in ("done", "failed"), f"the end of {url}", 240)
    return ask(url)[1]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film_of_three(tmp_path_factory.mktemp("films") / "short.mp4", 2).read_bytes()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("jobs"), "--max-jobs", "3", "--max-video-megabytes", "2", "--max-video-seconds", "30") as running:
        yield running


@pytest.mark.slow
def test_a_film_becomes_rows_events_and_a_copy(service: Service, short: bytes) -> None:
    status, job, headers = ask(f"{service.url}/v1/video?labels=fer2013", "POST", short)
    assert (status, job["state"], job["labels"]) == (202, "waiting", "fer2013")
    url = f"{service.url}{headers.get('location') or headers['Location']}"
    assert url.endswith(job["id"])
    done = finished(url)
    assert (done["state"], done["error"], done["cut"], done["warning"]) == ("done", None, False, None)
    assert done["results"] == ["rows", "events", "copy"]
    assert {round(person["end_s"]) for person in done["people"]} == {2}
    rows = list(csv.DictReader(io.StringIO(ask(f"{url}/rows")[1].decode())))
    assert {row["track_id"] for row in rows} == {str(person["track_id"]) for person in done["people"]} == {"1", "2", "3"}
    assert ask(f"{url}/events")[1]["people"] == done["people"]
    request = urllib.request.Request(f"{url}/copy", headers={"Range": "bytes=4-7"})
    with urllib.request.urlopen(request, timeout=30) as answer:  # players ask for parts
        assert (answer.status, answer.read()) == (206, b"ftyp")
    assert ask(url, "DELETE")[0] == 204
    status, body, _ = ask(url)
    assert (status, body["error"]["code"]) == (404, "no_such_job")


@pytest.mark.slow
def test_films_beyond_the_limits(service: Service, short: bytes) -> None:
    for body, kind, expected in (
        (b"", "video/mp4", (400, "empty")),
        (b"#EXTM3U\nfile:///etc/passwd\n", "video/mp4", (415, "unsupported_type")),
        (short, "multipart/form-data; boundary=x", (415, "unsupported_type")),
        (short + bytes(2_000_001), "video/mp4", (413, "too_large")),
    ):
        status, answer, _ = ask(f"{service.url}/v1/video", "POST", body, kind)
        assert (status, answer["error"]["code"]) == expected
    status, answer, _ = ask(f"{service.url}/v1/jobs/{'../' * 7}x", "DELETE")
    assert status == 404
    job = ask(f"{service.url}/v1/video", "POST", short[:64] + bytes(2000))[1]
    failed = finished(f"{service.url}/v1/jobs/{job['id']}")
    assert (failed["state"], failed["error"]["code"]) == ("failed", "damaged")
    assert "/" not in failed["error"]["message"].split("Run:")[0].replace("and/or", ""), "the message names a path of the service"
    status, answer, _ = ask(f"{service.url}/v1/jobs/{job['id']}/rows")
    assert (status, answer["error"]["code"]) == (409, "not_ready")
    assert failed["error"]["message"] in answer["error"]["message"], "it is told to ask again, and never comes"


@pytest.mark.slow
def test_a_film_can_be_stopped_and_makes_room(service: Service, tmp_path: Path) -> None:
    long = film_of_three(tmp_path / "long.mp4", 40).read_bytes()
    jobs = []
    until(lambda: ask(f"{service.url}/healthz")[0] == 200, "the service")
    for _ in range(3):
        status, job, _ = ask(f"{service.url}/v1/video", "POST", long)
        assert status == 202
        jobs.append(f"{service.url}/v1/jobs/{job['id']}")
    status, answer, _ = ask(f"{service.url}/v1/video", "POST", long)
    assert (status, answer["error"]["code"]) == (503, "busy")
    until(lambda: ask(jobs[0])[1]["frames"] > 0, "the first frames", 120)
    assert 0 < ask(jobs[0])[1]["progress"] < 1
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text
    for job in jobs:
        assert ask(job, "DELETE")[0] == 204
        assert ask(job)[0] == 404
    until(lambda: not children().split(), "the end of the process that read the film")
    until(lambda: ask(f"{service.url}/v1/video", "POST", long)[0] == 202, "room for another film")


@pytest.mark.slow
def test_a_longer_film_is_read_up_to_the_limit(tmp_path: Path) -> None:
    film = film_of_three(tmp_path / "film.mp4", 5).read_bytes()
    with Service(tmp_path, "--max-video-seconds", "2") as service:
        job = ask(f"{service.url}/v1/video?copy=0", "POST", film)[1]
        done = finished(f"{service.url}/v1/jobs/{job['id']}")
    assert done["cut"]
    assert done["time_s"] < 2
    assert done["results"] == ["rows", "events"]


@pytest.mark.slow
def test_a_killed_worker_loses_its_own_films_only(tmp_path: Path) -> None:
    film = film_of_three(tmp_path / "film.mp4", 30).read_bytes()
    with Service(tmp_path, "--workers", "2", "--max-jobs", "8") as service:
        jobs = []
        owners: dict[str, int] = {}
        folder = next(Path(path) for path in _temporary(service))
        while len(set(owners.values())) < 2 and len(jobs) < 12:
            job = ask(f"{service.url}/v1/video?copy=0", "POST", film)[1]["id"]
            jobs.append(job)
            owners[job] = json.loads((folder / job / "request.json").read_text())["worker"]
            time.sleep(0.2)
        assert len(set(owners.values())) == 2, "one worker took all uploads"
        killed = owners[jobs[-1]]
        os.kill(killed, signal.SIGKILL)
        mine = [job for job in jobs if owners[job] == killed]
        for job in mine:
            until(lambda job=job: ask(f"{service.url}/v1/jobs/{job}")[1].get("state") == "failed", "the loss to be told", 60)
            assert ask(f"{service.url}/v1/jobs/{job}")[1]["error"]["code"] == "worker_lost"
        other = next(job for job in jobs if owners[job] != killed)
        assert finished(f"{service.url}/v1/jobs/{other}")["state"] == "done"
    assert not folder.exists(), "films are left behind"


def _temporary(service: Service) -> list[str]:
    import tempfile

    return [str(path) for path in Path(tempfile.gettempdir()).glob(f"ferkit-jobs-{service.process.pid}-*")]


@pytest.mark.slow
def test_a_film_whose_process_is_ended_by_the_system_says_so_and_the_service_goes_on(service: Service, tmp_path: Path) -> None:
    long = film_of_three(tmp_path / "long.mp4", 40).read_bytes()
    until(lambda: ask(f"{service.url}/v1/video", "POST", long[:9])[0] != 503, "room for a film")
    job = f"{service.url}/v1/jobs/{ask(f'{service.url}/v1/video', 'POST', long)[1]['id']}"
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text
    until(lambda: ask(job)[1]["frames"] > 0, "the first frames", 120)
    (pid,) = children().split()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "800", "where memory runs out, the service would be ended"
    os.kill(int(pid), signal.SIGKILL)
    failed = finished(job)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "out_of_memory")
    assert ask(f"{service.url}/healthz")[0] == 200


KINDS = ("rows.csv", "events.json", "copy.mp4")
ASKED: Any = {"weights_name": "w-v1", "labels_name": "photos"}


def test_a_film_that_made_room_at_the_last_moment_is_busy_and_not_an_error_of_ours(tmp_path: Path) -> None:
    async def sent() -> None:
        jobs, slow = Jobs(Settings(max_jobs=1, jobs_folder=str(tmp_path))), Coming(slow=True)
        name, folder = await jobs.place(slow)
        await jobs.place(Coming())
        assert (slow.given_up, folder.exists()) == (True, False)
        with pytest.raises(Problem, match="made room for another") as raised:
            await jobs.submit(name, ASKED)
        assert raised.value.status == 503

    asyncio.run(sent())


def test_what_windows_left_of_an_upload_that_made_room_goes_with_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose film is still being written stays there."""

    async def sent() -> None:
        jobs = Jobs(Settings(max_jobs=1, jobs_folder=str(tmp_path)))
        name, folder = await jobs.place(Coming(slow=True))
        with monkeypatch.context() as patched:
            patched.setattr("ferkit.serve.jobs.remove_folder", lambda _: None)
            _, other = await jobs.place(Coming())
        assert folder.exists()
        jobs.give_up(name)
        assert (folder.exists(), other.exists()) == (False, True)

    asyncio.run(sent())


def test_who_asks_for_a_copy_that_is_not_there_is_told_why(tmp_path: Path) -> None:
    """It may have been asked for: then to ask for it again is no advice."""

    async def asked() -> None:
        jobs = Jobs(Settings(jobs_folder=str(tmp_path)))
        name, folder = await jobs.place(Coming())
        (folder / "request.json").write_text(json.dumps({**ASKED, "worker": os.getpid()}))
        for state, kind, expected in (
            ("running", "copy", (409, "The film is running; ask again")),
            ("running", "mask", (404, "No result of a film has that name; expected one of rows, events, copy.")),
            ("done", "mask", (404, "No result of a film has that name")),
            ("done", "copy", (404, "sent with copy=0, or its copy was left out, and the job's warning says why.")),
        ):
            reading.write_state(folder, {"state": state})
            with pytest.raises(Problem) as raised:
                jobs.result(name, kind)
            assert raised.value.status == expected[0]
            assert expected[1] in raised.value.message

    asyncio.run(asked())


def test_the_state_is_told_though_windows_refuses_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces no file that another process has open, and opens none that is being replaced: a film that was asked for was given up."""
    refusals: list[str] = []

    def refusing(name: str) -> Any:
        step = getattr(Path, name)

        def tried(path: Path, *args: Any, **kwargs: Any) -> Any:
            refusals.append(name)
            if refusals.count(name) < 3:
                raise PermissionError(13, "The process cannot access the file")
            return step(path, *args, **kwargs)

        return tried

    for name in ("replace", "read_text"):
        monkeypatch.setattr(Path, name, refusing(name))
    reading.write_state(tmp_path, {"state": "waiting"})
    assert reading.read_state(tmp_path) == {"state": "waiting"}
    assert sorted(refusals) == ["read_text"] * 3 + ["replace"] * 3
    monkeypatch.setattr(reading, "_PAUSE_S", 0)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "not yours")))
    with pytest.raises(PermissionError, match="not yours"):
        reading.write_state(tmp_path, {"state": "running"})


@pytest.mark.parametrize("step", ["_make", "submit"])
def test_a_disk_without_room_is_busy_whatever_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bytes, step: str) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Jobs, step, full)
    with running(detector="none", jobs_folder=str(tmp_path)) as client:
        answer = client.post("/v1/video", content=short)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
        assert "no room for this film" in answer.json()["error"]["message"]
    assert not list(tmp_path.iterdir())


def test_a_film_whose_process_cannot_be_started_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was waiting for ever."""

    async def refuse(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0)
        raise OSError(errno.EAGAIN, "no more processes")

    async def sent() -> None:
        jobs = Jobs(Settings(jobs_folder=str(tmp_path)))
        name, folder = await jobs.place(Coming())
        (folder / "film").write_bytes(b"film")
        await jobs.submit(name, ASKED)
        await asyncio.gather(*jobs._tasks)
        state = jobs.state(name)
        assert (state["state"], state["error"]["code"], (folder / "film").exists()) == ("failed", "internal", False)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    asyncio.run(sent())


def test_a_film_is_read_in_a_folder_with_modules_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bytes) -> None:
    from ferkit.serve.films import _limits

    async def sent() -> Any:
        settings = Settings(jobs_folder=str(tmp_path / "jobs"), detector="none")
        jobs = Jobs(settings)
        name, folder = await jobs.place(Coming())
        (folder / "film").write_bytes(short)
        told = {"weights": None, "labels": "photos", "unsure": 0.5, "copy": False, "blur": False}
        await jobs.submit(name, {**ASKED, **told, **_limits(settings)})
        await asyncio.gather(*jobs._tasks)
        return jobs.state(name)

    monkeypatch.chdir(shadowing(tmp_path / "here"))
    assert asyncio.run(sent())["state"] == "done"


def test_a_film_that_is_removed_while_it_waits_is_gone_at_once(tmp_path: Path) -> None:
    async def sent() -> None:
        mine, other = (Jobs(Settings(max_jobs=1, jobs_folder=str(tmp_path))) for _ in range(2))
        async with mine._turn:  # another film is being read
            for remover in (mine, other):
                name, folder = await mine.place(Coming())
                (folder / "film").write_bytes(b"film")
                await mine.submit(name, ASKED)
                await remover.remove(name)
                assert not (folder / "film").exists()
                assert folder.exists() == (remover is other), "its worker removes the rest"
                with pytest.raises(Problem, match="No such job"):
                    await remover.remove(name)
        await asyncio.gather(*mine._tasks)
        assert not list(tmp_path.iterdir())

    asyncio.run(sent())


def test_a_film_that_another_worker_removed_gives_its_place_free_before_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferkit.serve.jobs._SWEEP_S", 0.01)

    async def sent() -> None:
        mine, other = (Jobs(Settings(max_jobs=1, jobs_folder=str(tmp_path))) for _ in range(2))
        mine.start()
        async with mine._turn, asyncio.timeout(60):  # another film is being read
            name, folder = await mine.place(Coming())
            (folder / "film").write_bytes(b"film")
            await mine.submit(name, ASKED)
            await other.remove(name)
            while folder.exists():
                await asyncio.sleep(0.01)
            await mine.place(Coming())
        await mine.stop()

    asyncio.run(sent())


def test_films_need_an_event_loop_that_starts_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has two, and uvicorn takes the other one for several workers."""
    from ferkit.serve import films as routes

    offered = SimpleNamespace(by_name=True)
    for system, why in (("posix", None), ("nt", "on Windows it does with one worker only")):

        async def asked(system: str = system) -> str | None:
            jobs = Jobs(Settings(jobs_folder="jobs"))
            with monkeypatch.context() as patched:
                patched.setattr("ferkit.serve.jobs.os", SimpleNamespace(name=system))
                jobs.start()
            await jobs.stop()
            return routes.why_no_films(offered, jobs)  # type: ignore[arg-type]

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            told = runner.run(asked())
        assert told is None if why is None else why in str(told)


def test_a_system_may_tidy_its_temporary_folder_up(tmp_path: Path) -> None:
    async def sent() -> None:
        jobs = Jobs(Settings(jobs_folder=str(tmp_path / "jobs")))
        _, folder = await jobs.place(Coming())
        shutil.rmtree(tmp_path / "jobs")
        assert jobs._expired() == []
        _, folder = await jobs.place(Coming())
        assert folder.is_dir()

    asyncio.run(sent())


def test_turned_faces_are_looked_for_in_films_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bytes) -> None:
    from ferkit.serve.films import _limits

    asked: list[Any] = []

    def opened(_: Any, rotations: Any, **__: Any) -> None:
        asked.append(rotations)
        raise KeyboardInterrupt  # it is known

    monkeypatch.setattr(reading, "open_detector", opened)
    (tmp_path / "film").write_bytes(short)
    for given, wanted in (((), None), ((0, 180), [0, 180])):
        limits = json.loads(json.dumps(_limits(Settings(rotations=given))))
        with pytest.raises(KeyboardInterrupt):
            reading._read(tmp_path, {**ASKED, "weights": None, "labels": "photos", "unsure": 0.5, "copy": False, "blur": False, **limits})
        assert asked[-1] == wanted


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_copy_that_cannot_be_written_is_told_and_its_rows_are_kept(tmp_path: Path) -> None:
    """Half of it could not be played."""
    from ferkit.serve.films import _limits

    films.write(tmp_path / "film", films.plain(40), form="mp4")
    (tmp_path / "copy.mp4").symlink_to("/dev/full")
    limits = _limits(Settings(detector="none"))
    reading._read(tmp_path, {**ASKED, "weights": None, "labels": "photos", "unsure": 0.5, "copy": True, "blur": False, **limits})
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["state"] == "done"
    told = "The annotated copy was left out: copy.mp4 cannot be written (No space left on device); is the disk full?"
    assert state["warning"] == told
    assert not (tmp_path / "copy.mp4").is_symlink()
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 41, "the reading went on"


@pytest.mark.parametrize(
    ("most", "kept", "told"),
    [
        (20_000, {"rows.csv", "events.json"}, "more than 0.02 MB, twice what a film may have."),
        (1000, set(), "The rows are more than 0.001 MB"),
    ],
    ids=["copy", "rows"],
)
def test_what_grows_beyond_what_a_film_may_take_is_left_out(tmp_path: Path, most: int, kept: set[str], told: str) -> None:
    """In a process of its own, as the service reads: the bound is a process's. A copy ended the reading where it grew too large."""
    from ferkit.serve.films import _limits

    pytest.importorskip("resource", reason="Windows has no such bounds")
    films.write(
        tmp_path / "film", [np.random.default_rng(seed).integers(0, 256, (120, 160, 3), np.uint8) for seed in range(40)], form="mp4"
    )
    limits = {**_limits(Settings(detector="none")), "max_bytes": most}
    asked = {**ASKED, "weights": None, "labels": "photos", "unsure": 0.5, "copy": most > 1000, "blur": False, **limits}
    (tmp_path / "request.json").write_text(json.dumps(asked))
    subprocess.run([sys.executable, "-m", "ferkit.serve.film", str(tmp_path)], check=True, timeout=120)
    state = json.loads((tmp_path / "state.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} & set(KINDS) == kept
    if not kept:
        assert (state["state"], state["error"]["code"]) == ("failed", "too_long")
        assert told in state["error"]["message"]
        return
    assert state["state"] == "done"
    assert told in state["warning"]
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 41, "the reading went on"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_rows_for_which_there_is_no_room_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve.films import _limits

    films.write(tmp_path / "film", films.plain(5), form="mp4")
    (tmp_path / "rows.csv").symlink_to("/dev/full")
    limits = _limits(Settings(detector="none"))
    asked = {**ASKED, "weights": None, "labels": "photos", "unsure": 0.5, "copy": False, "blur": False, **limits}
    (tmp_path / "request.json").write_text(json.dumps(asked))
    monkeypatch.setattr(reading, "_limit", lambda _: None)  # which are for a process of its own
    reading.main(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["state"], state["error"]["code"]) == ("failed", "no_room")
    assert {path.name for path in tmp_path.iterdir()} == {"request.json", "state.json"}


def test_what_a_film_is_is_told_by_its_bytes() -> None:
    assert containers(b"\x00\x00\x00\x20ftypisom")
    assert containers(b"\x1aE\xdf\xa3rest")
    assert containers(b"G" + bytes(187) + b"G" + bytes(200))
    for other in (
        b"",
        b"#EXTM3U\n",
        b"ffconcat version 1.0\nfile x",
        b"\xff\xd8\xff\xe0",
        b"GIF89a" + bytes(400),
        b"<?xml version='1.0'?><MPD/>",
    ):
        assert not containers(other)


def test_folders_of_a_service_that_was_killed_are_removed_whatever_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container every service is process 1, so that the number of a killed one is that of the next."""
    import tempfile

    from ferkit.serve.folders import remove_stale_folders, temporary_folder

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = tmp_path / f"ferkit-jobs-{os.getpid()}-left"
    killed.mkdir()
    (killed / "held").touch()
    with temporary_folder("jobs") as running:
        remove_stale_folders()
        assert [path.name for path in tmp_path.iterdir()] == [Path(running).name]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("early", [False, True], ids=["before its lock", "before its file"])
def test_a_folder_that_is_taken_for_a_dead_services_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    import tempfile

    from ferkit.serve import folders

    pytest.importorskip("fcntl", reason="Windows has no such locks")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened, others = os.open, []

    def before_the_lock(path: Any, *args: Any, **kwargs: Any) -> int:
        if not others and early:  # another service starts now, in a container of its own, whose numbers are others
            others.append(path)
            with monkeypatch.context() as patched:
                patched.setattr(folders, "is_running", lambda _: False)
                folders.remove_stale_folders()
        descriptor = opened(path, *args, **kwargs)
        if not others:
            others.append(path)
            folders.remove_stale_folders()
        return descriptor

    monkeypatch.setattr(os, "open", before_the_lock)
    with folders.temporary_folder("jobs") as folder:
        assert Path(folder).is_dir()
        folders.remove_stale_folders()
        assert Path(folder).is_dir(), "and it is held"
        assert not Path(others[0]).exists()
    assert not list(tmp_path.iterdir())
