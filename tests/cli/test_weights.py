"""``ferkit weights``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ferkit.weights.releases import DEFAULT_WEIGHTS
from ferkit.weights.specs import load_spec
from ferkit.weights.store import bundled_folder, resolve
from tests.helpers.commands import ferkit


def test_weights_commands(tmp_path: Path) -> None:
    listed = ferkit("weights", "list")
    assert listed.exit_code == 0
    assert f"* {DEFAULT_WEIGHTS}" in listed.stdout
    rows = json.loads(ferkit("weights", "list", "--format", "json").stdout)
    assert [r["name"] for r in rows if r["default"]] == [DEFAULT_WEIGHTS, "ferkit-face-v4"]
    for row in (r for r in rows if r["bundled"]):
        assert row["size"] > 1e6
        assert row["ms"] > 0
        assert f"{row['parameters']:,}" in listed.stdout
        if row["kind"] == "classifier":
            assert 0.6 < row["accuracy"] < 0.8
            assert f"{row['accuracy']:.1%}" in listed.stdout
    assert Path(ferkit("weights", "path").stdout.strip()) == resolve()
    assert Path(ferkit("weights", "fetch", DEFAULT_WEIGHTS).stdout.strip()) == resolve()
    checked = [line.split()[-1] for line in ferkit("weights", "verify").stdout.splitlines()]
    files = [(row["name"], file) for row in rows if row["bundled"] for file in load_spec(bundled_folder() / row["name"]).files]
    assert checked == [f"{name}/{file}" for name, file in files]  # and those of an ensemble's members not twice
    assert ferkit("weights", "verify", "ferkit-face-v4").stdout.count("ok  ") == 2
    assert Path(ferkit("weights", "path", "ferkit-face-v4").stdout.strip()).is_dir()
    copy = Path(shutil.copytree(resolve(), tmp_path / "copy"))
    (copy / "model.keras").write_bytes(b"")
    damaged = ferkit("weights", "verify", copy)
    assert damaged.exit_code == 1
    assert "damaged" in damaged.stderr
