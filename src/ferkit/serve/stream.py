"""Webcam frames over a WebSocket: JPEG in, JSON out, the newest frame first and never more than one in the queue."""

from __future__ import annotations

import asyncio
import json
import time

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from .admission import StreamPlaces
from .catalogue import Catalogue, Choice
from .engine import Engine
from .metrics import Metrics
from .people import People
from .problems import Problem, busy
from .schemas import ErrorBody, StreamFace, StreamResponse
from .security import key_of, require_key
from .settings import Settings

__all__ = ["Stream"]

_HELLO_SECONDS = 5.0
_PAUSE_SECONDS = 0.2  # after a 503, so that a stream does not hammer a full queue

_CHOICES = ("weights", "labels", "key")
_UNAVAILABLE = 503
# RFC 6455, section 7.4
_POLICY, _TOO_BIG, _TRY_LATER, _GOING_AWAY = 1008, 1009, 1013, 1001


class Stream:
    """One connection.

    The client sends text ``{"weights", "labels", "key"}``, each optional, at any time; and a picture as one binary
    message. Every answer names the frame it belongs to. A frame that arrives while another is worked on replaces the
    one that waits, so a slow service skips frames instead of falling behind.
    """

    def __init__(
        self, socket: WebSocket, settings: Settings, catalogue: Catalogue, engine: Engine, metrics: Metrics, places: StreamPlaces
    ) -> None:
        self._socket, self._settings, self._catalogue, self._engine, self._metrics = socket, settings, catalogue, engine, metrics
        self._places = places
        self._choice: Choice = catalogue.default
        self._allowed = False
        self._id: str = socket.scope.get("state", {}).get("fields", {}).get("id", "")
        self._until = 0.0  # when the next picture, or before the first one the key, has to be here
        self.seen = 0.0
        self._refused = False  # whether the last frame was no picture
        self._pushed = asyncio.Event()
        self._count = 0
        self._newest: tuple[int, bytes] | None = None
        self._people = People()
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Serve the connection until either side leaves."""
        await self._socket.accept()
        try:
            self._places.wait_outside()
        except Problem as problem:  # accepted first: of a refused handshake a browser sees nothing
            await self._close(_TRY_LATER, problem.message)
            return
        try:
            await self._run()
        finally:
            self._places.leave(self)
            self._metrics.streams.set(self._places.taken)

    async def _run(self) -> None:
        self._until = time.monotonic() + _HELLO_SECONDS
        try:
            self._allow(key_of(self._socket.headers))
        except Problem as problem:
            if problem.status == _UNAVAILABLE:
                await self._close(_TRY_LATER, problem.message)
                return
            # A browser cannot set headers here; the key may come in the first message.
        tasks = [asyncio.create_task(work) for work in (self._read(), self._answer(), self._made_room())]
        for task in tasks:  # what the first one raises is handled below; of a second one nobody needs to hear
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except WebSocketDisconnect:
            pass
        except Problem as problem:
            await self._close({401: _POLICY, _UNAVAILABLE: _TRY_LATER}.get(problem.status, _TOO_BIG), problem.message)
        except TimeoutError:
            await self._close(_GOING_AWAY, "No picture came for too long.")
        finally:
            for task in tasks:
                task.cancel()
            # Not gather: it would answer a cancellation from outside with its children's, which no cancel scope knows as its own.
            await asyncio.wait(tasks)

    def _allow(self, key: str | None) -> None:
        """Take a place for whoever has the key. Raises Problem 401 for a wrong key, 503 where no place is free."""
        require_key(key, self._settings.api_key)
        self.seen = time.monotonic()
        self._places.take(self)
        self._metrics.streams.set(self._places.taken)
        self._allowed = True
        self._until = self.seen + self._settings.idle_seconds

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                    message = await self._socket.receive()
            except TimeoutError:
                if time.monotonic() < self._until:
                    continue  # a picture was answered meanwhile
                raise
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or 1000)
            if message.get("text") is not None:
                await self._configure(message["text"])
            elif not self._allowed:
                require_key(None, self._settings.api_key)
            else:
                self._offer(message.get("bytes") or b"")

    def _offer(self, data: bytes) -> None:
        if len(data) > self._settings.max_frame_bytes:
            raise Problem(413, "too_large", f"A frame of {len(data):,} bytes; expected at most {self._settings.max_frame_bytes:,}.")
        if self._newest is not None:
            self._metrics.frames.labels("skipped").inc()
        self._newest = (self._count, data)
        self._count += 1
        if not self._refused:
            self._keep()
        self._arrived.set()

    def _keep(self) -> None:
        """Stay for a further while: only pictures count, since text and noise could hold a place for ever."""
        self.seen = time.monotonic()
        self._until = self.seen + self._settings.idle_seconds

    def make_room(self) -> None:
        """Give the place to another stream: this one has sent no picture for long."""
        self._pushed.set()

    async def _made_room(self) -> None:
        await self._pushed.wait()
        raise busy("All places for streams are taken, and this one sent no picture for a while.", 5)

    async def _configure(self, text: str) -> None:
        try:
            wanted = json.loads(text) if len(text) < 2000 else None
        except (ValueError, RecursionError):  # a thousand brackets are deeper than Python reads
            wanted = None
        if not isinstance(wanted, dict) or not all(isinstance(v, (str, type(None))) for v in wanted.values()):
            if not self._allowed:  # no second try: it would hold a stream open without a key
                require_key(None, self._settings.api_key)
            await self._tell_error(Problem(422, "bad_message", 'Expected JSON such as {"weights": null, "labels": "fer2013"}.'))
            return
        if not self._allowed:
            self._allow(wanted.get("key"))
        unknown = [name for name in wanted if name not in _CHOICES]
        if unknown:
            await self._tell_error(Problem(422, "unknown_parameter", f"Unknown key {unknown[0][:80]!r}; expected {', '.join(_CHOICES)}."))
            return
        try:
            self._choice = self._catalogue.choose(wanted.get("weights"), wanted.get("labels"))
        except Problem as problem:
            await self._tell_error(problem)

    async def _answer(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._newest is None:
                continue
            number, data = self._newest
            self._newest = None
            try:
                answer = (await self._engine.submit([data], self._choice, keep_pixels=True))[0]
                if isinstance(answer, Problem):
                    raise answer
            except Problem as problem:
                self._refused = problem.status < 500
                self._metrics.frames.labels(problem.code).inc()
                await self._tell_error(problem, number)
                if problem.status == _UNAVAILABLE:
                    await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._refused = False
            self._keep()
            self._metrics.frames.labels("answered").inc()
            # Optical flow takes milliseconds: not on the loop that moves everybody's bytes.
            result = await asyncio.to_thread(self._people, answer.result, time.monotonic())
            await self._tell(
                StreamResponse(
                    frame=number, width=result.width, height=result.height, faces=[StreamFace(**face.to_dict()) for face in result.faces]
                )
            )

    async def _tell_error(self, problem: Problem, number: int = -1) -> None:
        await self._tell(
            StreamResponse(frame=number, error=ErrorBody(code=problem.code, message=problem.message), request_id=self._id or None)
        )

    async def _tell(self, response: StreamResponse) -> None:
        await self._socket.send_text(response.model_dump_json())

    async def _close(self, code: int, reason: str) -> None:
        if self._socket.application_state is WebSocketState.CONNECTED:
            await self._socket.close(code, reason[:100])
