"""An object store on this machine, and what networks do to requests on their way to it."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

BUSY = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


class Faults:
    """Which requests fail, and how: a share of them, drawn by a seed.

    Args:
        share: Of all requests.
        kinds: Some of ``busy`` (503), ``reset`` (the answer, or what is put, breaks off half way), ``slow`` (the answer comes late).
        late: Seconds of ``slow``.
    """

    def __init__(self, share: float, kinds: tuple[str, ...] = ("busy", "reset", "slow"), late: float = 0.2, seed: int = 0) -> None:
        self.share, self._kinds, self.late = share, kinds, late
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self.direct = ""  # the store without the proxy, for those who look on
        self.asked: Counter[tuple[str, str]] = Counter()  # method, path
        self.done: Counter[str] = Counter()  # kind of fault

    def draw(self, method: str, path: str) -> str | None:
        with self._lock:
            self.asked[method, unquote(urlsplit(path).path)] += 1
            kind = self._chance.choice(self._kinds) if self._chance.random() < self.share else None
            if kind is not None:
                self.done[kind] += 1
            return kind


@contextmanager
def store(faults: Faults) -> Iterator[str]:
    """Run moto's S3 behind a proxy that fails as it is told; yield the proxy's address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    faults.direct = f"http://{host}:{port}"

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def _pass(self) -> None:
            fault = faults.draw(self.command, self.path)
            size = int(self.headers.get("Content-Length") or 0)
            if fault == "reset" and size:
                self.rfile.read(size // 2)
                self._break_off()
                return
            body = self.rfile.read(size) if self.headers.get("Transfer-Encoding") != "chunked" else self._chunks()
            if fault == "busy":
                self._answer(503, {"Content-Type": "application/xml"}, BUSY)
                return
            if fault == "slow":
                time.sleep(faults.late)
            upstream = http.client.HTTPConnection(host, port, timeout=60)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "transfer-encoding")}
                upstream.request(self.command, self.path, body, {**headers, "Connection": "close"})
                answer = upstream.getresponse()
                data = answer.read()
                kept = {name: value for name, value in answer.getheaders() if name.lower() not in ("connection", "transfer-encoding")}
                half = fault == "reset" and len(data) > 1
                self._answer(answer.status, kept, data, half=half)
            finally:
                upstream.close()

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

        def _chunks(self) -> bytes:
            out = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                out += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return out

        def _answer(self, status: int, headers: dict[str, str], data: bytes, half: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if half else data)
            if half:
                self._break_off()

        def _break_off(self) -> None:
            """End the connection without a farewell, as a machine does that loses its network."""
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    proxy.daemon_threads = True
    proxy.handle_error = lambda *_: None  # type: ignore[method-assign] - a client that went away
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()
        thread.join()


def bucket(address: str, name: str) -> Any:
    """Make a bucket, and return a client of the store."""
    import boto3

    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    client.create_bucket(Bucket=name)
    return client
