"""Exports for other runtimes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import ExpressionClassifier, InputError
from ferkit.cli.main import main
from ferkit.train.release.records import ClassifierExport
from tests.helpers.records import mismatches

pytestmark = pytest.mark.train


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(n) is None for n in ("tensorflow", "onnxruntime", "ai_edge_litert")), reason="needs the train extra"
)
def test_exports_answer_as_ferkit_does(tmp_path: Path) -> None:
    from ferkit.train.release.single_files import check

    done = CliRunner().invoke(main, ["export", "fer2013-n-v6", "--out", str(tmp_path), "--check"])
    assert done.exit_code == 0, done.output
    assert "fer2013-n-v6.onnx, onnxruntime: differs by at most" in done.stdout
    assert "fer2013-n-v6.tflite, ai-edge-litert: differs by at most" in done.stdout
    about = json.loads((tmp_path / "fer2013-n-v6.json").read_text(encoding="utf-8"))
    assert about["labels"] == list(ExpressionClassifier().labels)
    with np.load(tmp_path / "fer2013-n-v6.golden.npz") as golden:
        kept = dict(golden)
    assert kept["images_48x48"].shape == (6, 48, 48, 3)
    kept["probabilities_64x64"] = kept["probabilities_64x64"][:, ::-1]
    np.savez_compressed(tmp_path / "fer2013-n-v6.golden.npz", **kept)  # type: ignore[arg-type]
    from ferkit import FerkitError

    with pytest.raises(FerkitError, match="disagree"):
        check([tmp_path / "fer2013-n-v6.onnx"])


def test_export_refuses(tmp_path: Path) -> None:
    from ferkit.train.release.single_files import export

    with pytest.raises(InputError, match="Unknown export format"):
        export(None, tmp_path, ("coreml",))
    with pytest.raises(InputError, match="Unknown export format coreml;"):  # one format, not six of one letter
        export(None, tmp_path, "coreml")


needs_onnx = pytest.mark.skipif(any(importlib.util.find_spec(n) is None for n in ("onnx", "onnxruntime")), reason="needs onnx, onnxruntime")


@needs_onnx
def test_an_onnx_file_says_what_it_is(tmp_path: Path) -> None:
    import onnxruntime

    from ferkit.train import export

    (file,) = export("fer2013-n-v6", tmp_path, ("onnx",))
    facts = onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map
    assert json.loads(facts["ferkit.labels"]) == list(ExpressionClassifier("fer2013-n-v6").labels)
    assert facts["ferkit.weights"] == "fer2013-n-v6"
    assert facts["ferkit.licence"] == "MIT"
    assert json.loads(facts["ferkit.crop"])["mode"] == "aligned"


@needs_onnx
def test_an_ensemble_is_one_file(tmp_path: Path) -> None:
    from ferkit import Ensemble
    from ferkit.train import export
    from ferkit.train.release.single_files import check

    for combine in ("probability", "logit"):
        ensemble = Ensemble(["fer2013-n-v6", "fer2013-s-v6"], weights=[1, 3], combine=combine, temperature=1.3)
        folder = ensemble.save(tmp_path / combine)
        (file,) = export(folder, tmp_path / "out", ("onnx",))
        assert check([file])[f"{combine}.onnx, onnxruntime"] < 0.02
    with pytest.raises(InputError, match="LiteRT files are of one network"):
        export(folder, tmp_path / "out")
    done = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "cli")])
    assert done.exit_code == 0, done.output
    assert [Path(line).name for line in done.stdout.split()] == ["logit.onnx"]


@needs_onnx
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_smaller_files_and_what_they_cost(precision: str, tmp_path: Path) -> None:
    from ferkit.train import export
    from tests.helpers.faces import write_faces, write_fer_csv

    data = write_fer_csv(tmp_path / "fer2013.csv", 64, 21)
    (file,) = export("fer2013-n-v6", tmp_path, ("onnx",), "fer2013", precision=precision, data=data)
    assert file.name == f"fer2013-n-v6-{precision}.onnx"
    about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert not list(mismatches(about, ClassifierExport))
    measured = about["measured"]
    assert measured["n"] == 21
    assert 0 <= measured["changed"] <= 21
    assert measured["changed"] <= (0 if precision == "float16" else 10)
    from ferkit import DataError

    with pytest.raises(DataError, match="The faces' labels are zag, zig; fer2013-n-v6 answers angry"):
        export("fer2013-n-v6", tmp_path, ("onnx",), "fer2013", precision=precision, data=write_faces(tmp_path / "own", ("zig", "zag"), 4))
    with pytest.raises(InputError, match="needs faces"):
        export("fer2013-n-v6", tmp_path, ("onnx",), precision="int8")
    with pytest.raises(InputError, match="Unknown precision"):
        export("fer2013-n-v6", tmp_path, ("onnx",), precision="int4")


@needs_onnx
def test_golden_values_begin_with_the_photo(tmp_path: Path, photo: Path) -> None:
    from ferkit import Pipeline, load_image
    from ferkit.train import export

    export("fer2013-n-v6", tmp_path, ("onnx",), photo=photo)
    with np.load(tmp_path / "fer2013-n-v6.photo.npz") as golden:
        steps = dict(golden)
    assert np.array_equal(steps["image"], load_image(photo))
    result = Pipeline(classifier="fer2013-n-v6")(photo)
    assert np.allclose(steps["boxes"], [face.box for face in result.faces])
    assert steps["landmarks"].shape == (len(result.faces), 5, 2)
    classifier = ExpressionClassifier("fer2013-n-v6")
    assert np.array_equal(classifier.prepare([steps["crop_0"]])[0], steps["prepared"][0])
    assert np.allclose(steps["probabilities"][0], list(result.faces[0].expression.probabilities.values()), atol=1e-6)
    Image.new("RGB", (64, 64)).save(tmp_path / "empty.png")
    with pytest.raises(InputError, match="no face that is found"):
        export("fer2013-n-v6", tmp_path, ("onnx",), photo=tmp_path / "empty.png")


@needs_onnx
def test_the_javascript_of_the_docs_runs(tmp_path: Path) -> None:
    import os
    import re
    import shutil
    import subprocess

    from ferkit.train import export

    package = Path(os.environ.get("FERKIT_ORT_WEB") or "node_modules/onnxruntime-web").resolve()
    if shutil.which("node") is None or not (package / "package.json").exists():
        pytest.skip("needs node and onnxruntime-web; run: npm install --no-save onnxruntime-web, or set FERKIT_ORT_WEB")
    export("fer2013-n-v6", tmp_path / "exported", ("onnx",))
    page = (Path(__file__).parents[2] / "docs" / "without_ferkit.md").read_text(encoding="utf-8")
    code = re.findall(r"```js\n(.*?)```", page, re.S)[0]
    (tmp_path / "run.mjs").write_text(code, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(package.parent)
    done = subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = ExpressionClassifier("fer2013-n-v6").predict_proba(np.full((1, 64, 64, 3), 128, np.uint8))[0]
    assert np.abs(np.array(json.loads(done.stdout)) - expected).max() < 0.02
