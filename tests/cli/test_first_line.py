"""What takes long says first what it is about to do: before anything heavy is imported, however slow that is."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("keras", "tensorflow", "jax", "torch", "cv2", "scipy", "onnx", "onnxruntime", "matplotlib", "pyarrow")
# Tells of every heavy package as it is looked for, and then lets Python go on.
_TELLING = f"""
import sys
class Telling:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY!r}:
            print("IMPORT", name, file=sys.stderr, flush=True)
sys.meta_path.insert(0, Telling())
from ferkit.cli.main import main
main(sys.argv[1:])
"""
COMMANDS = {
    "train": (["train", "--recipe", "ferkit-n", "--data", "faces.csv", "--out", "runs/a"], "training ferkit-n on faces.csv into runs/a"),
    "find-lr": (["train", "--recipe", "ferkit-n", "--data", "faces.csv", "--out", "runs/a", "--find-lr"], "ferkit-n on faces.csv"),
    "finetune": (["finetune", "--data", "faces", "--out", "runs/b"], "fine-tuning the default weights on faces into runs/b"),
    "finetune prepared": (["finetune", "--prepared", "found", "--out", "runs/b"], "fine-tuning the default weights on found into runs/b"),
    "train-detector": (["train-detector", "--data", "faces", "--out", "runs/c"], "training ferkit-face on faces into runs/c"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason='needs the train extra: pip install "ferkit[train]"')
def test_the_first_line_comes_before_heavy_imports(name: str, tmp_path: Path) -> None:
    words, said = COMMANDS[name]
    done = subprocess.run([sys.executable, "-c", _TELLING, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    first = next(number for number, line in enumerate(lines) if said in line)
    heavy = [number for number, line in enumerate(lines) if line.startswith("IMPORT")]
    assert heavy, done.stderr  # the data are not there, but to find that out something was imported
    assert first < heavy[0], done.stderr
