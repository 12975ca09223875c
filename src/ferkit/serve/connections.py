"""One connection, HTTP or WebSocket, with limits: uvicorn's own protocols know neither how long a head may take nor how many one client may open."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from functools import cache
from http import HTTPStatus
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .problems import Problem, busy
from .settings import Settings
from .wire import error_json

__all__ = ["BoundedConnection", "BoundedSocket", "raise_descriptor_limit"]

log = logging.getLogger("ferkit.serve.connections")
_quiet = logging.getLogger("ferkit.serve.sockets")  # warnings only: uvicorn tells the address and the query of every stream

_RETRY = 5  # seconds after which a refused client should try again
_SPARE_DESCRIPTORS = 100  # for files, pipes and the listening socket, beside the connections

# The event loop takes up every chunk of a body and every frame of a WebSocket one by one: a quarter megabyte of one-byte
# chunks, which come in one read, would hold up everybody for seconds.
_CHUNK = re.compile(rb"\r\n[0-9A-Fa-f]{1,8}(?=[;\r])")
_CHUNK_BYTES, _READ = 256, 4096  # bytes that a chunk has at least, on the average of a read of so many bytes and more
_FRAMES, _SLICE = 300, 2048  # frames of any kind a second, and bytes that are looked at before they are counted
_POLICY = 1008  # RFC 6455, section 7.4


@cache
def _settings() -> Settings:
    return Settings.from_env()  # uvicorn makes the connections by itself, so the settings come as they come to a worker


def raise_descriptor_limit(connections: int) -> int:
    """Raise this process's limit of open files as far as it may, and return how many connections fit below it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _SPARE_DESCRIPTORS))


def _address(connection: Any) -> str | None:
    client = getattr(connection, "client", None)
    return client[0] if client else None


class _ReadInTime:
    """A client that does not read as fast as it is answered has so long to catch up; then its connection is closed."""

    _send_timer: asyncio.TimerHandle | None = None
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(_settings().send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        self.resume_writing()
        super().connection_lost(exc)  # type: ignore[misc]


class BoundedSocket(_ReadInTime, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with a number of frames a second: empty ones, pings and parts of messages cost the event loop as much as pictures."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _quiet
        self._since, self._frames = self.loop.time(), 0

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            self.conn.receive_data(data[start : start + _SLICE])
            if self._too_many(len(self.conn.events)):
                log.warning("a stream sent more frames than anybody needs, and was closed")
                self.conn.fail(_POLICY, f"more than {_FRAMES} frames a second")
            if self.conn.close_sent is not None and self.conn.close_rcvd is None and not self.close_sent:
                self.handle_parser_exception()
                return
            self.handle_events()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self.disconnected = True  # or an answer that is still under way would be an error of the application

    def _too_many(self, frames: int) -> bool:
        if self.loop.time() - self._since > 1:
            self._since, self._frames = self.loop.time(), 0
        self._frames += frames
        return self._frames > _FRAMES


class BoundedConnection(_ReadInTime, H11Protocol):
    """uvicorn's HTTP/1.1 connection, with a time for a request's head, a time for an answer to be read, and a number of connections.

    Where there are too many, the one that has been idle for longest makes room: sockets that say nothing keep nobody out. A
    client that has all its connections at work gets 429, and anyone gets 503 where all connections are at work.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = _settings()
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None  # None while a request is at work

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        limits, mine = self._limits, [c for c in self.connections if self.client and _address(c) == self.client[0]]
        if limits.max_client_connections and len(mine) > limits.max_client_connections and not self._made_room(mine):
            what = f"This address has {limits.max_client_connections} connections at work already. Try again in {_RETRY} s."
            self._refuse(Problem(429, "too_many_connections", what, _RETRY))
        elif len(self.connections) > limits.max_connections and not self._made_room(list(self.connections)):
            self._refuse(busy(f"All {limits.max_connections} connections are at work.", _RETRY))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and self._at_rest():
            self._wait_for_head()  # the first bytes of a further request: now its head has to come
        if len(data) > _READ and self._may_have_chunks() and len(_CHUNK.findall(data)) * _CHUNK_BYTES > len(data):
            self.send_400_response(f"The body comes in chunks of less than {_CHUNK_BYTES} bytes; send larger ones, or Content-Length.")
            return
        super().data_received(data)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)
        socket = self.transport.get_protocol()
        if isinstance(socket, BoundedSocket) and not socket.handshake_initiated:
            # What the WebSocket library cannot read as a handshake, one that announces a body above all, it leaves without an answer; the
            # connection would stay open for ever, and count.
            self._answer(
                Problem(400, "bad_request", "Not the handshake of a WebSocket: expected a GET without a body, as RFC 6455 has it.")
            )

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._stop_waiting()
        self._answer(Problem(400, "bad_request", msg))

    def _may_have_chunks(self) -> bool:
        """Return whether the bytes that come may be a body's chunks: of a request that says so, or whose head is among them."""
        return self._at_rest() or any(name == b"transfer-encoding" for name, _ in self.headers)

    def _at_rest(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _made_room(self, among: list[Any]) -> bool:
        """Close the connection that has been idle for longest. Returns False where all are at work."""
        idle = [c for c in among if c is not self and isinstance(c, BoundedConnection) and c._idle_since is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda connection: connection._idle_since or 0.0)
        self.connections.discard(oldest)  # it counts no longer, though its transport closes a little later
        oldest.transport.abort()
        log.warning("an idle connection was closed to make room for a new one")
        return True

    def _refuse(self, problem: Problem) -> None:
        """Answer this connection's request with an error once its head is here: an answer before it would be lost in a reset."""

        async def refusal(_: Scope, __: Receive, send: Send) -> None:
            body = error_json(problem, secrets.token_hex(6))
            headers = {**problem.headers(), "content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            start = {"type": "http.response.start", "status": problem.status}
            await send({**start, "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]})
            await send({"type": "http.response.body", "body": body})

        log.warning(problem.message)
        self.app = refusal
        self.ws_protocol_class = None
        if len(self.connections) > 2 * self._limits.max_connections:
            self.transport.abort()

    def _wait_for_head(self) -> None:
        self._idle_since = self.loop.time()
        self._head_timer = self.loop.call_later(self._limits.header_seconds, self._late)

    def _stop_waiting(self) -> None:
        self._idle_since = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing() or not self._at_rest():
            return
        if self.conn.trailing_data[0]:
            self._answer(Problem(408, "too_slow", f"The request's head did not arrive within {self._limits.header_seconds:g} s."))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _answer(self, problem: Problem) -> None:
        """Answer by hand and close, where the connection is in no state to run the application."""
        body, phrase = error_json(problem, secrets.token_hex(6)), HTTPStatus(problem.status).phrase
        head = f"HTTP/1.1 {problem.status} {phrase}\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode("ascii") + body)
        self.transport.close()
