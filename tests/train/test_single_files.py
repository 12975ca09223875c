"""Exports for other runtimes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import ExpressionClassifier, InputError
from ferkit.cli.main import main

pytestmark = pytest.mark.train


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("tensorflow", "onnxruntime", "ai_edge_litert")), reason="needs the train extra"
)
def test_exports_answer_as_ferkit_does(tmp_path: Path) -> None:
    from ferkit.train.release.single_files import check

    done = CliRunner().invoke(main, ["export", "fer2013-n-v5", "--out", str(tmp_path), "--check"])
    assert done.exit_code == 0, done.output
    assert "fer2013-n-v5.onnx, onnxruntime: differs by at most" in done.stdout
    assert "fer2013-n-v5.tflite, ai-edge-litert: differs by at most" in done.stdout
    about = json.loads((tmp_path / "fer2013-n-v5.json").read_text())
    assert about["labels"] == list(ExpressionClassifier().labels)
    with np.load(tmp_path / "fer2013-n-v5.golden.npz") as golden:
        kept = dict(golden)
    assert kept["images_48x48"].shape == (6, 48, 48, 3)
    kept["probabilities_64x64"] = kept["probabilities_64x64"][:, ::-1]
    np.savez_compressed(tmp_path / "fer2013-n-v5.golden.npz", **kept)  # type: ignore[arg-type]
    from ferkit import FerkitError

    with pytest.raises(FerkitError, match="disagree"):
        check([tmp_path / "fer2013-n-v5.onnx"])


def test_export_refuses(tmp_path: Path) -> None:
    from ferkit.train.release.single_files import export

    with pytest.raises(InputError, match="Unknown export format"):
        export(None, tmp_path, ("coreml",))
