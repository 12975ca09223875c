"""Fine-tuning on faces that ``ferkit batch`` or ``ferkit prepare`` found before: none is looked for again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

import ferkit
from ferkit import DataError, ExpressionClassifier, FaceDetector, InputError
from ferkit.cli.main import main
from ferkit.data import list_data, prepare
from ferkit.data.folders import read_listing
from ferkit.train.finetuning.assembly import finetune
from ferkit.train.finetuning.prepared import Prepared
from ferkit.train.finetuning.splitting import list_parts
from tests.helpers.faces import write_faces
from tests.helpers.serving import astronaut

pytest.importorskip("pyarrow", reason='needs the extra "batch"')


class Blind:
    """A detector that must not be asked."""

    def detect_rgb(self, pixels: np.ndarray) -> Any:
        raise AssertionError("a face was looked for")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two labels, as they are and mirrored, one of them without a face."""
    root = tmp_path_factory.mktemp("prepared") / "photos"
    with Image.open(astronaut()) as picture:
        plain = picture.convert("RGB")
    for label, shown in (("zig", plain), ("zag", ImageOps.mirror(plain))):
        (root / label).mkdir(parents=True)
        shown.save(root / label / "a.png")
        shown.resize((shown.width * 3 // 4, shown.height * 3 // 4)).save(root / label / "b.png")
    Image.new("RGB", (300, 200)).save(root / "zag" / "nobody.png")
    return root


@pytest.fixture(scope="module")
def output(photos: Path) -> Path:
    report = ferkit.batch(photos, photos.parent / "faces", weights="fer2013-n-v6", workers=1, shard_images=3)
    assert report.state == "done"
    return photos.parent / "faces"


def test_the_crops_are_those_of_a_detector(photos: Path, output: Path) -> None:
    classifier, before = ExpressionClassifier(), Prepared(output)
    assert before.data(None) == photos
    assert before.detector(classifier) is None
    parts = before.parts(list_parts(photos))
    assert "5 of 5 pictures" in parts.lines[-1]
    found = read_listing(parts.learnt, classifier, Blind()).faces
    wanted = read_listing(list_data(photos), classifier, FaceDetector()).faces
    assert found.files == wanted.files
    assert len(found) == 4
    assert np.abs(found.images.astype(int) - wanted.images).max() <= 2  # boxes and landmarks are kept as float32
    assert [Path(file).name for file, _ in found.skipped] == ["nobody.png"]


def test_a_box_says_which_of_the_known_faces(photos: Path, output: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    face = FaceDetector().detect_rgb(np.asarray(Image.open(photos / "zig" / "a.png")))[0]
    box = " ".join(f"{value:.0f}" for value in face.box)
    lines = [f"{photos}/zig/a.png,zig,{box}", f"{photos}/zag/a.png,zag,0 0 9 9"]
    table.write_text("path,label,box\n" + "\n".join(lines), encoding="utf-8")
    parts = Prepared(output).parts(list_parts(table))
    faces = read_listing(parts.learnt, ExpressionClassifier(), Blind()).faces
    assert len(faces) == 2
    assert faces.images[1].std() < faces.images[0].std()  # a box where no face was found is cut as it is


def test_what_changed_or_is_not_there_is_told(photos: Path, output: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    Image.new("RGB", (50, 40)).save(photos / "zig" / "later.png")
    with Image.open(photos / "zag" / "b.png") as picture:
        kept = picture.copy()
    try:
        kept.resize((100, 90)).save(photos / "zag" / "b.png")
        rows = [f"{photos}/{name},{name[:3]}" for name in ("zig/a.png", "zig/later.png", "zag/a.png", "zag/b.png")]
        table.write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
        faces = read_listing(Prepared(output).parts(list_parts(table)).learnt, ExpressionClassifier(), Blind()).faces
    finally:
        kept.save(photos / "zag" / "b.png")
        (photos / "zig" / "later.png").unlink()
    assert len(faces) == 2
    told = {Path(file).name: reason for file, reason in faces.skipped}
    assert "not in" in told["later.png"]
    assert "another picture than" in told["b.png"]


def test_crops_of_prepare_are_the_data(photos: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "crops", detector="ferkit", size=96)
    before = Prepared(tmp_path / "crops")
    assert before.data(None) == tmp_path / "crops"
    found = before.detector(ExpressionClassifier())
    assert found is not None
    faces = read_listing(before.parts(list_parts(tmp_path / "crops")).learnt, ExpressionClassifier(), found).faces
    assert len(faces) == 4
    with pytest.raises(InputError, match="has labels of its own"):
        before.data(photos)


def test_refusals(photos: Path, output: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no batch job"):
        Prepared(photos)
    with pytest.raises(InputError, match="detector beside prepared"):
        finetune(photos, tmp_path / "mine", prepared=output, detector="none")
    with pytest.raises(InputError, match="No data"):
        finetune(None, tmp_path / "mine")
    with pytest.raises(DataError, match="has no row of a picture of"):
        Prepared(output).parts(list_parts(write_faces(tmp_path / "other", ("a", "b"), 2)))
    how: dict[str, Any] = {"pipeline": "tests.bulk.models:Quick", "workers": 1}
    ferkit.batch(photos, tmp_path / "bare", landmarks=False, **how)
    with pytest.raises(InputError, match="made with landmarks=False"):
        Prepared(tmp_path / "bare").detector(ExpressionClassifier())
    ferkit.batch(photos, tmp_path / "hashed", hash_keys=True, **how)
    with pytest.raises(InputError, match="made with hash_keys"):
        Prepared(tmp_path / "hashed")
    ferkit.batch(photos, tmp_path / "half", part=(1, 2), shard_images=2, **how)
    with pytest.raises(InputError, match="not finished"):
        Prepared(tmp_path / "half")
    (tmp_path / "names.txt").write_text(str(photos / "zig" / "a.png"), encoding="utf-8")
    ferkit.batch([], tmp_path / "listed", keys=tmp_path / "names.txt", **how)
    with pytest.raises(InputError, match="which says no labels"):
        Prepared(tmp_path / "listed").data(None)
    assert CliRunner().invoke(main, ["finetune", "--out", str(tmp_path / "mine")]).exit_code == 2
