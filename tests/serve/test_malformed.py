"""Two hundred and more malformed uploads at a real service, which answers every one of them and goes on."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets", "httpx"):
    pytest.importorskip(module, reason="needs ferkit[serve] and httpx")

import httpx  # noqa: E402
import numpy as np  # noqa: E402

from tests.helpers.bombs import BOMBS, bombs  # noqa: E402
from tests.helpers.serving import WEIGHTS, Service, noise  # noqa: E402

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the bundled weights")

KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("malformed"), "--detector", "none") as running:
        yield running


def fuzzed(count: int) -> list[bytes]:
    """Valid files with broken heads, cuts, flips and splices; the same ones every time."""
    rng = random.Random(7)
    valid = {kind: noise(37, 29, kind) for kind in KINDS}
    out = []
    for i in range(count):
        data = bytearray(valid[KINDS[i % len(KINDS)]])
        match (i // len(KINDS)) % 5:
            case 0:  # the head, beyond the magic number
                for _ in range(rng.randint(1, 12)):
                    data[rng.randrange(8, min(60, len(data)))] = rng.randrange(256)
            case 1:
                del data[rng.randrange(1, len(data)) :]
            case 2:
                for _ in range(rng.randint(1, 40)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            case 3:
                where = rng.randrange(12, len(data))
                data[where:where] = rng.randbytes(rng.randint(1, 300))
            case _:  # one format's head, another's body
                other = valid[rng.choice(KINDS)]
                data[12:] = other[rng.randrange(len(other)) :]
        out.append(bytes(data))
    return out


def wrong_types() -> list[bytes]:
    return [
        b"",
        b"\0",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"RIFF\0\0\0\0WEBP",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"PK\x03\x04" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        b"http://127.0.0.1/photo.jpg",
        b"file:///etc/passwd",
        b"\x7fELF" + bytes(64),
        b"II*\0" + bytes(64),
        bytes(100_000),
        np.random.default_rng(0).bytes(100_000),
        b'{"image": "aGVsbG8="}',
    ]


def broken_forms() -> list[tuple[str, bytes]]:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    form = "multipart/form-data; boundary=b"
    return [
        (form, b""),
        (form, b"--b--\r\n"),
        (form, part),
        (form, part + noise()),
        (form, part + b"\r\n--c--\r\n"),
        (form, b"\r\n".join([b"--b"] * 3000)),
        (form, b"--b\r\nContent-Disposition: form-data" + b"; a=b" * 10_000 + b"\r\n\r\nx\r\n--b--\r\n"),
        (form, b"--b\r\n" + b"X-Header: y\r\n" * 5000 + b"\r\nx\r\n--b--\r\n"),
        (form, b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nno file\r\n--b--\r\n"),
        (form, part.replace(b"a.png", b"\xff\xfe\0../../x") + b"x\r\n--b--\r\n"),
        (form, b"".join(part + b"x\r\n" for _ in range(200)) + b"--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/mixed; boundary=b", part + noise() + b"\r\n--b--\r\n"),
        ("multipart/\u00fc", b"x"),
    ]


def test_two_hundred_malformed_uploads(service: Service) -> None:
    statuses: dict[int, int] = {}
    count = 0
    pictures = fuzzed(250)
    with httpx.Client(base_url=service.url, timeout=30) as http:
        for i, data in enumerate([*pictures, *wrong_types()]):
            if i % 2:
                response = http.post("/v1/predict", content=data, headers={"Content-Type": "image/jpeg"})
            else:
                response = http.post("/v1/predict", files={"image": ("x.jpg", data, "image/jpeg")})
            count += 1
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
            assert response.status_code in (200, 400, 413, 415), (i, response.status_code, response.text)
        for content_type, body in broken_forms():
            response = http.post("/v1/predict", content=body, headers={"Content-Type": content_type.encode()})
            count += 1
            assert response.status_code in (200, 400, 413, 415), (content_type[:60], body[:60], response.text)
        assert http.post("/v1/predict", content=noise()).status_code == 200
    assert count > 250
    assert statuses[400] + statuses.get(415, 0) > 100, statuses
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_413(service: Service, name: str) -> None:
    response = httpx.post(f"{service.url}/v1/predict", content=bombs()[name], timeout=30)
    # Where the head itself is nonsense, 400 is as good an answer.
    allowed = {"bmp": (400, 413), "gif frame": (400, 413), "png with 300 MB of compressed text": (200, 400, 413)}.get(name, (413,))
    assert response.status_code in allowed, response.text
    assert httpx.post(f"{service.url}/v1/predict", content=noise(), timeout=30).status_code == 200


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_hundred_megabytes_are_refused(service: Service, announced: bool) -> None:
    megabyte = b"\xff\xd8\xff" + bytes(999_997)
    headers = {"Content-Length": "100000000"} if announced else {}
    response = httpx.post(f"{service.url}/v1/predict", content=(megabyte for _ in range(100)), headers=headers, timeout=30)
    assert response.status_code == 413
    assert httpx.post(f"{service.url}/v1/predict", content=noise(), timeout=30).status_code == 200


def test_half_requests_hold_nobody_up(service: Service) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
    beginnings = [head, head[:20], b"", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 500, b"POST /v1/predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n"]
    open_sockets = []
    for beginning in beginnings * 10:
        s = socket.create_connection(("127.0.0.1", service.port), 5)
        s.sendall(beginning)
        open_sockets.append(s)
    assert httpx.post(f"{service.url}/v1/predict", content=noise(), timeout=30).status_code == 200
    for s in open_sockets:
        s.close()
    assert httpx.get(f"{service.url}/readyz", timeout=10).status_code == 200


def test_a_stream_refuses_what_is_too_large_and_goes_on_for_others(service: Service) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    address = f"ws://127.0.0.1:{service.port}/v1/stream"
    with connect(address, proxy=None, max_size=None) as one:

        def overfill() -> None:
            one.send(bytes(3_000_000))  # the service may hang up while this is still being sent
            one.recv(timeout=20)

        with pytest.raises(ConnectionClosed):
            overfill()
    with connect(address, proxy=None) as two:
        for data in [*fuzzed(40), *wrong_types()]:
            two.send(data)
            two.recv(timeout=20)
        two.send(noise())
        assert '"error":null' in str(two.recv(timeout=20))


def test_fuzzed_pictures_never_crash_the_decoder() -> None:
    """In process and many more of them: only Problem may come out."""
    from ferkit.serve.admission import PixelBudget
    from ferkit.serve.problems import Problem
    from ferkit.serve.settings import Settings
    from ferkit.serve.uploads import decode

    refused, settings, budget = 0, Settings(max_pixels=1_000_000), PixelBudget(1_000_000)
    for data in fuzzed(1500):
        try:
            pixels = decode(data, settings, budget).pixels
        except Problem:
            refused += 1
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
    assert refused > 500


def test_the_log_has_no_traceback(service: Service) -> None:
    assert "Traceback" not in service.log.read_text()
    assert "internal" not in service.log.read_text()
