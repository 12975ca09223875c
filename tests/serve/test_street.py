"""What the service meets in the street: silent and slow connections, bodies made to hurt, other sites' pages, requests that are merely large."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import inspect
import io
import itertools
import json
import random
import socket
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets", "httpx"):
    pytest.importorskip(module, reason="needs ferkit[serve] and httpx")

import uvicorn  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402
from uvicorn.server import ServerState  # noqa: E402

from ferkit import FaceDetector, Pipeline  # noqa: E402
from ferkit.geometry import iou  # noqa: E402
from ferkit.serve import app as app_module  # noqa: E402
from ferkit.serve import uploads  # noqa: E402
from ferkit.serve.admission import Admission, PixelBudget, StreamPlaces  # noqa: E402
from ferkit.serve.app import create_app  # noqa: E402
from ferkit.serve.connections import BoundedConnection, BoundedSocket  # noqa: E402
from ferkit.serve.engine import Engine  # noqa: E402
from ferkit.serve.logs import FewOfAKind  # noqa: E402
from ferkit.serve.pieces import scans_of_jpeg  # noqa: E402
from ferkit.serve.problems import Problem  # noqa: E402
from ferkit.serve.settings import Settings  # noqa: E402
from ferkit.serve.uploads import Arrival, Pace, decode, read_body  # noqa: E402
from tests.helpers import serving  # noqa: E402
from tests.helpers.broken import blind_to  # noqa: E402
from tests.helpers.serving import WEIGHTS, Coming, Service, encoded, noise  # noqa: E402
from tests.helpers.waiting import until  # noqa: E402

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the bundled weights")

KEY = "correct horse battery"
SMALL = 6  # connections
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


running = functools.partial(serving.running, detector="none")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    options = ("--detector", "none", "--max-connections", str(SMALL), "--max-client-connections", "0")
    with Service(tmp_path_factory.mktemp("small"), *options) as started:
        yield started


def said(connection: socket.socket, data: bytes = b"", seconds: float = 20) -> bytes:
    """Send, and return all that comes back until the other side closes."""
    connection.settimeout(seconds)
    connection.sendall(data)
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


# -------------------------------------------------------------------------------------------------- connections


@pytest.mark.slow
def test_silent_half_sent_and_too_many_connections_keep_nobody_out(tmp_path: Path) -> None:
    options = ("--detector", "none", "--max-connections", "12", "--max-client-connections", "8", "--header-seconds", "2")
    with Service(tmp_path, *options) as service, contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10))

        silent = [connect() for _ in range(40)]  # more than there are places, and none of them says a word
        for _ in range(5):
            assert said(connect(), GET).startswith(b"HTTP/1.1 200")
        assert [said(one) for one in silent[-3:]] == [b""] * 3, "nothing was asked, so nothing is answered"

        half = connect()
        answer = said(half, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"

        twice = connect()  # the second head is as bounded as the first
        twice.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: b"ok" in twice.recv(65536), "the first answer")
        assert said(twice, b"GET /hea").startswith(b"HTTP/1.1 408")

        busy = [connect() for _ in range(8)]  # at work: their bodies have not come yet
        for one in busy:
            one.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        for one in busy:
            assert one.recv(100).startswith(b"HTTP/1.1 100"), "the body is asked for"
        refused = said(connect(), GET)
        assert refused.startswith(b"HTTP/1.1 429")
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
    for line in service.log.read_text().splitlines():
        assert json.loads(line)["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of open files")
@pytest.mark.parametrize(
    ("soft", "hard", "set_to", "fit"),
    [
        (1024, 4096, 1100, 500),  # raised as far as is needed
        (1024, 1050, 1050, 500),  # as far as it may
        (256, 256, 256, 156),
        (64, 64, 64, 1),  # and one connection always
        (256, -1, 1100, 500),  # -1: no limit
        (5000, 5000, None, 500),  # enough
        (-1, -1, None, 500),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, set_to: int | None, fit: int
) -> None:
    import resource

    from ferkit.serve.connections import raise_descriptor_limit

    given: list[Any] = []
    unlimited = resource.RLIM_INFINITY
    limits = tuple(unlimited if limit == -1 else limit for limit in (soft, hard))
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    assert raise_descriptor_limit(500) == fit
    assert given == ([] if set_to is None else [(set_to, limits[1])])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit of open files")
def test_running_out_of_descriptors_neither_fills_the_log_nor_ends_the_service(tmp_path: Path) -> None:
    service = Service(tmp_path, "--detector", "none", "--header-seconds", "1", "--max-client-connections", "0")
    service.command = ["sh", "-c", 'ulimit -n 150; exec "$@"', "sh", *service.command]
    with service, contextlib.ExitStack() as stack:
        for _ in range(400):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 2))
        time.sleep(3)
        with socket.create_connection(("127.0.0.1", service.port), 20) as one:
            assert said(one, GET).startswith(b"HTTP/1.1 200")
    assert service.log.stat().st_size < 50_000
    assert "leaves room for 50 connections, not 500" in service.log.read_text()


def test_a_warning_that_repeats_is_counted_and_not_written() -> None:
    import logging

    few, lines = FewOfAKind(most=2, seconds=10), []
    for at, level in [*((t, logging.WARNING) for t in (0, 1, 2, 3, 20)), (21, logging.INFO)]:
        record = logging.LogRecord("ferkit.serve", level, "", 0, "again", (), None)
        record.created = at
        if few.filter(record):
            lines.append((at, getattr(record, "fields", None)))
    assert lines == [(0, None), (1, None), (20, {"left_out": 2}), (21, None)]


# -------------------------------------------------------------------------------------------------- bodies


def parts(count: int) -> tuple[bytes, str]:
    return b"--x\r\n\r\n\r\n" * count + b"--x--\r\n", "multipart/form-data; boundary=x"


def test_a_body_of_a_hundred_parts_and_more_is_refused_and_parsed_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    held, go = threading.Event(), threading.Event()
    parse = app_module.parse_multipart

    def slow(*args: Any) -> Any:
        held.set()
        assert go.wait(60)
        return parse(*args)

    with running() as client:
        body, kind = parts(200_000)
        answer = client.post("/v1/predict", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_parts")
        monkeypatch.setattr(app_module, "parse_multipart", slow)
        thread = threading.Thread(target=client.post, args=("/v1/predict",), kwargs={"content": body, "headers": {"Content-Type": kind}})
        thread.start()
        assert held.wait(60)
        assert client.get("/healthz").status_code == 200, "the loop answers while a body is parsed"
        go.set()
        thread.join()


@pytest.mark.slow
def test_a_wrong_key_a_wrong_host_and_a_foreign_page_are_refused_before_the_body_is_read(tmp_path: Path) -> None:
    with Service(tmp_path, "--detector", "none", FERKIT_API_KEY=KEY) as service:
        head = b"POST /v1/predict HTTP/1.1\r\nContent-Length: 1000000\r\n"
        for lines, status in (
            (b"Host: localhost\r\n", b"401"),
            (b"Host: rebound.example\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n", b"421"),
            (b"Host: localhost\r\nOrigin: https://evil.example\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n", b"403"),
        ):
            with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
                connection.settimeout(10)
                connection.sendall(head + lines + b"\r\n")  # and not one byte of the body
                assert connection.recv(200).split()[1] == status


def masked(kind: int, data: bytes = b"", last: bool = True) -> bytes:
    """One frame of a WebSocket's client, with a mask of zeros."""
    return bytes([128 * last | kind, 128 | len(data)]) + bytes(4) + data


