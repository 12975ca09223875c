"""A tiny recipe, and what tests of training need."""

from __future__ import annotations

import importlib.util

import pytest

needs_keras = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("keras", "tensorflow", "scipy")),
    reason='needs the train extra: pip install "ferkit[train]"',
)
TINY = """
name = "tiny-test"
seed = 3
[model]
name = "tiny"
[data]
mean = 0.5
std = 0.25
[[heads]]
labels = "fer2013"
label_smoothing = 0.1
[augment]
crop = 44
[optimizer]
learning_rate = 0.05
weight_decay = 1e-3
warmup_epochs = 1
ema = 0.9
[training]
batch_size = 8
[[stages]]
epochs = 2
size = 24
[[stages]]
epochs = 2
size = 32
"""
