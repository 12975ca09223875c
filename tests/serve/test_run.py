"""How the service listens."""

from __future__ import annotations

import socket

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="needs ferkit[serve]")

from ferkit.serve.run import _listening  # noqa: E402


def test_an_answer_does_not_wait_for_its_head_to_be_acknowledged() -> None:
    """Connections send small pieces at once: with Nagle's algorithm every answer on a kept connection was 40 ms late."""
    with _listening(uvicorn.Config("ferkit.serve.app:app_from_env", host="127.0.0.1", port=0, log_level="critical")) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
