"""Importing ferkit costs next to nothing and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "tensorflow",
    "keras",
    "torch",
    "jax",
    "matplotlib",
    "ray",
    "pyarrow",
    "fsspec",
    "fastapi",
    "cv2",
    "numpy",
    "PIL",
    "huggingface_hub",
    "click",
    "sklearn",
)


def fresh(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_loads_nothing_heavy() -> None:
    loaded = fresh("import sys, json, ferkit; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))")
    assert isinstance(loaded, list)
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("name", ["Pipeline", "ExpressionClassifier", "FaceDetector", "Result", "frames", "list_weights", "load_image"])
def test_inference_names_never_load_training(name: str) -> None:
    loaded = fresh(f"import sys, json, ferkit; ferkit.{name}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))")
    assert isinstance(loaded, list)
    assert not {"tensorflow", "keras", "torch", "jax", "matplotlib", "fastapi", "huggingface_hub"} & set(loaded)


def test_import_changes_no_state() -> None:
    changed = fresh(
        "import json, os, logging; state = lambda: (dict(os.environ), list(logging.root.handlers), logging.root.level); "
        "a = state(); import ferkit; ferkit.Pipeline; print(json.dumps(a == state()))"
    )
    assert changed is True
