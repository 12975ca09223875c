"""How the service listens."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn", reason="needs ferkit[serve]")

for module in ("fastapi", "prometheus_client", "python_multipart", "websockets"):
    pytest.importorskip(module, reason="needs ferkit[serve]")

from ferkit import InputError  # noqa: E402
from ferkit.serve import run  # noqa: E402
from ferkit.serve.connections import BoundedConnection, BoundedSocket  # noqa: E402
from ferkit.serve.run import _listening  # noqa: E402
from ferkit.serve.settings import ENV_NAME, Settings  # noqa: E402


def test_an_answer_does_not_wait_for_its_head_to_be_acknowledged() -> None:
    """Connections send small pieces at once: with Nagle's algorithm every answer on a kept connection was 40 ms late."""
    with _listening(uvicorn.Config("ferkit.serve.app:app_from_env", host="127.0.0.1", port=0, log_level="critical")) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, uvicorn.Config]]:
    """What would be served, instead of serving it."""
    seen: list[tuple[Settings, uvicorn.Config]] = []
    for name in (ENV_NAME, "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.setenv(name, "")  # so that it is put back
    monkeypatch.setattr(run, "_open_early", lambda settings: None)
    monkeypatch.setattr(run, "log_everything", lambda: None)
    monkeypatch.setattr(run, "LOGGING", None)  # which is for a whole process
    monkeypatch.setattr(run, "_run", lambda config: seen.append((Settings.from_env(), config)))
    return seen


def test_fewer_than_one_worker_is_refused(started: list[Any]) -> None:
    with pytest.raises(InputError, match="workers=0; expected at least 1"):
        run.serve(Settings(), workers=0)
    assert not started


@pytest.mark.parametrize(
    ("host", "known"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("192.0.2.7", False), ("example.org", False)],
)
def test_on_a_loopback_address_its_own_names_alone_are_answered(started: list[Any], host: str, known: bool) -> None:
    run.serve(Settings(), host=host)
    run.serve(Settings(hosts=("mine.example",)), host=host)
    assert [(host in settings.hosts, bool(settings.hosts)) for settings, _ in started[:1]] == [(known, known)]
    assert started[1][0].hosts == ("mine.example",)


def test_whoever_lets_others_in_without_a_key_is_warned(started: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    run.serve(Settings())
    run.serve(Settings(api_key="correct horse battery"), host="0.0.0.0")
    assert "reachable by others" not in caplog.text
    run.serve(Settings(), host="0.0.0.0")
    assert "0.0.0.0 is reachable by others and asks for no key" in caplog.text


def test_workers_share_a_folder_of_films_that_goes_with_the_service(started: list[Any], tmp_path: Path) -> None:
    run.serve(Settings(), workers=3)
    run.serve(Settings(jobs_folder=str(tmp_path)))
    (several, config), (one, _) = started
    assert config.workers == 3
    assert several.jobs_folder is not None
    assert not Path(several.jobs_folder).exists()
    assert one.jobs_folder == str(tmp_path)
    assert tmp_path.is_dir()


def test_connections_have_the_limits_of_the_settings(started: list[Any]) -> None:
    run.serve(Settings(max_frame_bytes=12_345, keep_alive_seconds=7, root_path="/faces"))
    ((_, config),) = started
    assert (config.ws_max_size, config.timeout_keep_alive, config.root_path) == (12_345, 7, "/faces")
    assert (config.http, config.ws, config.ws_per_message_deflate) == (BoundedConnection, BoundedSocket, False)
