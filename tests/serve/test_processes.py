"""The service as real processes: load, memory, killed workers, nginx in front; and schemathesis."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets", "httpx"):
    pytest.importorskip(module, reason="needs ferkit[serve] and httpx")

import httpx  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from ferkit.serve.app import create_app  # noqa: E402
from ferkit.serve.settings import Settings  # noqa: E402
from ferkit.train.common.group import free_port  # noqa: E402
from tests.helpers.serving import WEIGHTS, Service, answers, encoded, listens, noise, wait_for  # noqa: E402
from tests.helpers.waiting import until  # noqa: E402

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the bundled weights")

DEPLOY = Path(__file__).resolve().parents[2] / "docs" / "deploy"


def hammer(url: str, data: bytes, clients: int, enough: Callable[[list[str]], bool]) -> list[str]:
    """Post from several clients until there is enough; return the outcomes. A refused client waits a little, a cut one comes back."""
    outcomes: list[str] = []
    end = time.monotonic() + 120

    def run() -> None:
        with httpx.Client(timeout=20) as http:
            while not enough(outcomes) and time.monotonic() < end:
                try:
                    outcome = str(http.post(f"{url}/v1/predict", content=data).status_code)
                except httpx.TimeoutException:
                    outcome = "timeout"
                except httpx.TransportError:
                    outcome = "lost"
                outcomes.append(outcome)
                if outcome != "200":
                    time.sleep(0.1)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert enough(outcomes), outcomes
    return outcomes


class Killing:
    """Enough are so many answers, then a killed process, then so many more."""

    def __init__(self, process: int, *, answers: int, more: int) -> None:
        self._process, self._answers, self._more = process, answers, more
        self._killed: int | None = None
        self._lock = threading.Lock()

    def __call__(self, outcomes: list[str]) -> bool:
        done = outcomes.count("200")
        with self._lock:
            if self._killed is None and done >= self._answers:
                self._killed = done
                os.kill(self._process, signal.SIGKILL)
        return self._killed is not None and done >= self._killed + self._more


@pytest.mark.slow
def test_overload_is_503_and_passes(tmp_path: Path) -> None:
    """What it takes in memory: benchmarks/serve_load.py."""
    data = encoded(Image.open(io.BytesIO(noise(640, 480, "JPEG"))))
    with Service(tmp_path, "--queue", "16", "--max-images", "4") as service:
        outcomes = hammer(service.url, data, 40, lambda seen: seen.count("503") >= 40 and seen.count("200") >= 40)
        assert set(outcomes) == {"200", "503"}
        assert answers(f"{service.url}/readyz")
        assert httpx.post(f"{service.url}/v1/predict", content=data, timeout=20).status_code == 200


@pytest.mark.slow
def test_a_killed_worker_loses_only_its_own_requests(tmp_path: Path) -> None:
    clients = 8
    with Service(tmp_path, "--workers", "2", "--detector", "none") as service:
        until(lambda: len(service.children()) == 2, "two workers")
        first = service.children()
        killed = Killing(first[0], answers=50, more=100)
        outcomes = hammer(service.url, noise(), clients, killed)
        counts = {name: outcomes.count(name) for name in ("200", "503", "lost", "timeout")}
        # Each client has one request under way, so the dead worker held at most one of each.
        assert counts["lost"] <= clients
        assert counts["timeout"] == 0
        assert sum(counts.values()) == len(outcomes)
        until(lambda: len(service.children()) == 2 and first[0] not in service.children(), "a worker in place of the killed one")
        metrics = httpx.get(f"{service.url}/metrics").text
        total = sum(
            float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("ferkit_requests_total") and "predict" in line
        )
        assert total >= counts["200"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_that_is_told_to_stop_answers_what_it_has_and_refuses_the_rest(tmp_path: Path, workers: int) -> None:
    outcomes: list[str] = []
    service = Service(tmp_path, "--workers", str(workers), "--detector", "none")

    def ask() -> None:
        while True:
            try:  # a connection of its own each time: an idle one that is kept may be closed at any moment
                outcomes.append(str(httpx.post(f"{service.url}/v1/predict", content=noise(), timeout=30).status_code))
            except httpx.ConnectError:
                outcomes.append("refused")
                return
            except httpx.TransportError as error:
                outcomes.append(repr(error))
                return

    with service:
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        until(lambda: outcomes.count("200") > 30, "answers")
        service.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert service.process.wait(40) in (0, -signal.SIGTERM)
    # A connection that the system had taken and no worker yet is cut off; with the port held open until the end all of them were.
    assert sum(outcome not in ("200", "refused") for outcome in outcomes) <= 3, outcomes[-6:]
    assert "refused" in outcomes
    for line in service.log.read_text().splitlines():
        assert "exception" not in json.loads(line)


def nginx_in_front(folder: Path, upstream: int) -> tuple[int, Path]:
    """Write the shipped configuration with this test's ports and without its limit on the rate, which a fast machine meets; return port and file."""
    port = free_port("127.0.0.1")
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    mine = {
        "server ferkit:8000": f"server 127.0.0.1:{upstream}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "rate=30r/s": "rate=100000r/s",
    }
    for old, new in mine.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return port, path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="needs nginx")
