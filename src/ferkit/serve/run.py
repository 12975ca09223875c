"""Starting uvicorn, with one worker process or several."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InputError, MissingExtraError
from .folders import remove_stale_folders, temporary_folder
from .logs import LOGGING, log, log_everything
from .settings import Settings

if TYPE_CHECKING:
    import uvicorn

__all__ = ["serve"]

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Run the service until it is told to stop. Worker processes that die are replaced.

    Args:
        settings: What every worker runs with.
        host: Address to listen on. Only this machine can reach the default.
        port: 0 lets the system choose.
        workers: Processes, each with networks and a queue of its own.

    Raises:
        InputError: Fewer than one worker.
        MissingExtraError: The extra ``serve`` is not installed.
    """
    if workers < 1:
        raise InputError(f"workers={workers}; expected at least 1.")
    if not settings.hosts and _is_loopback(host):
        settings = replace(settings, hosts=(*_LOOPBACK_NAMES, host))
    remove_stale_folders()
    with temporary_folder("metrics") as folder, temporary_folder("jobs") as films:
        settings = replace(settings, jobs_folder=settings.jobs_folder or films)
        environment = settings.to_env()
        if workers > 1:
            # The workers add their counters up through files here. It must be set before prometheus_client is imported.
            environment["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.environ.update(environment)
        try:
            import fastapi  # noqa: F401
            import prometheus_client  # noqa: F401
            import python_multipart  # noqa: F401
            import uvicorn  # noqa: F401
            import websockets  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(error.name or "fastapi", "serve", "ferkit serve") from error
        _open_early(settings)
        config = _config(settings, host, port, workers)
        log_everything()
        if not _is_loopback(host) and settings.api_key is None:
            log.warning("%s is reachable by others and asks for no key; set FERKIT_API_KEY, or put a proxy in front", host)
        if os.name == "nt" and workers > 1:
            log.warning("on Windows films are read with one worker only; photos and the webcam are with %d as well", workers)
        _run(config)


def _config(settings: Settings, host: str, port: int, workers: int) -> uvicorn.Config:
    import uvicorn

    from .connections import BoundedConnection, BoundedSocket

    return uvicorn.Config(
        "ferkit.serve.app:app_from_env",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        root_path=settings.root_path,
        log_config=LOGGING,
        access_log=False,  # ferkit writes its own line, without query strings
        server_header=False,
        http=BoundedConnection,
        ws=BoundedSocket,
        ws_max_size=settings.max_frame_bytes,
        ws_max_queue=2,
        ws_per_message_deflate=False,  # JPEG does not shrink, and a deflated message can be a bomb
        backlog=256,
        timeout_keep_alive=max(1, round(settings.keep_alive_seconds)),
        timeout_graceful_shutdown=15,
        # A worker that dies between being pinged and answering is noticed after this long; less would take a slow start for a hang.
        timeout_worker_healthcheck=10,
        h11_max_incomplete_event_size=32_768,
    )


def _run(config: uvicorn.Config) -> None:
    """Listen, say where, and serve with one process or several."""
    import click
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    class Workers(Multiprocess):
        def terminate_all(self) -> None:
            for listening in self.sockets:
                listening.close()  # or connections that no worker takes any more would queue here, and be cut off at the end
            super().terminate_all()

    listening = _listening(config)
    name = f"[{config.host}]" if ":" in config.host else config.host
    click.echo(f"ferkit is at http://{name}:{listening.getsockname()[1]}{config.root_path}/  (to stop it, press Ctrl-C)")
    sys.stdout.flush()
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        if config.workers > 1:
            Workers(config, sockets=[listening]).run()
        else:
            server.run(sockets=[listening])
    if config.workers == 1 and not server.started:
        sys.exit(3)  # as uvicorn itself where the application does not start


def _listening(config: uvicorn.Config) -> socket.socket:
    """Open the port. Raises InputError."""
    try:
        listening = config.bind_socket()
    except SystemExit as error:  # uvicorn has logged why
        raise InputError(
            f"{config.host}:{config.port} cannot be opened; give another port, or 0 for any that is free.", arguments=["port"]
        ) from error
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which uvicorn's do not; without it an answer's body
    # waits for its head to be acknowledged (Nagle), and a client that keeps its connection does that 40 ms later.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _open_early(settings: Settings) -> None:
    """Find and check the weights and the detector once, so that a wrong name is one clear line and not a worker's traceback."""
    from .catalogue import Catalogue

    catalogue = Catalogue(settings)
    catalogue.classifier(catalogue.default)
    catalogue.detector()
    if settings.onnxruntime_web is not None:
        from .static_export import browser_files

        browser_files(catalogue, settings.onnxruntime_web)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
