"""Weights stored in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferkit import ExpressionClassifier, FerkitError
from tests.helpers.faces import write_fer_csv
from tests.helpers.training import TINY, needs_keras

pytestmark = pytest.mark.train


@needs_keras
@pytest.mark.slow
def test_a_finished_run_is_written_anew_in_half_precision(recipe: Path, tmp_path: Path, crops: np.ndarray) -> None:
    import keras
    import onnx

    from ferkit.train import train

    data = write_fer_csv(tmp_path / "fer2013.csv", 140, 35)
    out = train(recipe, data, tmp_path / "mine")
    full, whole = ExpressionClassifier(out), {name: (out / name).stat().st_size for name in ("model.onnx", "model.keras")}
    layers = keras.models.load_model(out / "model.keras", compile=False).get_weights()
    recipe.write_text(TINY + '[release]\nprecision = "float16"\n', encoding="utf-8")  # no other training, so the same run
    halved = ExpressionClassifier(train(recipe, data, out, resume=True))

    assert halved.spec.files["model.onnx"]["size"] < 0.75 * whole["model.onnx"]  # the rest is the graph
    assert halved.spec.files["model.keras"]["size"] < whole["model.keras"]
    assert "float16" in (out / "card.md").read_text(encoding="utf-8")
    assert {o.name for o in halved.spec.outputs} == {"fer2013"}
    assert 0 < np.abs(halved.logits(crops)[0] - full.logits(crops)[0]).max() < 1e-2
    stored = {t.name: t.data_type for t in onnx.load(out / "model.onnx").graph.initializer}
    assert {kind for name, kind in stored.items() if name.endswith("_float16")} == {onnx.TensorProto.FLOAT16}
    again = keras.models.load_model(out / "model.keras", compile=False)
    assert {variable.dtype for variable in again.variables if "seed" not in variable.path} == {"float32"}
    for before, after in zip(layers, again.get_weights(), strict=True):
        expected = before.astype(np.float16).astype(np.float32) if before.size >= 1024 else before
        np.testing.assert_array_equal(after, expected)

    recipe.write_text(TINY.replace("[training]", "[training]\nsettle = true"), encoding="utf-8")
    settled = keras.models.load_model(train(recipe, data, out, resume=True) / "model.keras", compile=False)
    changed = {v.name for v, before in zip(settled.weights, layers, strict=True) if not np.array_equal(v, before)}
    assert changed == {"moving_mean", "moving_variance"}


@needs_keras
def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from ferkit.train.release.half_precision import halve_onnx

    wide = numpy_helper.from_array(np.full(2000, 1e5, np.float32), "wide")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["wide"], ["y"])], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2000])], [wide]
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path)
    before = path.read_bytes()
    with pytest.raises(FerkitError, match=r"'wide' reach 1e\+05.*65,504.*float16"):
        halve_onnx(path)
    assert path.read_bytes() == before
