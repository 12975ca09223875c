"""What a machine grants: CPUs of a scheduler, and memory of the machine or of whichever control group has least."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ferkit.bulk import granted
from ferkit.bulk.granted import granted_memory, worker_count, worker_memory

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"memory.max": str(3 * GB)}, 3 * GB),  # a container, version 2
        ("0::/", {"memory.max": "max"}, None),
        ("0::/job/step", {"job/memory.max": str(2 * GB), "job/step/memory.max": "max"}, 2 * GB),  # a service, or a job of Slurm's
        ("0::/job/step", {"job/memory.max": str(2 * GB), "job/step/memory.max": str(GB)}, GB),
        ("5:memory:/s", {"memory/s/memory.limit_in_bytes": str(GB)}, GB),  # version 1
        ("5:memory:/gone", {"memory/memory.limit_in_bytes": str(GB)}, GB),  # the host's path, not ours
        ("5:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("5:cpu:/s", {"cpu/s/memory.max": str(GB)}, None),
        ("nonsense", {"memory.max": "much"}, None),
    ],
)
def test_the_memory_of_control_groups(membership: str, files: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        pytest.skip("this system does not tell its memory")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")
    (tmp_path / "membership").write_text(f"{membership}\n", encoding="ascii")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert granted_memory(tmp_path / "cgroup", tmp_path / "membership") == min(machine, expected or machine)


def test_each_worker_has_its_share_and_enough_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_memory(2.5, 7) == 2_500_000_000
    for granted_, workers, share in ((8 * GB, 4, 2 * GB), (8 * GB, 100, 1_500_000_000), (None, 2, None)):
        monkeypatch.setattr(granted, "granted_memory", lambda value=granted_: value)
        assert worker_memory(None, workers) == share


@pytest.mark.parametrize(("told", "count"), [("", 4), ("2", 2), ("0", 4), ("16", 4), ("2(x3)", 4)])
def test_no_more_workers_than_cpus_that_are_granted(told: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granted, "available_cpus", lambda: 4)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", told)
    assert worker_count(None) == count
    assert worker_count(9) == 9
