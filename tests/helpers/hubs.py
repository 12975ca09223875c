"""A loopback server that speaks as much of the hub's protocol as pushing needs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


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


def environment_for(hub: WriteHub, home: Path) -> dict[str, str]:
    """Return what a process needs to take that server for the hub."""
    env = {k: v for k, v in os.environ.items() if k not in ("FERKIT_OFFLINE", "HF_HUB_OFFLINE")}
    env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_loopback", "HF_HUB_DISABLE_XET": "1"}
    return env | {"HF_HUB_DISABLE_TELEMETRY": "1"}
