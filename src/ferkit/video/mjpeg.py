"""A page on this machine's loopback address that shows the annotated camera: a stream of JPEG pictures (MJPEG)."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from ..errors import InputError
from ..results import Result
from .annotate import anonymous
from .covering import Covered, Covering
from .frame import Frame
from .tables import columns, rows

__all__ = ["Monitor"]

_BOUNDARY = "ferkitframe"
# No page elsewhere may embed the camera's pictures, in an element or a frame, nor learn their size.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>ferkit webcam</title>
<style>body{margin:0;background:#111;color:#ddd;font:16px system-ui,sans-serif;text-align:center}img{max-width:100vw;max-height:92vh}</style>
<img src="/stream" alt="annotated camera"><p>Apparent expression, not feeling. <a style="color:#9cf" href="/latest.json">latest.json</a></p></html>
"""


class Monitor:
    """Serves the newest annotated frame to whoever looks, on 127.0.0.1 only.

    ``/`` is a page, ``/stream`` the pictures, ``/latest.json`` the rows of the newest frame. A slow viewer misses frames; it
    never holds up the camera. Requests under another host name are refused, so that no web page elsewhere can look.

    Args:
        port: 0 takes any free one.
        labels: Columns of the rows, as in ``ferkit.video.tables``.
        blur: Cover every head that was seen, see ``ferkit.video.covering.Covering``; a live picture cannot look ahead.

    Raises:
        InputError: The port is taken.
    """

    def __init__(self, port: int, labels: list[str], *, blur: bool = False) -> None:
        self._labels = labels
        self._covering = Covering(ahead=False) if blur else None
        self._news = threading.Condition()
        self._count, self._jpeg, self._rows, self._over = 0, b"", b"[]", False
        self._viewers = 0
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise InputError(f"Port {port} cannot be opened ({error.strerror}); give another one, or 0 for any.") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def add(self, frame: Frame, result: Result) -> None:
        """Show the next frame. It is drawn, and kept until the next one, only if somebody looks."""
        table = [dict(zip(columns(self._labels), row, strict=True)) for row in rows(frame, result, self._labels)]
        # Who was seen counts also while nobody looks.
        covered = [] if self._covering is None else list(self._covering.add(frame, result))
        jpeg = _jpeg(frame, result, covered) if self._viewers else b""
        with self._news:
            # The last viewer may have gone while it was drawn.
            self._count, self._jpeg, self._rows = self._count + 1, jpeg if self._viewers else b"", json.dumps(table).encode()
            self._news.notify_all()

    def close(self) -> None:
        with self._news:
            self._over = True
            self._news.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # else the end of a picture waits until the viewer has acknowledged its beginning

            def do_GET(self) -> None:
                host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
                if host not in ("127.0.0.1", "localhost"):
                    self.send_error(403, "Only under 127.0.0.1 or localhost")
                elif self.path != "/" and self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
                    self.send_error(403, "Another site's page may not show this camera")
                elif self.path == "/":
                    self._answer("text/html; charset=utf-8", _PAGE)
                elif self.path == "/latest.json":
                    self._answer("application/json", monitor._rows)
                elif self.path == "/stream":
                    monitor._stream(self)
                else:
                    self.send_error(404)

            def _answer(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def end_headers(self) -> None:
                for name, value in _HEADERS.items():
                    self.send_header(name, value)
                super().end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing: standard error is for the user's own messages."""

        return Handler

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        handler.end_headers()
        with self._news:
            self._viewers += 1
        seen = 0
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda last=seen: self._over or self._count > last, timeout=10)  # type: ignore[misc]
                    if self._over:
                        return
                    seen, jpeg = self._count, self._jpeg
                if jpeg:
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    handler.wfile.write(head.encode() + jpeg + b"\r\n")
        except OSError:
            return  # the viewer has gone
        finally:
            with self._news:
                self._viewers -= 1
                if not self._viewers:
                    self._jpeg = b""  # or whoever looks next sees a glimpse of the past


def _jpeg(frame: Frame, result: Result, covered: list[Covered]) -> bytes:
    buffer = BytesIO()
    picture = anonymous(covered[-1]) if covered else replace(result, pixels=frame.pixels).draw()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
