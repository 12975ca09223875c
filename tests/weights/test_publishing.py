"""ferkit push against a loopback server that speaks as much of the hub's protocol as pushing needs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ferkit import InputError, WeightsError
from ferkit.weights.publishing import push
from ferkit.weights.store import resolve


class WriteHub:
    """One repository: commits as file lists, tags, and large files by their hash."""

    def __init__(self) -> None:
        self.exists = False
        self.commits: list[tuple[str, dict[str, bytes]]] = [("0" * 40, {})]
        self.tags: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.refuse = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._route()

            def do_POST(self) -> None:
                self._route()

            def do_PUT(self) -> None:
                self._route()

            def do_HEAD(self) -> None:
                self._route()

            def _answer(self, value: object, status: int = 200) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def _route(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.split("?")[0]
                hub.requests.append(f"{self.command} {path}")
                if hub.refuse:
                    self._answer({"error": "no"}, 403)
                elif path == "/api/repos/create":
                    status = 409 if hub.exists else 200
                    hub.exists = True
                    self._answer({"url": f"{hub.endpoint}/org/repo", "id": "org/repo", "name": "org/repo"}, status)
                elif path == "/api/validate-yaml":  # the client asks about every README.md
                    self._answer({"errors": [], "warnings": []})
                elif path == "/api/models/org/repo/refs":
                    tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in hub.tags.items()]
                    branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": hub.commits[-1][0]}]
                    self._answer({"branches": branches, "converts": [], "tags": tags})
                elif path == "/api/models/org/repo/tree/main":
                    listed = [
                        {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in hub.commits[-1][1].items()
                    ]
                    self._answer(listed)
                elif path == "/api/models/org/repo/preupload/main":
                    files = json.loads(body)["files"]
                    large = [
                        {"path": f["path"], "uploadMode": "lfs" if f["size"] > 10_000 else "regular", "shouldIgnore": False} for f in files
                    ]
                    self._answer({"files": large})
                elif path == "/org/repo.git/info/lfs/objects/batch":
                    objects = json.loads(body)["objects"]
                    self._answer(
                        {
                            "transfer": "basic",
                            "objects": [{**o, "actions": {"upload": {"href": f"{hub.endpoint}/blob/{o['oid']}"}}} for o in objects],
                        }
                    )
                elif path.startswith("/blob/"):
                    hub.blobs[path.rsplit("/", 1)[1]] = body
                    self._answer({})
                elif path == "/api/models/org/repo/commit/main":
                    files = dict(hub.commits[-1][1])
                    for line in body.splitlines():
                        entry = json.loads(line)
                        if entry["key"] == "file":
                            files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                        elif entry["key"] == "lfsFile":
                            files[entry["value"]["path"]] = hub.blobs[entry["value"]["oid"]]
                    oid = hashlib.sha1(body).hexdigest()
                    hub.commits.append((oid, files))
                    self._answer(
                        {"success": True, "commitOid": oid, "commitUrl": f"{hub.endpoint}/org/repo/commit/{oid}", "hookOutput": ""}
                    )
                elif found := re.fullmatch(r"/api/models/org/repo/tag/(\w+)", path):
                    hub.tags[json.loads(body)["tag"]] = found.group(1)
                    self._answer({})
                else:
                    self._answer({"error": f"not found: {path}"}, 404)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub() -> Iterator[WriteHub]:
    hub = WriteHub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def cli(hub: WriteHub, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in ("FERKIT_OFFLINE", "HF_HUB_OFFLINE")}
        env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_loopback", "HF_HUB_DISABLE_XET": "1"}
        env |= {"HF_HUB_DISABLE_TELEMETRY": "1"} | environment
        return subprocess.run(
            [sys.executable, "-m", "ferkit", *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def bundle(folder: Path, name: str) -> Path:
    shutil.copytree(resolve(), folder)
    spec = json.loads((folder / "spec.json").read_text())
    spec["name"] = name
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "checkpoint.npz").write_bytes(b"stays at home")
    return folder


def test_push_uploads_and_tags_once(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = bundle(tmp_path / "mine", "mine-v1")
    done = cli("push", str(folder), "hf://org/repo")
    assert done.returncode == 0, done.stderr
    commit, files = hub.commits[-1]
    assert done.stdout.strip() == f"hf://org/repo@{commit}"
    assert hub.tags == {"mine-v1": commit}
    assert set(files) == {"model.onnx", "model.keras", "spec.json", "card.md", "README.md"}
    assert files["model.onnx"] == (folder / "model.onnx").read_bytes()

    refused = cli("push", str(folder), "hf://org/repo")
    assert refused.returncode == 1
    assert "already has mine-v1" in refused.stderr
    assert len(hub.commits) == 2
    following = cli("push", str(bundle(tmp_path / "next", "mine-v2")), "hf://org/repo")
    assert following.returncode == 0, following.stderr
    assert set(hub.tags) == {"mine-v1", "mine-v2"}


def test_the_card_has_a_head_that_the_hub_reads(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    yaml = pytest.importorskip("yaml", reason="the head is YAML")
    folder = bundle(tmp_path / "mine", "mine")
    done = cli("push", str(folder), "hf://org/repo", "--name", "renamed-v1")
    assert done.returncode == 0, done.stderr
    _, files = hub.commits[-1]
    assert hub.tags.keys() == {"renamed-v1"}
    assert json.loads(files["spec.json"])["name"] == "renamed-v1"
    assert json.loads((folder / "spec.json").read_text())["name"] == "mine"
    head, _, body = files["README.md"].decode().removeprefix("---\n").partition("---\n")
    table = yaml.safe_load(head)
    assert table["license"] == "mit"
    assert (table["library_name"], table["pipeline_tag"], table["model_name"]) == ("ferkit", "image-classification", "renamed-v1")
    assert "facial-expression-recognition" in table["tags"]
    assert body.lstrip().startswith("# ")


def test_other_models_are_not_overwritten(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    hub.exists = True
    hub.commits.append(("1" * 40, {".gitattributes": b"", "model.safetensors": b"theirs"}))
    done = cli("push", str(bundle(tmp_path / "mine", "mine-v1")), "hf://org/repo")
    assert done.returncode == 1
    assert "holds model.safetensors, and no version of mine" in done.stderr
    hub.commits.append(("2" * 40, {}))
    hub.tags["theirs-v3"] = "2" * 40
    done = cli("push", str(tmp_path / "mine"), "hf://org/repo")
    assert done.returncode == 1
    assert "holds other weights (theirs)" in done.stderr
    assert len(hub.commits) == 3


@pytest.mark.parametrize(
    "address",
    ["hf://org", "hf://org/re--po", "hf://-org/repo", "hf://org/repo.", "hf://org/repo.git", "org/repo", "hf://a/b/c", "hf://org/r po"],
)
def test_addresses_that_the_hub_would_refuse(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a repository to push to"):
        push(tmp_path, address)


@pytest.mark.parametrize("name", ["my mine-v1", "mine..x-v1", "-mine-v1", "mine~-v1", "mi/ne-v1", "mine:-v2", "é-v1", "mine-v0"])
def test_names_that_are_no_tags(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be a tag of the hub|no version in their name"):
        push(bundle(tmp_path / "mine", "mine-v1"), "hf://org/repo", name=name)


def test_what_is_damaged_or_forbidden_is_not_sent(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = bundle(tmp_path / "mine", "mine-v1")
    done = cli("push", str(folder), "hf://org/repo", FERKIT_OFFLINE="1")
    assert done.returncode == 1
    assert "FERKIT_OFFLINE" in done.stderr
    (folder / "model.onnx").write_bytes(b"damaged")
    done = cli("push", str(folder), "hf://org/repo")
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert hub.requests == []
    hub.refuse = True
    done = cli("push", str(bundle(tmp_path / "good", "mine-v1")), "hf://org/repo")
    assert done.returncode == 1
    assert "cannot be pushed to" in done.stderr
    assert "Traceback" not in done.stderr


def test_push_refuses_other_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a revision"):
        push(tmp_path, "hf://org/repo@main")
    with pytest.raises(InputError, match="is not a folder"):
        push(tmp_path / "none", "hf://org/repo")
    with pytest.raises(InputError, match="no version in their name"):
        push(bundle(tmp_path / "mine", "mine"), "hf://org/repo")
    with pytest.raises(WeightsError, match="forbids the network"):
        push(bundle(tmp_path / "two", "mine-v1"), "hf://org/repo")
