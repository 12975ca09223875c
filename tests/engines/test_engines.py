"""The engines agree, and say what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from ferkit import ExpressionClassifier, InputError, MissingExtraError


def test_engines_agree(classifier: ExpressionClassifier, crops: np.ndarray) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    other = ExpressionClassifier(runtime="onnxruntime")
    assert np.abs(classifier.predict_proba(crops) - other.predict_proba(crops)).max() < 1e-5


def test_missing_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "ferkit\[onnxruntime\]"'):
        ExpressionClassifier(runtime="onnxruntime")


def test_unknown_runtime() -> None:
    with pytest.raises(InputError, match="opencv, onnxruntime"):
        ExpressionClassifier(runtime="abacus")