FLOODS = {
    "a body in chunks of one byte": b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"1\r\nx\r\n" * 40_000,
    "text": masked(1, b"{}") * 30_000,
    "text that is wrong": masked(1, b"[]") * 30_000,
    "pings": masked(9, b"x" * 120) * 2_000,
    "empty parts of one message": masked(2, b"a", last=False) + masked(0, last=False) * 40_000,
}


@pytest.mark.slow
def test_floods_of_small_things_end_their_own_connection_and_nobody_elses(tmp_path: Path) -> None:
    upgrade = (
        b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with Service(tmp_path, "--detector", "none") as service:
        for name, flood in FLOODS.items():
            with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
                connection.settimeout(20)
                if not flood.startswith(b"POST"):
                    connection.sendall(upgrade)
                    assert b"101" in connection.recv(4096), name
                with contextlib.suppress(ConnectionError):  # closed while it is still being sent
                    connection.sendall(flood)
                    while connection.recv(65536):
                        pass
            with socket.create_connection(("127.0.0.1", service.port), 10) as other:
                assert said(other, GET).startswith(b"HTTP/1.1 200"), name
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert not [line for line in lines if "exception" in line]
    assert sum("more frames than anybody needs" in line["message"] for line in lines) == 4
    assert not [line for line in lines if "WebSocket" in line["message"]], "ferkit writes its own line, without the address and the query"


def test_a_body_in_chunks_of_some_size_is_read(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)), "PNG")
    body = b"".join(b"%x\r\n" % len(part) + part + b"\r\n" for part in (data[i : i + 500] for i in range(0, len(data), 500))) + b"0\r\n\r\n"
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Service(tmp_path, "--detector", "none") as service, socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        assert said(connection, head + body).startswith(b"HTTP/1.1 200")


def after_jpegs_head(pieces: bytes) -> bytes:
    still = encoded(Image.new("RGB", (64, 64), "gray"))
    at = still.index(b"\xff\xdb")
    return still[:at] + pieces + still[at:]


def png_with(kind: bytes, count: int) -> bytes:
    import struct
    import zlib

    plain = noise()
    return plain[:33] + (struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))) * count + plain[33:]


def gif_with(block: bytes) -> bytes:
    plain = noise(8, 8, "GIF")
    at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    return plain[:at] + block + plain[at:]


