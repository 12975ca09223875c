"""hf:// addresses against a loopback server that speaks the hub's resolve protocol."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ferkit import Ensemble
from ferkit.weights.releases import DEFAULT_WEIGHTS
from ferkit.weights.store import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ADDRESS = f"hf://org/repo@{COMMIT}"


class Hub:
    """One repository at one commit."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.cut: str | None = None  # a file whose connection breaks half-way
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, body: bool) -> None:
                hub.requests.append(f"{self.command} {self.path}")
                prefix = f"/org/repo/resolve/{COMMIT}/"
                name = self.path.removeprefix(prefix)
                if not self.path.startswith(prefix) or name not in hub.files:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound" if self.path.startswith(prefix) else "RepoNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                data = hub.files[name]
                self.send_response(200)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/octet-stream")
                self.end_headers()
                if body and hub.cut == name:
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                elif body:
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    folder = resolve()
    hub = Hub({p.name: p.read_bytes() for p in folder.iterdir()})
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def cli(hub: Hub, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run the ferkit command in a process of its own: huggingface_hub reads its settings once, at import."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in ("FERKIT_OFFLINE", "HF_HUB_OFFLINE")}
        env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        env |= {"HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_ETAG_TIMEOUT": "5"} | environment
        return subprocess.run(
            [sys.executable, "-m", "ferkit", *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def test_fetch_then_work_offline(hub: Hub, cli, photo: Path) -> None:  # type: ignore[no-untyped-def]
    fetched = cli("weights", "fetch", ADDRESS)
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(fetched.stdout.strip())
    assert {"spec.json", "model.onnx", "model.keras"} <= {p.name for p in folder.iterdir()}
    asked = len(hub.requests)
    done = cli("predict", str(photo), "--weights", ADDRESS, FERKIT_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["weights"] == json.loads(hub.files["spec.json"])["name"]
    assert len(hub.requests) == asked


def test_corrupt_file_names_both_hashes_and_is_cured_by_force(hub: Hub, cli) -> None:  # type: ignore[no-untyped-def]
    good = hub.files["model.onnx"]
    hub.files["model.onnx"] = good[:-4] + b"oops"
    done = cli("weights", "fetch", ADDRESS)
    assert done.returncode == 1
    assert hashlib.sha256(good).hexdigest() in done.stderr
    assert hashlib.sha256(hub.files["model.onnx"]).hexdigest() in done.stderr
    assert f"ferkit weights fetch {ADDRESS} --force" in done.stderr
    assert cli("weights", "path", ADDRESS).returncode == 1  # the damaged file is never used
    hub.files["model.onnx"] = good
    assert cli("weights", "fetch", ADDRESS, "--force").returncode == 0
    # A failed second fetch does not lose the good copy.
    hub.cut = "model.onnx"
    assert cli("weights", "fetch", ADDRESS, "--force").returncode == 1
    assert cli("weights", "path", ADDRESS, FERKIT_OFFLINE="1").returncode == 0


def test_truncated_download_leaves_nothing_broken(hub: Hub, cli) -> None:  # type: ignore[no-untyped-def]
    hub.cut = "model.onnx"
    done = cli("weights", "fetch", ADDRESS)
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert "Traceback" not in done.stderr
    hub.cut = None
    assert cli("weights", "fetch", ADDRESS).returncode == 0


@pytest.mark.parametrize("address", [f"hf://org/other@{COMMIT}", "hf://org/repo@nosuchrevision"])
def test_not_found(cli, address: str) -> None:  # type: ignore[no-untyped-def]
    done = cli("weights", "fetch", address)
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert "404" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_entry(hub: Hub, cli) -> None:  # type: ignore[no-untyped-def]
    del hub.files["model.keras"]
    done = cli("weights", "fetch", ADDRESS)
    assert done.returncode == 1
    assert "model.keras" in done.stderr


@pytest.mark.slow  # the hub's client tries for about twenty seconds
def test_no_network(cli) -> None:  # type: ignore[no-untyped-def]
    done = cli("weights", "fetch", ADDRESS, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_ensemble_comes_with_its_copied_members(hub: Hub, cli, photo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mine = Path(shutil.copytree(resolve("fer2013-n-v6"), tmp_path / "mine"))
    spec = mine / "spec.json"
    spec.write_text(spec.read_text().replace('"name": "fer2013-n-v6"', '"name": "mine-v1"'))
    saved = Ensemble.from_pretrained([DEFAULT_WEIGHTS, mine]).save(tmp_path / "both-v1")
    hub.files = {path.relative_to(saved).as_posix(): path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    assert sorted(hub.files) == ["members/01-mine-v1/model.onnx", "members/01-mine-v1/spec.json", "spec.json"]
    fetched = cli("weights", "fetch", ADDRESS)
    assert fetched.returncode == 0, fetched.stderr
    done = cli("predict", str(photo), "--weights", ADDRESS, FERKIT_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["weights"] == "both-v1"


def test_offline_variable_wins(hub: Hub, cli) -> None:  # type: ignore[no-untyped-def]
    done = cli("weights", "fetch", ADDRESS, FERKIT_OFFLINE="1")
    assert done.returncode == 1
    assert "FERKIT_OFFLINE" in done.stderr
    assert hub.requests == []


def test_file_names_cannot_leave_the_folder(hub: Hub, cli) -> None:  # type: ignore[no-untyped-def]
    spec = json.loads(hub.files["spec.json"])
    spec["files"]["../../evil"] = {"sha256": "0" * 64, "size": 1}
    hub.files["spec.json"] = json.dumps(spec).encode()
    done = cli("weights", "fetch", ADDRESS)
    assert done.returncode == 1
    assert "files inside its folder" in done.stderr
