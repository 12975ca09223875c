"""The examples in docstrings run, and what people call has one."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.hubs import WriteHub, environment_for

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "ferkit"
PHOTO = ROOT / "docs" / "images" / "photo.jpg"
# Of these the packages that they need, and that they take long.
HEAVY = {
    "ferkit.bulk.running": ("pyarrow",),
    "ferkit.bulk.tables": ("pyarrow",),
    "ferkit.classifiers.adopting": ("onnx",),
    "ferkit.evaluation.report": ("matplotlib",),
    "ferkit.train.classifier.networks": ("keras",),
    "ferkit.train.classifier.training": ("keras", "tensorflow", "onnx"),
    "ferkit.train.common.listeners": ("keras",),
    "ferkit.train.finetuning.assembly": ("keras", "tensorflow", "onnx"),
    "ferkit.train.release.single_files": ("keras", "onnx"),
    "ferkit.weights.publishing": ("huggingface_hub",),
}
SLOW = ("ferkit.bulk.running", "ferkit.train.classifier.training", "ferkit.train.finetuning.assembly")


def modules() -> list[str]:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in files]


def parameters() -> list[object]:
    """Return the modules of one interpreter each: those that need nothing share one."""
    light = [name for name in modules() if name not in HEAVY]
    alone = [pytest.param([name], id=name, marks=(pytest.mark.slow,) if name in SLOW else ()) for name in modules() if name in HEAVY]
    return [pytest.param(light, id="light"), *alone]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the examples name."""
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg"):
        shutil.copyfile(PHOTO, tmp_path / name)
    rng = np.random.default_rng(0)
    for kind, label in enumerate(("happy", "sad")):
        (tmp_path / "my_faces" / label).mkdir(parents=True)
        for number in range(12):
            face = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 6), np.uint8)).resize((48, 48)))
            Image.fromarray((face // 2 + 100 * kind).astype(np.uint8)).save(tmp_path / "my_faces" / label / f"{number}.png")
    recipe = (ROOT / "examples" / "tiny.toml").read_text(encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(recipe, encoding="utf-8")
    shutil.copytree(PACKAGE.parents[1] / "weights" / "fer2013-n-v6", tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("names", parameters())
def test_examples_in_docstrings_run(names: list[str], here: Path, hub: WriteHub) -> None:
    """In a fresh interpreter, whose hub is a server of this test."""
    for package in HEAVY.get(names[0], ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the example needs {package}")
    if names == ["ferkit.classifiers.adopting"]:
        from tests.helpers.foreign import onnx_network

        onnx_network(here / "model.onnx", scale=0.01)
    code = "import doctest, ferkit, importlib; own = {name: getattr(ferkit, name) for name in ferkit.__all__}\n"
    code += f"for name in {names!r}: print(doctest.testmod(importlib.import_module(name), extraglobs=own))"
    env = environment_for(hub, here / "hub") | {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("TestResults(failed=0,") == len(names), done.stdout
    assert "attempted=0" not in done.stdout


def test_nothing_is_left_out() -> None:
    """An example that is skipped is one that nobody knows to run."""
    for path in PACKAGE.rglob("*.py"):
        assert "doctest: +SKIP" not in path.read_text(encoding="utf-8"), path


FUNCTIONS = [
    *("ferkit.adopt", "ferkit.batch", "ferkit.explain.explain", "ferkit.evaluation.evaluate", "ferkit.evaluation.write_report"),
    *("ferkit.data.prepare", "ferkit.train.export", "ferkit.train.finetune", "ferkit.train.push", "ferkit.train.train"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_people_call_has_an_example(name: str) -> None:
    if name.startswith("ferkit.train") and importlib.util.find_spec("keras") is None:
        pytest.skip('needs the train extra: pip install "ferkit[train]"')
    module, _, function = name.rpartition(".")
    called = getattr(import_module(module), function)
    assert doctest.DocTestParser().get_examples(inspect.getdoc(called) or ""), name
