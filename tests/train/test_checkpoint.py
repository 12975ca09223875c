"""Checkpoints on a disk that fills up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferkit import WeightsError
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.training import needs_keras

pytestmark = pytest.mark.train


@needs_keras
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.train.classifier.loop import build_from_recipe, compile_from_recipe
    from ferkit.train.common.checkpoint import load_checkpoint, save_checkpoint

    tiny = load_recipe(recipe)
    model = build_from_recipe(tiny)
    compile_from_recipe(model, tiny, 2)
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, model, tiny, 1, [{"epoch": 1}])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"No space.*resume=True"):
        save_checkpoint(path, model, tiny, 2, [])
    assert load_checkpoint(path, model, tiny) == (1, [{"epoch": 1}])
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


@needs_keras
@pytest.mark.parametrize("what", ["model.keras", "golden.npz"])
def test_a_disk_that_fills_in_the_last_minute(what: str, tmp_path: Path, recipe: Path) -> None:
    """The networks and the golden vectors of a finished run: told as a checkpoint is, the old file kept, no half one left."""
    code = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from ferkit import WeightsError
from ferkit.train.classifier.loop import build_from_recipe
from ferkit.train.classifier.recipe import load_recipe
from ferkit.train.common.keras_weights import save_model
from ferkit.train.release.golden import patterns, write_golden
path, model = Path(sys.argv[2]), build_from_recipe(load_recipe(sys.argv[1]))
write = (lambda: save_model(path, model)) if path.suffix == ".keras" else (lambda: write_golden(path, patterns(4, 48, 48)))
write()
good = path.read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, resource.RLIM_INFINITY))
try:
    write()
except WeightsError as error:
    print(error)
assert path.read_bytes() == good
assert [p.name for p in path.parent.iterdir()] == [path.name]
"""
    (tmp_path / "run").mkdir()
    arguments = [sys.executable, "-c", code, str(recipe), str(tmp_path / "run" / what)]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{what} cannot be written (File too large)" in done.stdout


@needs_keras
@pytest.mark.parametrize("kept", [0, 100, -1, None])
def test_half_a_checkpoint_is_told(kept: int | None, tmp_path: Path, recipe: Path) -> None:
    """As a copy that was broken off leaves it: empty, its beginning, all but the end; or with one bad byte in an array, as a fault of a disk."""
    from ferkit.train.classifier.loop import build_from_recipe, compile_from_recipe
    from ferkit.train.common.checkpoint import load_checkpoint, load_weights, progress, save_checkpoint

    tiny, path = load_recipe(recipe), tmp_path / "checkpoint.npz"
    model = build_from_recipe(tiny)
    compile_from_recipe(model, tiny, 2)
    save_checkpoint(path, model, tiny, 1, [{"epoch": 1}])
    written = bytearray(path.read_bytes())
    if kept is None:
        written[written.index(b"v0.npy") + 300] ^= 255
    path.write_bytes(written[:kept])
    reads = [lambda: load_checkpoint(path, model, tiny), lambda: load_weights(path, model), lambda: progress(path)]
    for read in reads[: 2 if kept is None else 3]:
        with pytest.raises(WeightsError, match=r"checkpoint\.npz is damaged \(.*\), and the run cannot go on from it"):
            read()


@needs_keras
def test_a_disk_that_fills_in_mid_checkpoint(tmp_path: Path, recipe: Path) -> None:
    """The kernel itself cuts the write short, in the middle of the file; the run's last checkpoint still resumes."""
    code = """
import resource, signal, sys
from pathlib import Path
from ferkit import WeightsError
from ferkit.train.common.checkpoint import load_checkpoint, save_checkpoint
from ferkit.train.classifier.loop import build_from_recipe, compile_from_recipe
from ferkit.train.classifier.recipe import load_recipe
tiny, path = load_recipe(sys.argv[1]), Path(sys.argv[2])
model = build_from_recipe(tiny)
compile_from_recipe(model, tiny, 2)
save_checkpoint(path, model, tiny, 1, [{"epoch": 1}])
good = path.read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, resource.RLIM_INFINITY))
model.variables[0].assign(model.variables[0] + 1)
try:
    save_checkpoint(path, model, tiny, 2, [])
except WeightsError as error:
    print(error)
assert path.read_bytes() == good
assert load_checkpoint(path, model, tiny) == (1, [{"epoch": 1}])
assert [p.name for p in path.parent.iterdir()] == [path.name], "the partial file takes up the little space that there is"
"""
    (tmp_path / "run").mkdir()
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [sys.executable, "-c", code, str(recipe), str(tmp_path / "run" / "checkpoint.npz")]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "checkpoint.npz cannot be written (File too large)" in done.stdout
    assert "resume=True" in done.stdout
