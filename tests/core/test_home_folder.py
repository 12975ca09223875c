"""``~`` is the home folder wherever a path is given: where something is read, and where something is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ferkit
from ferkit import Ensemble, ExpressionClassifier, InputError, LabelSet, adopt
from ferkit.cli.main import main
from ferkit.data.faces import Faces
from tests.helpers.foreign import onnx_network


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder; the current one is another, and stays empty."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def nothing_here() -> bool:
    return not list(Path.cwd().iterdir())


def test_a_batch_job(home: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs the batch extra")
    from ferkit.bulk.found import FoundFaces
    from ferkit.bulk.status import status

    (home / "in").mkdir()
    Image.fromarray(crops[0]).save(home / "in" / "a.png")
    (home / "names.txt").write_text(f"{home / 'in' / 'a.png'}\n")
    options = {"detector": "none", "weights": "fer2013-n-v6", "workers": 1}
    report = ferkit.batch("~/in", "~/out", **options)
    assert (report.state, report.images, report.output) == ("done", 1, str(home / "out"))
    assert report.dataset().to_table(columns=["image"]).to_pylist() == [{"image": str(home / "in" / "a.png")}]
    assert nothing_here()
    assert status("~/out")["state"] == "done"
    assert FoundFaces("~/out").input == str(home / "in")
    with pytest.raises(InputError, match="are in one another"):
        ferkit.batch("~/in", home / "in" / "out", **options)
    assert ferkit.batch([], "~/listed", keys="~/names.txt", **options).images == 1
    monkeypatch.chdir(home.parent)
    assert ferkit.batch("~/in", "~/out", **options).state == "done"  # which is no other job for being asked for elsewhere


def test_what_a_batch_job_keeps_of_weights_and_detectors(home: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the batch extra")
    from ferkit.bulk.cluster import _carried
    from ferkit.bulk.opening import facts
    from ferkit.bulk.options import Options
    from ferkit.weights.store import resolve, resolve_detector

    for name, folder in (("weights", resolve("fer2013-n-v6")), ("detector", resolve_detector("ferkit-face-v4"))):
        (home / name).mkdir()
        for file in folder.iterdir():
            (home / name / file.name).write_bytes(file.read_bytes())
    short = Options(weights="~/weights", detector_model="~/detector").identity()
    full = facts(Options(weights=str(home / "weights"), detector_model=str(home / "detector")).identity())
    assert {name: value for name, value in facts(short).items() if "sha256" in name} == {n: v for n, v in full.items() if "sha256" in n}
    assert {name: "spec.json" in files for name, files in _carried(short).items()} == {"~/weights": True, "~/detector": True}


def test_a_cluster_looks_for_inputs_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs the batch extra")
    from ferkit.bulk import cluster
    from ferkit.bulk.options import Options
    from ferkit.bulk.storage import Place

    monkeypatch.setattr(cluster, "connected", lambda *_, **__: (SimpleNamespace(), False))
    asked: list[object] = []

    def check(_: object, place: Place, inputs: list[str]) -> None:
        asked.extend((place.address, inputs))
        raise InterruptedError

    monkeypatch.setattr(cluster.Cluster, "_check_nodes", check)
    with pytest.raises(InterruptedError):
        cluster.Cluster(Place("~/out"), Options(address="auto"), {}, ("~/in",))
    assert asked == [str(home / "out"), [str(home / "in")]]


def test_a_place_that_cannot_be_a_folder_is_told_by_its_own_argument(home: Path) -> None:
    from ferkit.files import writable

    (home / "file").write_text("")
    (home / "link").symlink_to(home / "nowhere")
    pytest.importorskip("pyarrow", reason="needs the batch extra")
    for name in ("file", "link"):
        with pytest.raises(InputError, match=r"Choose another output\.") as told:
            ferkit.batch(home / "in", f"~/{name}/out", detector="none")
        assert told.value.arguments == ("output",)
        with pytest.raises(InputError, match=r"Choose another out\."):
            writable(home / name / "out")


def test_what_writes_weights(home: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx")
    onnx_network(home / "theirs.onnx")
    folder = adopt("~/theirs.onnx", "~/adopted", labels=["a", "b", "c"])
    assert folder == home / "adopted"
    assert Ensemble(["fer2013-n-v6", "fer2013-s-v6"]).save("~/both") == home / "both"
    assert Ensemble("~/both").name == "both"
    assert nothing_here()


def test_a_report(home: Path, crops: np.ndarray) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    from ferkit.evaluation.measuring import measure
    from ferkit.evaluation.report import write_report

    faces = Faces(crops, np.arange(len(crops)) % 3, LabelSet("custom", ("angry", "happy", "sad")))
    assert write_report(measure(ExpressionClassifier("fer2013-n-v6"), faces), "~/report") == home / "report" / "report.html"
    assert nothing_here()


def test_a_font(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.drawing import fonts

    monkeypatch.setenv(fonts.VARIABLE, "~/no-such.ttf")
    with pytest.raises(InputError, match=re.escape(f"{home / 'no-such.ttf'}: there is no such file")):
        fonts.font_file("a")


@pytest.mark.train
def test_training(home: Path) -> None:
    pytest.importorskip("keras", reason="needs the train extra")
    from ferkit.train import export, load_recipe
    from ferkit.train.classifier.networks import build_model
    from ferkit.train.detector.recipe import load_detector_recipe
    from ferkit.weights.publishing import push

    (home / "base.toml").write_text('base = "ferkit-n"\nname = "base"\n')
    (home / "mine.toml").write_text('base = "~/base.toml"\nseed = 5\n')
    recipe = load_recipe("~/mine.toml")
    assert (recipe.name, recipe.seed) == ("base", 5)
    for refused in (
        lambda: load_detector_recipe("~/none.toml"),
        lambda: build_model("~/none.keras", {"a": 2}),
        lambda: push("~/none", "hf://org/repo"),
    ):
        with pytest.raises(ferkit.FerkitError, match=re.escape(str(home / "none"))):
            refused()
    assert export("fer2013-n-v6", "~/exported", ("onnx",))[0].parent == home / "exported"
    assert nothing_here()


@pytest.mark.parametrize("option", ["--draw=~/drawn.png", "--draw=~/folder"])
def test_options_that_the_shell_leaves_as_they_are(option: str, home: Path, photo: Path) -> None:
    (home / "folder").mkdir()
    done = CliRunner().invoke(main, ["predict", str(photo), option])
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)) == 1
    assert len(list(home.rglob("*.png"))) == 1
    assert nothing_here()


def test_every_path_on_the_command_line_is_of_the_type_that_knows_the_home_folder() -> None:
    """Those that stay text, as the service's settings are, are for a function that looks for it itself."""
    sources = Path(ferkit.__file__).parent / "cli"
    own = [path.name for path in sources.glob("*.py") if "path_type=Path" in path.read_text(encoding="utf-8")]
    assert own == ["options.py"]
