"""The examples for schedulers pass their schedulers' own checks, and give ferkit what it takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ferkit.cli import main

JOBS = next(parent for parent in Path(__file__).resolve().parents if (parent / "docs").is_dir()) / "docs" / "deploy" / "jobs"


def checked(tool: str, *arguments: str) -> None:
    path = Path(sys.executable).with_name(tool)
    found = str(path) if path.exists() else shutil.which(tool)
    if found is None:
        pytest.skip(f"needs {tool}")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_slurm() -> None:
    checked("shellcheck", str(JOBS / "slurm.sh"))


def test_kubernetes() -> None:
    checked("kubernetes-validate", "--strict", str(JOBS / "kubernetes.yaml"))


def test_aws_batch() -> None:
    checked("cfn-lint", str(JOBS / "aws-batch.yaml"))


@pytest.mark.parametrize("name", ["slurm.sh", "kubernetes.yaml", "aws-batch.yaml"])
def test_options_exist(name: str) -> None:
    known = {option for parameter in main.get_command(click.Context(main), "batch").params for option in parameter.opts}
    used = set(re.findall(r"(?<=\s)--[a-z-]+", (JOBS / name).read_text().rpartition("ferkit batch ")[2]))
    assert used
    assert used <= known


@pytest.mark.parametrize(("code", "told"), [(0, 0), (1, 0), (2, 2), (3, 3), (130, 130)])
def test_slurm_takes_error_rows_for_success_and_nothing_else(code: int, told: int, tmp_path: Path) -> None:
    stub = tmp_path / "ferkit"
    stub.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit {code}\n')
    stub.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_COUNT": "8",
    }
    done = subprocess.run(["bash", str(JOBS / "slurm.sh"), "in put", "out"], env=environment, check=False)
    assert done.returncode == told
    assert (tmp_path / "arguments").read_text() == "batch in put out --workers 4 --memory 1 --part 3/8\n"


def test_a_part_that_is_none_is_refused() -> None:
    assert CliRunner().invoke(main, ["batch", "in", "out", "--part", "0/8"]).exit_code == 2