def webp_with(chunks: bytes) -> bytes:
    plain, head = noise(kind="WEBP"), b"VP8X\n\0\0\0\0\0\0\0" + (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    body = b"WEBP" + head + chunks + plain[12:]
    return b"RIFF" + len(body).to_bytes(4, "little") + body


# Each took a worker from half a minute and up to 0.9 GB where it filled the 20 MB of a request.
MANY_PIECES = {
    "a JPEG's empty segments": after_jpegs_head(b"\xff\xe0\0\x02" * 30_000),
    "a JPEG's comments": after_jpegs_head(b"\xff\xfe\0\x03a" * 30_000),
    "a JPEG's fill bytes": after_jpegs_head(b"\xff" * 30_000),
    "what is nothing in a JPEG": after_jpegs_head(b"a" * 30_000),
    "a JPEG's many gaps": after_jpegs_head((b"\xff" * 900 + b"\xe0\0\x02") * 30),
    "a PNG's chunks": png_with(b"teST", 30_000),
    "a PNG's empty chunks of pixels": png_with(b"IDAT", 30_000),
    "a GIF's comments": gif_with(b"\x21\xfe\x01a\0" * 30_000),
    "parts of one comment of a GIF": gif_with(b"\x21\xfe" + b"\x01a" * 30_000 + b"\0"),
    "a WebP's chunks": webp_with(b"ABCD\0\0\0\0" * 30_000),
}


@pytest.mark.parametrize("name", MANY_PIECES)
def test_pictures_made_of_tens_of_thousands_of_pieces_are_refused(client: TestClient, name: str) -> None:
    answer = client.post("/v1/predict", content=MANY_PIECES[name])
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pieces")


@pytest.mark.parametrize(
    "data",
    [
        after_jpegs_head(b"\xff\xe2\xff\xff" + b"x" * 65533),
        png_with(b"teST", 900),
        gif_with(b"\x21\xfe\x01a\0" * 900),
        webp_with(b"ABCD\0\0\0\0" * 900),
    ],
    ids=["JPEG", "PNG", "GIF", "WebP"],
)
def test_pictures_made_of_some_pieces_are_read(client: TestClient, data: bytes) -> None:
    assert client.post("/v1/predict", content=data).status_code == 200


def test_a_phones_motion_photo_is_read_up_to_its_end_of_image(client: TestClient) -> None:
    still = encoded(Image.new("RGB", (64, 64), "gray"))
    motion = still + b"\xff\xda\x00\x02" * 500  # as an appended video may look
    assert client.post("/v1/predict", content=motion).status_code == 200

    thumbnail = b"\xff\xd8" + b"\xff\xda\x00\x02" * 80 + b"\xff\xd9"  # in the metadata: passed over
    segment = b"Exif\x00\x00" + thumbnail
    held = still[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + still[2:]
    assert scans_of_jpeg(held, 64) == 1
    assert client.post("/v1/predict", content=held).status_code == 200

    many = still[:-2] + b"\xff\xda\x00\x02" * 80 + b"\xff\xd9"
    answer = client.post("/v1/predict", content=many)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_scans")


def test_a_progressive_jpegs_scans_are_counted() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", progressive=True)
    assert 5 < scans_of_jpeg(buffer.getvalue(), 64) < 20
    assert scans_of_jpeg(encoded(picture), 64) == 1


# -------------------------------------------------------------------------------------------------- requests within the limits


def test_uploads_that_hardly_move_make_room_for_others() -> None:
    admission = Admission(Settings(max_bytes=100, max_pending_bytes=100))
    slow, quick = Coming(slow=True), Coming(slow=False)
    with admission.enter(slow, 1) as first, admission.enter(quick, 1) as second, admission.enter(Coming(slow=False), 1) as third:
        first.take(60)
        second.take(40)
        third.take(50)
        assert (slow.given_up, quick.given_up, admission.bytes) == (True, False, 90)
        with pytest.raises(Problem):
            third.take(50)
        second.arrived()
    assert (admission.bytes, admission.requests) == (0, 0)


@pytest.mark.parametrize("counting", [False, True])
def test_a_body_that_makes_room_for_others_is_408(counting: bool) -> None:
    """While nothing comes; and while its bytes are counted: the slowest of all may be the one that asks for more, or a film being written."""
    import asyncio

    async def drip() -> Any:
        yield b"x"
        await asyncio.sleep(60)
        yield b"y"

    async def read() -> bytes:
        arrival = Arrival(Pace(30, 1))
        if not counting:
            asyncio.get_running_loop().call_later(0.05, arrival.give_up)
        return await read_body(drip(), None, 10, arrival, lambda count: arrival.give_up() if counting else None)

    with pytest.raises(Problem) as raised:
        asyncio.run(read())
    assert (raised.value.status, raised.value.code) == (408, "too_slow")


def test_a_body_is_slow_after_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    arrival = Arrival(Pace(15, 4000))
    arrival.count(100_000)
    for seconds, slow in ((5, False), (11, True)):
        monkeypatch.setattr("ferkit.serve.uploads.time.monotonic", lambda seconds=seconds: now + seconds)
        assert arrival.slow == slow
    arrival.count(400_000)
    assert not arrival.slow


def test_a_large_request_is_answered_though_its_work_takes_longer_than_the_queue_may(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve import engine

    works, batches = Engine._work, itertools.count()
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    now = [0.0]

    def work(*args: Any) -> int:
        now[0] = 10.0 * next(batches)  # seconds, and one more batch is done
        return works(*args)

    monkeypatch.setattr(engine, "time", clock)
    monkeypatch.setattr(Engine, "_work", work)
    with running(queue_seconds=0.3, batch=1) as client:
        answer = client.post("/v1/predict", files=[("image", (f"{i}.png", noise(seed=i), "image/png")) for i in range(8)])
        assert answer.status_code == 200
        assert [image["error"] for image in answer.json()["images"]] == [None] * 8


def test_one_pictures_failure_keeps_the_others_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve import engine

    whole = engine.decode

    def failing(data: bytes, *args: Any) -> Any:
        if data == bad:
            raise RuntimeError("a fault of ours")
        return whole(data, *args)

    bad = noise(seed=9)
    monkeypatch.setattr(engine, "decode", failing)
    with running(batch=1) as client:
        answer = client.post("/v1/predict", files=[("image", ("a.png", d, "image/png")) for d in (noise(), bad, noise(seed=2))])
        assert answer.status_code == 200
        images = answer.json()["images"]
        assert [len(image["faces"]) for image in images] == [1, 0, 1]
        assert images[1]["error"]["code"] == "internal"
        assert client.post("/v1/predict", content=bad).status_code == 500


@pytest.mark.parametrize("draw", [False, True])
def test_one_picture_that_breaks_the_network_keeps_its_batchs_answers(monkeypatch: pytest.MonkeyPatch, draw: bool) -> None:
    stream = Pipeline.stream

    def failing(pipeline: Pipeline, images: list[np.ndarray], *args: Any, **kwargs: Any) -> Any:
        if any(image.shape[1] == 66 for image in images):
            raise RuntimeError("a fault of ours")
        return stream(pipeline, images, *args, **kwargs)

    monkeypatch.setattr(Pipeline, "stream", failing)

    async def asked() -> list[Any]:
        with running(batch=8, lanes=1, detector="none") as client:
            engine, choice = client.app.state.engine, client.app.state.catalogue.default
            return list(await engine.submit([noise(width) for width in (64, 66, 68)], choice, draw=draw))

    first, broken, last = asyncio.run(asked())
    assert [first.result.width, broken.code, last.result.width] == [64, "internal", 68]


def test_one_picture_that_cannot_be_drawn_keeps_its_batchs_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve import engine

    answer = engine._answer

    def failing(result: Any, *args: Any) -> Any:
        if result.width == 66:
            raise RuntimeError("a fault of ours")
        return answer(result, *args)

    monkeypatch.setattr(engine, "_answer", failing)
    with running(batch=8, lanes=1) as client:
        files = [("image", (f"{width}.png", noise(width), "image/png")) for width in (64, 66, 68)]
        images = client.post("/v1/predict", files=files).json()["images"]
    assert [image["width"] for image in images] == [64, None, 68]
    assert images[1]["error"]["code"] == "internal"


def test_an_answer_that_is_not_a_number_keeps_its_batchs_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    blind_to(monkeypatch, (200, 200, 200))
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (200, 200, 200)).save(buffer, "PNG")
    with running(batch=8, lanes=1, detector="none") as client:
        files = [("image", ("a.png", data, "image/png")) for data in (noise(), buffer.getvalue(), noise(seed=2))]
        images = client.post("/v1/predict", files=files).json()["images"]
    assert [len(image["faces"]) for image in images] == [1, 0, 1]
    assert images[1]["error"]["code"] == "internal"


def test_pixels_that_are_decoded_at_once_are_bounded() -> None:
    budget, order = PixelBudget(100), []
    first = threading.Event()

    def second() -> None:
        with budget.hold(60):
            order.append("second")

    with budget.hold(1000):  # more than the budget: alone
        thread = threading.Thread(target=second)
        thread.start()
        assert not first.wait(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("seed", range(3))
def test_whoever_comes_after_a_large_picture_waits_behind_it(seed: int) -> None:
    """Begun in the order in which they came, as many as fit: compared with a line in plain Python after every step."""
    rng = random.Random(seed)
    budget, sizes = PixelBudget(100), [rng.choice([5, 10, 20, 40, 80, 100, 300]) for _ in range(25)]
    done = [threading.Event() for _ in sizes]
    begun: set[int] = set()

    def decode(number: int) -> None:
        with budget.hold(sizes[number]):
            begun.add(number)
            done[number].wait(60)

    threads: list[threading.Thread] = []
    line: list[int] = []
    inside: set[int] = set()
    while len(threads) < len(sizes) or line or inside:
        if len(threads) < len(sizes) and (not inside or rng.random() < 0.6):
            line.append(len(threads))
            threads.append(threading.Thread(target=decode, args=(len(threads),), daemon=True))
            threads[-1].start()
        else:
            leaving = rng.choice(sorted(inside))
            inside.discard(leaving)
            done[leaving].set()
        while line and sum(min(sizes[n], 100) for n in inside) + min(sizes[line[0]], 100) <= 100:
            inside.add(line.pop(0))
        until(lambda: (budget.waiting, len(begun)) == (len(line), len(threads) - len(line)), f"{line} wait; sizes {sizes}", 20)
        assert begun == set(range(len(threads))) - set(line)
    for thread in threads:
        thread.join(20)


@pytest.mark.parametrize("known", [BoundedConnection, BoundedSocket])
def test_what_connections_rest_on_is_there(known: type) -> None:
    """Inner names of uvicorn, h11 and websockets, any of which may go with a release: then a limit would be none without a word."""
    body = ast.parse(textwrap.dedent(inspect.getsource(known)))
    attributes = [(ast.unparse(node.value), node.attr) for node in ast.walk(body) if isinstance(node, ast.Attribute)]
    made, inner = asyncio.run(connected(known)), known.__mro__[2]
    assert inner.__module__.startswith("uvicorn.")
    used = {name for of, name in attributes if of in ("self", "oldest")}
    assert {"conn", "transport", "loop"} < used
    assert not {name for name in used if not hasattr(made, name)}
    assert not {name for of, name in attributes if of == "super()" and not hasattr(inner, name)}
    assert not {name for name in vars(known) if not name.startswith("_") and not hasattr(inner, name)}, "nobody would call them"
    of_conn = {name for of, name in attributes if of == "self.conn"}
    assert of_conn
    assert not {name for name in of_conn if not hasattr(made.conn, name)}
    stream = asyncio.run(connected(BoundedSocket))
    assert not {name for of, name in attributes if of == "socket" and not hasattr(stream, name)}


async def connected(known: type) -> Any:
    """Return a connection as uvicorn makes it, without a socket."""
    config = uvicorn.Config(Mock(), http=BoundedConnection, ws=BoundedSocket, log_config=None)
    config.load()
    transport = Mock()
    transport.get_extra_info.return_value = None
    connection = known(config, ServerState(), {})
    connection.connection_made(transport)
    return connection


# -------------------------------------------------------------------------------------------------- streams


def test_only_frames_keep_a_stream_open() -> None:
    def chatter(stream: Any) -> None:
        for _ in range(100):
            stream.send_text("{}")
            time.sleep(0.05)
            stream.send_text("[]")  # answered, so that the end is seen here
            stream.receive_json()

    with running(idle_seconds=0.5) as client, client.websocket_connect("/v1/stream") as stream:
        with pytest.raises(WebSocketDisconnect) as closed:
            chatter(stream)
        assert closed.value.code == 1001


def test_streams_that_have_not_shown_their_key_take_no_place() -> None:
    with running(max_streams=1, api_key=KEY) as client, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(client.websocket_connect("/v1/stream"))
        allowed = stack.enter_context(client.websocket_connect("/v1/stream"))
        allowed.send_text(json.dumps({"key": KEY}))
        allowed.send_bytes(noise())
        assert allowed.receive_json()["frame"] == 0
        late = stack.enter_context(client.websocket_connect("/v1/stream"))
        late.send_text(json.dumps({"key": KEY}))
        with pytest.raises(WebSocketDisconnect) as closed:
            late.receive_json()
        assert closed.value.code == 1013


class _Sitter:
    def __init__(self, seen: float) -> None:
        self.seen, self.left = seen, False

    def make_room(self) -> None:
        self.left = True


def test_places_and_those_who_wait_are_bounded() -> None:
    places, now = StreamPlaces(1), time.monotonic()
    for _ in range(10):
        places.wait_outside()
    with pytest.raises(Problem):
        places.wait_outside()
    first, second = _Sitter(now), _Sitter(now)
    places.take(first)
    with pytest.raises(Problem):
        places.take(second)
    places.leave(first)
    places.take(second)
    assert (places.taken, places.waiting) == (1, 9)


def test_who_has_sent_no_picture_for_longest_makes_room() -> None:
    places, now = StreamPlaces(2, idle=10), time.monotonic()
    silent, busy, third = _Sitter(now - 60), _Sitter(now), _Sitter(now)
    places.take(silent)
    places.take(busy)
    places.take(third)
    assert (silent.left, busy.left, places.taken) == (True, False, 2)
    with pytest.raises(Problem):
        places.take(_Sitter(now))


@pytest.mark.parametrize("junk", [b"", b"x", b"\xff\xd8\xff", noise()[:60]])
def test_frames_that_are_no_pictures_keep_no_stream_open(junk: bytes) -> None:
    def send(stream: Any) -> None:
        for _ in range(100):
            stream.send_bytes(junk)
            assert stream.receive_json()["error"]["code"] in ("empty", "unsupported_type", "damaged")
            time.sleep(0.05)

    with running(idle_seconds=0.7) as client, client.websocket_connect("/v1/stream") as stream:
        with pytest.raises(WebSocketDisconnect) as closed:
            send(stream)
        assert closed.value.code == 1001


def test_a_stream_that_is_pushed_out_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve import admission

    monkeypatch.setattr(admission.StreamPlaces.__init__, "__defaults__", (0.0,))
    with running(max_streams=1) as client, client.websocket_connect("/v1/stream") as old:
        old.send_bytes(noise())
        assert old.receive_json()["frame"] == 0
        with client.websocket_connect("/v1/stream") as new:
            with pytest.raises(WebSocketDisconnect) as closed:
                old.receive_json()
            assert (closed.value.code, "no picture" in closed.value.reason) == (1013, True)
            new.send_bytes(noise())
            assert new.receive_json()["frame"] == 0


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", b"Content-Length: 3\r\n"),
        ("GET", b"Content-Length: 1000\r\n"),
        ("GET", b"Transfer-Encoding: chunked\r\n"),
        ("GET", b"Sec-WebSocket-Protocol: \x01\r\n"),
    ],
)
def test_what_is_no_handshake_of_a_stream_is_answered_and_takes_no_connection(small: Service, method: str, headers: bytes) -> None:
    """They hung without an answer or a limit of time: a few hundred of them closed the service to everybody."""
    head = f"{method} /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".encode()
    more = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(2 * SMALL):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", small.port), 10))
            answer = said(connection, head + more + headers + b"\r\nabc")
            assert answer.startswith(b"HTTP/1.1 400")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", small.port), 10))
        assert said(connection, GET).startswith(b"HTTP/1.1 200")


def test_a_request_with_two_ends_is_refused_and_its_connection_closed(small: Service) -> None:
    """Where a proxy goes by the length and the service by the chunks, what follows them would be somebody else's request."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", small.port), 10) as connection:
        answer = said(connection, head + b"GET /v1/weights HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Both Transfer-Encoding and Content-Length" in answer
    assert answer.count(b"HTTP/1.1") == 1


# -------------------------------------------------------------------------------------------------- other sites' pages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Origin": "https://friend.example"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "null", "Host": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://[bad"}, 403),  # was an error of ours
        ({"Origin": "http://testserver:80"}, 200),
        ({"Origin": "HTTP://TESTSERVER"}, 200),
        ({"Origin": "http://testserver.", "Host": "testserver"}, 200),
        ({"Origin": "http://testserver:81"}, 403),
        ({"Origin": "https://testserver:80"}, 403),
        ({"Origin": "ftp://testserver"}, 403),
        ({"Origin": "http://testserver/path"}, 403),
        ({"Origin": "http://evil.example@testserver"}, 403),
        ({"Origin": "http://testserver http://evil.example"}, 403),
        ({"Origin": "http://[::1]:8000", "Host": "[::1]:8000"}, 200),
        ({"Origin": "http://", "Host": ""}, 403),
    ],
)
def test_other_sites_pages_have_no_work_done(headers: dict[str, str], status: int) -> None:
    with running(cors=("https://friend.example",)) as client:
        answer = client.post("/v1/predict", content=noise(), headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "foreign_page"


def test_the_service_answers_under_its_own_names_only() -> None:
    with running(hosts=("localhost", "127.0.0.1", "::1")) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST", "localhost.", "localhost.:8000"):
            assert client.get("/healthz", headers={"Host": host}).status_code == 200
        named = ("rebound.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "2130706433", "localhost, rebound.example")
        no_hosts = (
            "",
            "[::1",
            "::1",
            "user@localhost",
            "localhost/x",
            "localhost?x",
            "localhost#x",
            "localhost:abc",
            "localhost..",
            "[localhost]",
        )
        for host in (*named, *no_hosts):
            answer = client.get("/healthz", headers={"Host": host})
            assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream", headers={"Host": host}):
                pass


def test_a_webcams_pictures_cannot_be_embedded_elsewhere() -> None:
    pytest.importorskip("av", reason="needs ferkit[video]")
    from ferkit.video.mjpeg import Monitor

    monitor = Monitor(0, ["happy", "sad"])
    try:

        def get(path: str, **headers: str) -> tuple[int, Any]:
            request = urllib.request.Request(monitor.address + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    return response.status, response.headers
            except urllib.error.HTTPError as error:
                return error.code, error.headers

        for path in ("stream", "latest.json"):
            for site in ("cross-site", "same-site"):
                assert get(path, Sec_Fetch_Site=site)[0] == 403
        status, headers = get("latest.json", Sec_Fetch_Site="same-origin")
        assert status == 200
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert get("", Sec_Fetch_Site="cross-site")[0] == 200  # a link to the page itself
    finally:
        monitor.close()


def test_who_opens_a_webcams_page_sees_nothing_of_the_past() -> None:
    """Neither the first frame nor what somebody else saw last."""
    pytest.importorskip("av", reason="needs ferkit[video]")
    from ferkit.results import Result
    from ferkit.video.frame import Frame
    from ferkit.video.mjpeg import Monitor

    monitor = Monitor(0, ["happy", "sad"])

    def shade_of(number: int) -> int:
        return 20 + number % 200

    def shown(number: int) -> None:
        shade = np.full((48, 64, 3), shade_of(number), np.uint8)
        monitor.add(Frame(number, number / 25, shade), Result((), 64, 48, None, None, shade))

    def first_seen() -> int:
        """The shade of the first picture that a new viewer is sent; frames go on coming meanwhile."""
        with socket.create_connection(("127.0.0.1", int(monitor.address.rsplit(":", 1)[1].rstrip("/")))) as viewer:
            viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            until(lambda: monitor._viewers == 1, "a viewer")
            shown(next(numbers))
            with viewer.makefile("rb") as stream:
                while not (line := stream.readline()).startswith(b"Content-Length"):
                    assert line, "the stream ended"
                stream.readline()
                picture = Image.open(io.BytesIO(stream.read(int(line.partition(b":")[2]))))
        until(lambda: (shown(next(numbers)), not monitor._viewers)[1], "the end of a viewer, which is noticed when it is written to")
        return round(float(np.asarray(picture.convert("L")).mean()))

    numbers = itertools.count()
    try:
        shown(next(numbers))
        assert first_seen() == shade_of(1)
        newest = next(numbers)
        assert first_seen() == shade_of(newest + 1)
    finally:
        monitor.close()


def test_a_picture_is_not_kept_whose_viewer_goes_while_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="needs ferkit[video]")
    from ferkit.results import Result
    from ferkit.video import mjpeg
    from ferkit.video.frame import Frame

    monitor, pixels, after = mjpeg.Monitor(0, ["happy", "sad"]), np.zeros((48, 64, 3), np.uint8), [0, 1]

    def drawn(*_: Any) -> bytes:
        monitor._viewers = after.pop()
        return b"a picture"

    monkeypatch.setattr(mjpeg, "_jpeg", drawn)
    try:
        for kept in (b"a picture", b""):
            monitor._viewers = 1
            monitor.add(Frame(0, 0.0, pixels), Result((), 64, 48, None, None, pixels))
            assert monitor._jpeg == kept
    finally:
        monitor.close()


def test_the_end_of_a_webcams_picture_does_not_wait_for_its_beginning_to_be_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``test_run``: without Nagle's algorithm."""
    pytest.importorskip("av", reason="needs ferkit[video]")
    from ferkit.video.mjpeg import Monitor

    at_once: list[int] = []
    monkeypatch.setattr(
        Monitor, "_stream", lambda _, handler: at_once.append(handler.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    )
    monitor = Monitor(0, ["happy", "sad"])
    try:
        with socket.create_connection(("127.0.0.1", int(monitor.address.rsplit(":", 1)[1].rstrip("/")))) as viewer:
            viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            viewer.recv(1)
    finally:
        monitor.close()
    assert at_once
    assert all(at_once)


# -------------------------------------------------------------------------------------------------- what operators see


def test_errors_carry_the_requests_id(client: TestClient) -> None:
    for answer in (
        client.post("/v1/predict", content=b""),
        client.get("/nowhere"),
        client.get("/v1/predict"),
        client.get("/v1/weights?x=1"),
        client.post("/v1/predict", content=noise(), headers={"Origin": "https://evil.example"}),
    ):
        assert answer.status_code >= 400
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    with client.websocket_connect("/v1/stream") as stream:
        stream.send_text("{")
        assert len(stream.receive_json()["request_id"]) == 12


def test_head_answers_as_get_without_a_body(client: TestClient) -> None:
    for path in ("/", "/docs", "/static/app.js", "/healthz", "/readyz", "/metrics", "/v1/weights", "/openapi.json"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        if path not in ("/metrics",):
            assert head.headers["content-length"] == get.headers["content-length"]
    assert client.head("/v1/predict").status_code == 405


def test_a_stream_without_its_upgrade_says_so(client: TestClient) -> None:
    answer = client.get("/v1/stream")
    assert (answer.status_code, answer.headers["upgrade"], answer.json()["error"]["code"]) == (426, "websocket", "upgrade_required")


@pytest.mark.parametrize("path", ["/v1/weights?lables=ferplus", "/healthz?x=", "/readyz?verbose", "/metrics?name=ferkit"])
def test_an_unknown_parameter_is_an_error(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_parameter")


def test_a_misspelt_parameter_of_predict_is_named_with_those_that_there_are(client: TestClient) -> None:
    answer = client.post("/v1/predict?lable=ferplus", content=noise())
    assert answer.status_code == 422
    message = answer.json()["error"]["message"]
    assert all(name in message for name in ("'lable'", "weights", "labels", "draw"))


def test_the_description_has_ids_examples_schemes_and_every_error(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "header"}
    operations = {(path, method): o for path, methods in schema["paths"].items() for method, o in methods.items()}
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    predict = operations["/v1/predict", "post"]
    assert {"400", "401", "403", "408", "413", "415", "421", "422", "429", "500", "503"} <= set(predict["responses"])
    assert predict["responses"]["200"]["content"]["application/json"]["example"]["images"]
    assert predict["responses"]["503"]["content"]["application/json"]["example"]["error"]["code"] == "busy"
    for (path, _), operation in operations.items():
        assert ("security" in operation) == (path.startswith("/v1/") or path == "/metrics")
    with running(api_key=KEY) as keyed:
        assert {} not in keyed.get("/openapi.json").json()["paths"]["/v1/weights"]["get"]["security"]


@pytest.mark.slow
def test_what_libraries_say_on_standard_error_is_json_too(tmp_path: Path) -> None:
    whole = bytearray(encoded_tiff("tiff_lzw"))
    with Service(tmp_path, "--detector", "none") as service:
        for at in range(8, len(whole) - 40, 40):
            broken = bytes(whole[:at]) + bytes([whole[at] ^ 255]) + bytes(whole[at + 1 :])
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(f"{service.url}/v1/predict", broken), timeout=20)
        until(lambda: "a library says" in service.log.read_text(), "libtiff's complaint")
    for line in service.log.read_text().splitlines():
        assert json.loads(line)["message"]


def encoded_tiff(compression: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(buffer, "TIFF", compression=compression)
    return buffer.getvalue()


@pytest.mark.slow
def test_every_line_of_the_log_is_json_and_people_are_told_the_address(tmp_path: Path) -> None:
    with Service(tmp_path, "--detector", "none", "--workers", "2", "--host", "0.0.0.0") as service:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(service.url + "/nowhere", timeout=10)
        with socket.create_connection(("127.0.0.1", service.port), 10) as rude:
            assert said(rude, b"\x16\x03\x01 not HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert {"level", "logger", "message", "time"} <= set.intersection(*(set(line) for line in lines))
    assert any("asks for no key" in line["message"] for line in lines)
    assert service.said.read_text().startswith(f"ferkit is at http://0.0.0.0:{service.port}/")


def test_a_port_that_is_taken_is_one_plain_line() -> None:
    import subprocess

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "ferkit", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert f"127.0.0.1:{port} cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


# -------------------------------------------------------------------------------------------------- pictures and their memory


def test_a_huge_picture_is_decoded_without_the_buffers_of_its_lanes_detector_and_small_ones_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector's networks keep 80 MB from one large picture to the next, which must not lie beside a phone's 48 megapixels."""
    events: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    load, release = uploads.load, FaceDetector.release_buffers

    def loading(data: bytes, **limits: Any) -> Any:
        loaded = load(data, **limits)
        events.append(f"decoded {loaded.width}")
        if loaded.width == 300:
            begun.set()
            assert go_on.wait(30)
        return loaded

    def releasing(detector: FaceDetector) -> None:
        release(detector)
        idle = [len(network._nets._idle) for network in (detector._backend._first, detector._backend._second)]  # type: ignore[attr-defined]
        events.append(f"released, {idle} kept")

    monkeypatch.setattr(uploads, "load", loading)
    monkeypatch.setattr(FaceDetector, "release_buffers", releasing)
    small, huge = (encoded(Image.new("RGB", (side, side), "gray")) for side in (200, 300))
    with TestClient(create_app(Settings(lanes=2, max_decoding_pixels=150_000))) as client, ThreadPoolExecutor(1) as other:
        assert client.post("/v1/predict", content=small).status_code == 200
        assert events == ["decoded 200"], "less than half of the budget: the next small picture finds the buffers warm"
        answer = other.submit(lambda: client.post("/v1/predict", content=huge))
        try:
            assert begun.wait(30)
            assert events[1:] == ["released, [0, 0] kept", "decoded 300"]
            assert client.post("/v1/predict", content=small).status_code == 200, "it fits beside the huge one, in the other lane"
        finally:
            go_on.set()
        assert answer.result(30).status_code == 200
        assert events[3:] == ["decoded 200"]


def test_pictures_are_decoded_at_the_scale_that_is_needed() -> None:
    loaded = decode(encoded(Image.new("RGB", (4000, 3000), "gray")), Settings(), PixelBudget(10_000_000))
    assert loaded.pixels.shape == (1500, 2000, 3)
    assert (loaded.width, loaded.height) == (4000, 3000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_is_read_as_predict_reads_it(client: TestClient, kind: str) -> None:
    from PIL import features

    if kind == "AVIF" and not ("avif" in features.modules and features.check("avif")):
        pytest.skip("this Pillow reads no AVIF")
    answer = client.post("/v1/predict", content=encoded(Image.new("RGB", (64, 48), "gray"), kind))
    assert answer.status_code == 200
    assert (answer.json()["images"][0]["width"], answer.json()["images"][0]["height"]) == (64, 48)


def test_a_tiff_with_offsets_of_64_bits_is_read(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "gray").save(buffer, "TIFF", big_tiff=True)
    answer = client.post("/v1/predict", content=buffer.getvalue())
    assert (answer.status_code, answer.json()["images"][0]["width"]) == (200, 64)


def test_heic_is_read_with_its_extra(client: TestClient) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs ferkit[heif]")
    pillow_heif.register_heif_opener()
    answer = client.post("/v1/predict", content=encoded(Image.new("RGB", (64, 48), "gray"), "HEIF"))
    assert answer.status_code == 200
    assert (answer.json()["images"][0]["width"], answer.json()["images"][0]["height"]) == (64, 48)


def test_a_heic_counts_its_pixels_once() -> None:
    """So that a phone's 48 megapixels are within the 50 that are accepted: it is shrunk from its decoder's own memory."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs ferkit[heif]")
    pillow_heif.register_heif_opener()
    data = encoded(Image.new("RGB", (640, 480), "gray"), "HEIF")
    loaded = decode(data, Settings(max_pixels=640 * 480, max_side=320), PixelBudget(640 * 480))
    assert (loaded.pixels.shape, loaded.width, loaded.height) == ((240, 320, 3), 640, 480)
    assert pillow_heif.options.DECODE_THREADS == 1, "its threads would take memory beside the lanes"
    with pytest.raises(Problem, match="takes to decode, more than"):
        decode(data, Settings(max_pixels=640 * 480 - 1), PixelBudget(640 * 480))


def test_heic_without_its_extra_is_a_format_that_is_not_read(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.serve import uploads

    monkeypatch.setattr(uploads, "find_spec", lambda name: None)
    answer = client.post("/v1/predict", content=b"\x00\x00\x00\x18ftypheic" + b"\0" * 100)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_type")


def test_boxes_are_in_pixels_of_the_picture_as_it_came(astronaut: np.ndarray) -> None:
    picture = Image.fromarray(astronaut).resize((2560, 2560), Image.Resampling.BICUBIC)
    with TestClient(create_app(Settings(max_side=800))) as small, TestClient(create_app(Settings(max_side=4000))) as whole:
        faces = [c.post("/v1/predict", content=encoded(picture)).json()["images"][0] for c in (small, whole)]
        drawn = Image.open(io.BytesIO(small.post("/v1/predict?draw=1", content=encoded(picture)).content))
    assert [(image["width"], image["height"]) for image in faces] == [(2560, 2560)] * 2
    left, right = (max(image["faces"], key=lambda face: face["score"]) for image in faces)
    assert iou([left["box"]], [right["box"]])[0, 0] > 0.75
    assert left["label"] == right["label"]
    assert max(drawn.size) == 800


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size"), [("JPEG", (8064, 6048)), ("PNG", (8000, 5000)), ("WEBP", (16383, 2441))])
def test_forty_megapixels_and_a_phones_forty_eight_are_read(small: Service, kind: str, size: tuple[int, int]) -> None:
    """What they take in memory: benchmarks/serve_memory.py."""
    request = urllib.request.Request(f"{small.url}/v1/predict", encoded(Image.new("RGB", size, (120, 130, 140)), kind))
    with urllib.request.urlopen(request, timeout=120) as answer:
        (image,) = json.load(answer)["images"]
    assert (image["error"], image["width"], image["height"]) == (None, *size)
