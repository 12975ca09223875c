"""Public data sets' layouts as tiny trees: each is read as what it is, or refused with the line to type. Through the commands, as people meet them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ferkit.data import list_data, read_csv, read_faces, read_folder
from ferkit.data.label_names import NUMBERINGS, mapping_line, parse_mapping
from ferkit.data.split_names import split_of
from ferkit.errors import DataError, InputError
from tests.helpers.commands import ferkit
from tests.helpers.layouts import picture, prepared, tree

FER = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Train", "Test"), ("train", "test")),
        (("TRAIN", "VAL", "TEST"), ("train", "validation", "test")),
        (("train", "valid", "test"), ("train", "validation", "test")),
        (("training", "validation", "testing"), ("train", "validation", "test")),
        (("train_set", "val_set"), ("train", "validation")),
        (("Training", "PublicTest", "PrivateTest"), ("train", "validation", "test")),
        (("TrainData", "dev", "test-images"), ("train", "validation", "test")),
        (("FER2013Train", "FER2013Valid", "FER2013Test"), ("train", "validation", "test")),
        (("train_class", "val_class"), ("train", "validation")),
        (("01_train", "02_final_test"), ("train", "test")),
        (("train", "test_public", "test_private"), ("train", "validation", "test")),
        (("images/train", "images/validation"), ("train", "validation")),  # Kaggle's "face expression recognition dataset"
        (("archive/FER/Train", "archive/FER/Test"), ("train", "test")),
    ],
)
def test_split_folders_by_any_name(tmp_path: Path, folders: Sequence[str], splits: Sequence[str]) -> None:
    root = tree(tmp_path / "data", *(f"{folder}/{label}/{i}.png" for folder in folders for label in ("happy", "sad") for i in range(2)))
    (root / "__MACOSX").mkdir()
    assert prepared(root, tmp_path / "out") == {split: {"happy": 2, "sad": 2} for split in splits}


@pytest.mark.parametrize("clutter", ["lost+found", "System Volume Information", "@eaDir", "$RECYCLE.BIN"])
def test_what_systems_put_beside_folders_is_no_label(clutter: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "data", "happy/1.png", "sad/2.png", f"{clutter}/3.png")
    listing = list_data(root)
    assert listing.labels == ("happy", "sad")
    assert f"ignored: {clutter}." in listing.notes


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "data", "happy/1.png", "sad/2.png")
    whole = Path.iterdir

    def closed(self: Path) -> Iterator[Path]:
        if self.name == "sad":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self)

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(DataError, match=r"sad cannot be read \(Permission denied\); expected one folder per label"):
        list_data(root)


def test_two_folders_of_one_split_are_both_read(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", "train/happy/1.png", "val/happy/1.png", "validation/happy/2.png", "train/sad/3.png")
    assert prepared(root, tmp_path / "out") == {"train": {"happy": 1, "sad": 1}, "validation": {"happy": 2}}


def test_kaggles_train_and_test(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", *(f"{split}/{label}/im{i}.png" for split in ("train", "test") for label in FER for i in range(2)))
    done = ferkit("evaluate", "--data", root, "--split", "PrivateTest", "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 14
    assert "data: train, 14 pictures: angry 2" in done.stderr  # what is read comes first
    assert "data: test, 14 pictures" in done.stderr


def test_affectnets_numbers_are_refused_with_the_line(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", *(f"{split}_set/{k}/{k}.png" for split in ("train", "val") for k in range(8)))
    line = mapping_line(NUMBERINGS["AffectNet"])
    for command in (("evaluate",), ("prepare", "--out", str(tmp_path / "out"))):
        refused = ferkit(*command, "--data", root)
        assert refused.exit_code != 0
        assert f"--labels {line} (AffectNet)" in refused.stderr
        assert "CK+" in refused.stderr  # the same numbers mean something else there: nothing is guessed
    found = prepared(root, tmp_path / "out", "--labels", line)
    assert set(found["train"]) == set(found["validation"]) == {*FER, "contempt"}
    done = ferkit("evaluate", "--data", root, "--labels", line, "--labels", "ferplus", "--format", "json")
    assert json.loads(done.stdout)["n"] == 8
    without = ferkit("evaluate", "--data", root, "--labels", line.replace("7=contempt", "7="), "--format", "json")
    assert json.loads(without.stdout)["n"] == 7
    assert "left out as asked: 7" in without.stderr


def test_rafdbs_folders(tmp_path: Path) -> None:
    """As on Kaggle: DATASET/train/1..7 beside two tables."""
    root = tree(tmp_path / "raf", *(f"DATASET/{s}/{k}/{s}_{k}_aligned.jpg" for s in ("train", "test") for k in range(1, 8)))
    (root / "train_labels.csv").write_text("image,label\n")
    refused = ferkit("evaluate", "--data", root)
    assert "--labels 1=surprise,2=fear,3=disgust,4=happy,5=sad,6=angry,7=neutral (RAF-DB)" in refused.stderr
    assert "AffectNet" in refused.stderr
    found = prepared(root, tmp_path / "out", "--labels", mapping_line(NUMBERINGS["RAF-DB"]))
    assert set(found["train"]) == set(found["test"]) == set(FER)


def test_rafdbs_own_list(tmp_path: Path) -> None:
    root = tree(tmp_path / "basic", *(f"Image/aligned/{s}_{k:05d}_aligned.jpg" for s in ("train", "test") for k in range(1, 8)))
    tree(root, *(f"Image/original/{s}_{k:05d}.jpg" for s in ("train", "test") for k in range(1, 8)))
    (root / "EmoLabel").mkdir()
    rows = [f"{s}_{k:05d}.jpg {k}" for s in ("train", "test") for k in range(1, 8)] + ["train_99999.jpg 4"]
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows) + "\n")
    listing = list_data(root)
    assert {(s.split, s.label) for s in listing.samples} == {(s, label) for s in ("Training", "PrivateTest") for label in FER}
    assert all("aligned" in s.place for s in listing.samples)
    assert "train_99999.jpg is not below" in listing.skipped[0][1]
    assert set(prepared(root, tmp_path / "out")["test"]) == set(FER)
    (root / "EmoLabel" / "list_patition_label.txt").write_text("train_00001.jpg nine\n")
    with pytest.raises(DataError, match=r"line 1: 'train_00001\.jpg nine'; expected such as"):
        list_data(root)


def test_affectnets_own_annotations(tmp_path: Path) -> None:
    root = tmp_path / "affectnet"
    for split in ("train_set", "val_set"):
        (root / split / "annotations").mkdir(parents=True)
        for k in range(8):
            picture(root / split / "images" / f"{k}.jpg")
            np.save(root / split / "annotations" / f"{k}_exp.npy", np.array(str(k)))
    for name in ("98", "99"):
        picture(root / "val_set" / "images" / f"{name}.jpg")
    (root / "val_set" / "annotations" / "98_exp.npy").touch()  # a copy that was cut short
    found = prepared(root, tmp_path / "out")
    assert set(found["train"]) == set(found["validation"]) == {*FER, "contempt"}
    for name, (_, told) in zip(("98", "99"), list_data(root).skipped, strict=True):
        assert f"no label in annotations/{name}_exp.npy" in told


def test_ck_plus_folders_keep_their_names(tmp_path: Path) -> None:
    """Kaggle's CK+48: one folder more, FER2013's labels by other names, contempt."""
    labels = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    root = tree(tmp_path / "data", *(f"CK+48/{label}/S0{i}_00{i}_0000001{i}.png" for label in labels for i in range(2)))
    done = ferkit("evaluate", "--data", root, "--labels", "ferplus", "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 14
    assert "read from CK+48" in done.stderr
    listing = list_data(root, group=r"(S\d+)_")
    assert {s.person for s in listing.samples} == {"S00", "S01"}


@pytest.mark.parametrize(
    ("header", "usages"),
    [
        ("emotion,pixels,Usage", ("Training", "PublicTest")),
        (" emotion, Usage, pixels", ("Training", "PublicTest")),  # icml_face_data.csv
        ("Emotion,Pixels,usage", ("train", "val")),
        ("label,pixels,split", ("TRAIN", "Validation")),
    ],
)
def test_csv_variants(tmp_path: Path, header: str, usages: tuple[str, str]) -> None:
    pixels = " ".join(map(str, np.random.default_rng(0).integers(0, 256, 2304)))
    names = [name.strip().lower() for name in header.split(",")]
    rows = []
    for k in range(7):
        for usage in usages:
            cells = {"emotion": str(k), "label": str(k), "pixels": pixels, "usage": usage, "split": usage}
            rows.append(",".join(cells[name] for name in names))
    (tmp_path / "f.csv").write_text("\n".join([header, *rows]) + "\n")
    for split in ("Training", "PublicTest"):
        assert read_csv(tmp_path / "f.csv", split).labels.tolist() == list(range(7))
    assert prepared(tmp_path / "f.csv", tmp_path / "out")["validation"] == dict.fromkeys(FER, 1)


def test_ck_plus_csv_and_names_in_csv(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 2304)
    (tmp_path / "ck.csv").write_text("emotion,pixels,Usage\n" + "".join(f"{k},{pixels},Training\n" for k in (0, 7)))
    with pytest.raises(DataError, match=r"label 7; expected 0 to 6.*relabel=.0=angry,.*7=contempt"):
        read_csv(tmp_path / "ck.csv")
    faces = read_csv(tmp_path / "ck.csv", relabel=NUMBERINGS["CK+ (csv)"])
    assert [faces.label_set[label] for label in faces.labels] == ["angry", "contempt"]
    (tmp_path / "named.csv").write_text("emotion,pixels\n" + "".join(f"{name},{pixels}\n" for name in ("Anger", "Happiness")))
    faces = read_csv(tmp_path / "named.csv")
    assert [faces.label_set[label] for label in faces.labels] == ["angry", "happy"]
    assert "no column Usage" in faces.notes[0]
    (tmp_path / "large.csv").write_text("emotion,pixels\n3," + " ".join(["9"] * 4096) + "\n")
    assert read_csv(tmp_path / "large.csv").images.shape == (1, 48, 48)
    for name, row in (("list", f'3,"[{", ".join(["9"] * 2304)}]"'), ("floats", "3.0," + " ".join(["9.0"] * 2304))):
        (tmp_path / f"{name}.csv").write_text(f"emotion,pixels\n{row}\n")
        assert read_csv(tmp_path / f"{name}.csv").images[0].tolist() == [[9] * 48] * 48
    (tmp_path / "semicolons.csv").write_text("emotion;pixels\n3;" + " ".join(["9"] * 2304) + "\n")
    assert len(read_csv(tmp_path / "semicolons.csv")) == 1
    (tmp_path / "shares.csv").write_text("emotion,pixels\n3," + " ".join(["0.5"] * 2304) + "\n")
    with pytest.raises(DataError, match="a number with a fraction; expected whole numbers"):
        read_csv(tmp_path / "shares.csv")


def test_what_could_mean_two_things_is_refused(tmp_path: Path) -> None:
    flat = tree(tmp_path / "flat", "train/1.png", "test/2.png")
    with pytest.raises(DataError, match=r"called as splits are and hold pictures.*path,label,split"):
        list_data(flat)
    own = tree(tmp_path / "own", "valid/1.png", "invalid/2.png")
    with pytest.raises(DataError, match=r"relabel=.valid=valid"):
        list_data(own)
    assert list_data(own, {"valid": "valid"}).labels == ("invalid", "valid")
    mixed = tree(tmp_path / "mixed", "train/happy/1.png", "test/happy/2.png", "surprise/3.png")
    with pytest.raises(DataError, match=r"beside the split folders.*relabel=.surprise="):
        list_data(mixed)
    assert len(list_data(mixed, {"surprise": ""})) == 2
    people = tree(tmp_path / "people", "ann/happy/1.png", "ann/sad/2.png", "ben/happy/3.png")
    with pytest.raises(DataError, match="labels below folders of something else"):
        list_data(people)
    with pytest.raises(InputError, match="New names for 5, which"):
        list_data(tree(tmp_path / "plain", "a/1.png", "b/2.png"), {"5": "x"})


def test_labels_that_lie_in_files_are_not_made_up(tmp_path: Path) -> None:
    """Detectors' data sets keep pictures in ``images``, which is no expression; and splits below labels would vanish."""
    for files in (
        ("train/images/1.png", "train/labels/1.txt", "valid/images/2.png"),
        ("images/train/1.png", "labels/train/1.txt"),
        ("train/happy/1.png", "train/sad/2.png", "test/images/3.png"),
        ("JPEGImages/1.png", "Annotations/1.xml"),
    ):
        root = tree(tmp_path / str(len(list(tmp_path.iterdir()))), *(file for file in files if file.endswith(".png")))
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            if not file.endswith(".png"):
                (root / file).write_text("0 0.5 0.5 1 1\n")
        with pytest.raises(DataError, match=r"as pictures without labels are.*path,label,split"):
            list_data(root)
    kept = tree(tmp_path / "kept", "images/1.png", "drawings/2.png")
    assert list_data(kept, {"images": "images"}).labels == ("drawings", "images")
    inside = tree(tmp_path / "inside", *(f"{label}/{split}/1.png" for label in ("happy", "sad") for split in ("train", "test")))
    with pytest.raises(DataError, match="has the splits below the label"):
        list_data(inside)


