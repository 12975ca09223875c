"""Ray clusters of several nodes on this machine, each with an address of its own in 127.0.0.0/8: nothing listens for others' sake.

Every process of a cluster has its folder in its command line, which is how it is found again and ended: ``ray stop`` would end every
Ray on the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ferkit.train.common.group import free_port

from .jobs import parent, processes

# Ray asks for a token otherwise, reports its use to its makers, and takes 127.0.0.1 for this machine's outward address.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONWARNINGS": "ignore",
}
# Ray's own default waits half a minute for a node that says nothing; one that is killed is noticed by its connection.
SYSTEM = '{"health_check_period_ms": 1000, "health_check_timeout_ms": 5000, "health_check_failure_threshold": 5}'


class Cluster:
    """A head without CPUs of its own, and nodes.

    Args:
        nodes: How many to begin with, each with one CPU.
        environment: Of the nodes' processes, by the node's number, counted from 1.
        prefix: Command before that which starts a node, by the same number.
    """

    def __init__(
        self, nodes: int = 1, environment: dict[int, dict[str, str]] | None = None, prefix: dict[int, list[str]] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fk", dir="/tmp" if Path("/tmp").is_dir() else None))  # sockets' names are short
        self.port = free_port("127.0.0.11")
        self.address = f"127.0.0.11:{self.port}"
        self._environment, self._prefix = environment or {}, prefix or {}
        self._count = 0
        try:
            self._start(
                "127.0.0.11", "--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self.folder}",
                f"--system-config={SYSTEM}",
            )  # fmt: skip
            for _ in range(nodes):
                self.add()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self) -> int:
        """Start one more node; return its number."""
        self._count += 1
        number = self._count
        more = {"environment": self._environment.get(number, {}), "prefix": self._prefix.get(number, [])}
        self._start(self.node(number), f"--address={self.address}", "--num-cpus=1", **more)
        return self._count

    @staticmethod
    def node(number: int) -> str:
        """Return a node's address."""
        return f"127.0.0.{11 + number}"

    def _start(self, address: str, *arguments: str, environment: dict[str, str] | None = None, prefix: list[str] | None = None) -> None:
        command = [
            *(prefix or []),
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            f"--node-ip-address={address}",
            "--disable-usage-stats",
        ]
        command += [f"--object-store-memory={80 << 20}", f"--memory={8 << 30}", *arguments]
        path = os.pathsep.join(filter(None, [(environment or {}).get("PYTHONPATH", ""), *sys.path]))
        done = subprocess.run(
            command, env=os.environ | ENVIRONMENT | (environment or {}) | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def processes(self, *words: str) -> list[int]:
        """Return the processes of this cluster whose command has all of the words."""
        found = []
        for pid in processes():
            command = command_of(pid)
            if all(word in command for word in words) and (str(self.folder) in command or f"{self.address}" in command):
                found.append(pid)
        return [pid for pid in found if pid != os.getpid()]

    def raylets(self, number: int) -> list[int]:
        """Return the process that makes a node of this machine."""
        return self.processes("raylet/raylet", f"--node_ip_address={self.node(number)} ")

    def workers(self, number: int) -> list[int]:
        """Return Ray's processes that work on a node."""
        raylets = self.raylets(number)
        return [pid for pid in processes() if parent(pid) in raylets and command_of(pid).startswith("ray::")]

    def kill_node(self, number: int) -> None:
        """End a node as a power failure does: its raylet, and with it its workers."""
        for pid in self.raylets(number):
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End every process of the cluster."""
        end = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < end:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