def test_behind_nginx(tmp_path: Path) -> None:
    from websockets.sync.client import connect

    nginx = str(shutil.which("nginx", path="/usr/sbin:/usr/bin"))
    with Service(tmp_path, "--workers", "2", "--detector", "none") as service:
        port, configuration = nginx_in_front(tmp_path, service.port)
        command = [nginx, "-p", str(tmp_path), "-c", str(configuration), "-e", str(tmp_path / "error.log")]
        subprocess.run([*command, "-t"], check=True, capture_output=True)
        process = subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            (tmp_path / "error.log").touch()
            wait_for(f"{url}/readyz", process, tmp_path / "error.log")
            with httpx.Client(base_url=url, timeout=20) as http:
                assert http.get("/").text.startswith("<!doctype html>")
                answer = http.post("/v1/predict", files=[("image", (f"{i}.png", noise(seed=i))) for i in range(4)])
                assert [len(image["faces"]) for image in answer.json()["images"]] == [1] * 4
                assert answer.headers["content-security-policy"].startswith("default-src 'none'")
                assert http.post("/v1/predict", content=b"\xff\xd8\xff" + b"\0" * 30_000_000).status_code == 413
                too_large = http.post("/v1/predict", content=b"\xff\xd8\xff" + b"\0" * 30_000_000)
                assert (too_large.headers["content-type"], too_large.json()["error"]["code"]) == ("application/json", "too_large")
                assert http.get("/metrics").status_code == 404
            with connect(f"ws://127.0.0.1:{port}/v1/stream", origin=f"http://127.0.0.1:{port}", proxy=None) as socket:
                socket.send(noise())
                assert len(json.loads(socket.recv(timeout=20))["faces"]) == 1
            # One worker dies under load: what it was working on is answered 502 and not handed to the other, which it could kill too.
            seen = hammer(url, noise(), 6, Killing(service.children()[0], answers=50, more=100))
            assert set(seen) <= {"200", "502", "503", "lost"}
            assert seen.count("502") + seen.count("lost") <= 6
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="needs nginx")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls_as_the_configuration_says(tmp_path: Path) -> None:
    """The TLS lines, uncommented as their comment tells: HTTPS with HSTS, secure WebSockets, no plain port, no TLS 1.1."""
    from websockets.sync.client import connect

    nginx = str(shutil.which("nginx", path="/usr/sbin:/usr/bin"))
    (tmp_path / "tls").mkdir()
    key, certificate = tmp_path / "tls" / "privkey.pem", tmp_path / "tls" / "fullchain.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *names], check=True, capture_output=True)
    with Service(tmp_path, "--detector", "none") as service:
        port, configuration = nginx_in_front(tmp_path, service.port)
        text = configuration.read_text(encoding="utf-8")
        text = text.replace(f"listen 127.0.0.1:{port};", "")
        start = text.index("# TLS:")
        end = text.index("\n\n", start)
        lines = [line.strip().removeprefix("# ") for line in text[start:end].splitlines()[1:]]
        assert lines[0] == "listen 8443 ssl;"
        # Debian's nginx is older than the one in compose.yaml and does not know http2 as a directive.
        wanted = "\n".join(line for line in lines if not line.startswith("http2")).replace("8443", f"127.0.0.1:{port}")
        configuration.write_text(text[:start] + "\n" + wanted + text[end:], encoding="utf-8")
        command = [nginx, "-p", str(tmp_path), "-c", str(configuration), "-e", str(tmp_path / "error.log")]
        subprocess.run([*command, "-t"], check=True, capture_output=True)
        process = subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
        trust = ssl.create_default_context(cafile=str(certificate))
        try:
            with httpx.Client(base_url=f"https://localhost:{port}", timeout=20, verify=trust) as http:
                until(lambda: listens(port) or process.poll() is not None, "nginx listens")
                ready = http.get("/readyz")
                assert ready.status_code == 200
                assert ready.headers["strict-transport-security"].startswith("max-age=")
                assert len(http.post("/v1/predict", content=noise()).json()["images"]) == 1
            with connect(f"wss://localhost:{port}/v1/stream", ssl=trust, origin=f"https://localhost:{port}", proxy=None) as socket:
                socket.send(noise())
                assert len(json.loads(socket.recv(timeout=20))["faces"]) == 1
            with httpx.Client(timeout=20) as plain:
                assert plain.get(f"http://localhost:{port}/").status_code == 400
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises(httpx.ConnectError), httpx.Client(verify=old, timeout=20) as http:
                http.get(f"https://localhost:{port}/")
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.slow
def test_schemathesis_finds_no_5xx() -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
    hypothesis = pytest.importorskip("hypothesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    app = create_app(Settings(detector="none"))
    with TestClient(app):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        operations = [result.ok() for result in schema.get_all_operations()]
        assert {operation.path for operation in operations} >= {"/v1/predict", "/v1/weights", "/healthz", "/readyz", "/metrics"}
        for operation in operations:

            @hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), database=None)
            @hypothesis.given(case=operation.as_strategy())
            def run(case: Any) -> None:
                case.call_and_validate(checks=checks)

            run()