def test_one_label_by_two_names_in_two_splits(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", "train/Anger/1.png", "train/happy/2.png", "test/angry/3.png", "test/HAPPY/4.png")
    assert prepared(root, tmp_path / "out") == {"train": {"Anger": 1, "happy": 1}, "test": {"Anger": 1, "happy": 1}}
    both = tree(tmp_path / "both", "joy/1.png", "happy/2.png")
    assert list_data(both).labels == ("happy", "joy")  # somebody meant two


def test_whole_photos_are_not_squashed_in_python_either(tmp_path: Path, astronaut: np.ndarray) -> None:
    for label in ("happy", "sad"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.fromarray(astronaut[:460, : 500 - len(label)]).save(tmp_path / "photos" / label / "1.png")
    found, squashed = read_folder(tmp_path / "photos"), read_folder(tmp_path / "photos", detector="none")
    assert not np.array_equal(found.images, squashed.images)
    assert np.array_equal(read_faces(tmp_path / "photos").images, found.images)


def test_votes_belong_to_a_csv(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", "happy/1.png", "sad/2.png")
    refused = ferkit("evaluate", "--data", root, "--ferplus", tmp_path / "fer2013new.csv")
    assert refused.exit_code == 1
    assert "FER+ votes are in the order of fer2013.csv's rows" in refused.stderr


def test_names() -> None:
    assert [split_of(name) for name in ("Train", "VALID", "test set", "my_training_data", "happy", "latest", "", "contest")] == [
        "Training",
        "PublicTest",
        "PrivateTest",
        None,
        None,
        None,
        None,
        None,
    ]
    assert parse_mapping("1=a, 2 =") == {"1": "a", "2": ""}
    for wrong in ("1", "=a", "1=a,1=b"):
        with pytest.raises(InputError, match="expected each label of the data once"):
            parse_mapping(wrong)


@pytest.mark.train
def test_a_folder_is_walked_once_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.data import folders
    from ferkit.train.classifier.reading import read_run
    from ferkit.train.classifier.recipe import load_recipe

    root = tree(tmp_path, *(f"{split}/{label}/{i}.png" for split in ("train", "val") for label in ("happy", "sad") for i in range(2)))
    walks = list[Path]()
    listed = folders.list_folder
    monkeypatch.setattr(folders, "list_folder", lambda path, relabel: (walks.append(path), listed(path, relabel))[1])
    read = read_run(load_recipe("ferkit-n"), root, ferplus=None, photos=None, detector=None, relabel=None, quiet=True)
    assert [len(read.training), len(read.validation or ())] == [4, 4]
    assert walks == [root]
