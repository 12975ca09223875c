"""``ferkit evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.helpers.commands import ferkit


def test_evaluate_json(small_csv: Path) -> None:
    done = ferkit("evaluate", "--data", small_csv, "--format", "json", "--labels", "fer2013", "--tta", "2")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert {"accuracy", "n", "ci95", "macro_f1", "ece", "per_label", "confusion", "weights", "split", "tta"} <= set(report)
    assert report["n"] == 12
    assert report["split"] == "PublicTest"
    assert np.array(report["confusion"]["rows"]).sum() == 12
    assert "accuracy" in ferkit("evaluate", "--data", small_csv).stdout


def test_evaluate_errors(small_csv: Path, tmp_path: Path) -> None:
    for arguments in (
        ["--data", tmp_path / "no.csv"],
        ["--data", small_csv, "--split", "PrivateTest"],
    ):
        done = ferkit("evaluate", *arguments)
        assert done.exit_code == 1
        assert "expected" in done.stderr
    done = ferkit("evaluate", "--data", small_csv, "--split", "Test")
    assert done.exit_code == 2
    assert "expected one of Training, PublicTest, PrivateTest" in done.stderr
