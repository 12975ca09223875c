"""What fine-tuning learns from and is measured on: persons on one side, another folder held out, folds, and what is recorded. No Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferkit import DataError, ExpressionClassifier, FaceDetector, InputError, LabelSet, WeightsError
from ferkit.data import Faces
from ferkit.data.learnt import learnt_before, write_learnt
from ferkit.evaluation.measuring import format_report, learnt_warning, measure
from ferkit.train.finetuning.linear_head import Head, Lesson, choose_head
from ferkit.train.finetuning.measuring import Answers, by_folds
from ferkit.train.finetuning.splitting import check_parts, deal, gather, hold_out, list_parts
from tests.helpers.faces import write_faces

pytestmark = pytest.mark.train
LABELS = ("zig", "zag", "zog")


def persons_table(root: Path, people: int = 6, each: int = 2, split: bool = False) -> Path:
    """Write faces of three labels and a manifest that says whose they are; with a split that cuts through persons if asked for."""
    write_faces(root, LABELS, people * each)
    rows = ["path,label,person" + (",split" if split else "")]
    for label in LABELS:
        for number in range(people * each):
            rows.append(f"{label}/{number}.png,{label},p{number % people}" + (f",{'test' if number < 3 else 'train'}" if split else ""))
    (root / "faces.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root / "faces.csv"


@pytest.fixture(scope="module")
def base() -> ExpressionClassifier:
    return ExpressionClassifier("fer2013-n-v6")


def test_a_person_is_on_one_side(tmp_path: Path, base: ExpressionClassifier) -> None:
    parts = list_parts(persons_table(tmp_path))
    check_parts(parts)
    assert "faces.csv: 6 persons." in parts.lines
    for seed in range(3):
        table = gather(parts, base, FaceDetector("none"), 0.3, seed)
        assert set(table.training.persons) | set(table.held_out.persons) == {f"p{i}" for i in range(6)}
        assert not set(table.training.persons) & set(table.held_out.persons)
        assert set(table.held_out.labels) == {0, 1, 2}
        folds = deal(table.training.labels, table.groups, 5)
        for person in set(table.training.persons):
            assert len(set(folds[np.array(table.training.persons) == person])) == 1
    folder = list_parts(tmp_path, group=r"(\d)\.png")
    assert len({sample.person for sample in folder.learnt.samples}) == 10


def test_a_split_through_persons_is_refused_first(tmp_path: Path) -> None:
    parts = list_parts(persons_table(tmp_path, split=True))
    with pytest.raises(DataError, match=r"3 person\(s\) are both learnt from and held out \(p0, p1, p2\).*Leave out the column split"):
        check_parts(parts)


def test_another_folder_is_held_out(tmp_path: Path, base: ExpressionClassifier) -> None:
    write_faces(tmp_path / "mine" / "train", ("happy", "sad"), 6)
    write_faces(tmp_path / "mine" / "test", ("happy", "sad"), 3, start=20)
    write_faces(tmp_path / "other", ("Happiness", "Sadness"), 4, start=5)  # number 5 is in both
    parts = list_parts(tmp_path / "mine", tmp_path / "other")
    assert "mine: test is neither learnt from nor measured" in "\n".join(parts.lines)
    table = gather(parts, base, FaceDetector("none"), 0.2, 0)
    assert (len(table.training), len(table.held_out)) == (10, 8)
    assert table.labels.classes == ("happy", "sad")
    assert {file.split("/")[0] for file in table.held_out.files} == {"Happiness", "Sadness"}


def test_train_val_and_test_all_serve(tmp_path: Path, base: ExpressionClassifier) -> None:
    for place, split in enumerate(("Train", "valid", "TEST")):
        write_faces(tmp_path / split, ("x", "y"), 4, start=10 * place)
    parts = list_parts(tmp_path)
    assert "Learnt from: train and validation. Held out: test." in parts.lines
    table = gather(parts, base, FaceDetector("none"), 0.2, 0)
    assert (len(table.training), len(table.held_out)) == (16, 8)


def test_soft_labels_and_weights_reach_the_lesson(tmp_path: Path, base: ExpressionClassifier) -> None:
    write_faces(tmp_path, ("x", "y"), 6)
    rows = [f"{label}/{i}.png,{3 if label == 'x' else 1},{1 if label == 'x' else 3},{1 + i}" for label in ("x", "y") for i in range(6)]
    (tmp_path / "f.csv").write_text("path,x,y,weight\n" + "\n".join(rows) + "\n", encoding="utf-8")
    table = gather(list_parts(tmp_path / "f.csv"), base, FaceDetector("none"), 0.2, 0)
    assert table.training.soft is not None
    assert table.training.weights is not None
    assert np.sort(table.training.soft, axis=1)[0].tolist() == [0.25, 0.75]
    features = np.zeros((1, 10, 4), np.float32)
    lesson = Lesson(features, table.training.labels, table.groups, table.training.soft, table.training.weights)
    head = choose_head(lesson, {"blank": Head(np.zeros((4, 2)), np.zeros(2))}).head
    assert np.abs(head(features[0])).max() < 0.5  # without features, the soft labels say "both"


def test_groups_of_many_labels_are_shared_out() -> None:
    """Persons who show every label: the share is kept, and nobody is everything of a label."""
    truth, person = np.tile(np.arange(3), 20), np.repeat(np.arange(10), 6)
    held = hold_out(truth, person, 0.2)
    assert held.sum() == 12
    assert np.bincount(truth[held]).tolist() == [4, 4, 4]
    assert np.bincount(deal(truth, person, 5)).tolist() == [12] * 5
    large = hold_out(np.repeat([0, 1], 6), np.repeat(np.arange(4), 3), 0.2)  # groups of half a label: one is held out even so
    assert np.bincount(np.repeat([0, 1], 6)[large]).tolist() == [3, 3]


def test_folds_answer_every_face_once() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    features = (rng.normal(size=(60, 8)) * 0.3 + np.eye(3, 8)[truth]).astype(np.float32)[None]
    faces = Faces(
        np.zeros((60, 48, 48), np.uint8),
        truth,
        LabelSet("custom", LABELS),
        persons=tuple(f"p{i // 6}" for i in range(60)),
        files=tuple(f"{i}.png" for i in range(60)),
    )
    answers = by_folds(faces, Lesson(features, truth, np.arange(60) // 6), {"blank": Head(np.zeros((8, 3)), np.zeros(3))}, 5)
    assert answers.probabilities.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    rows, folds = answers.rows(), answers.by_fold()
    assert folds is not None
    assert [row["n"] for row in folds] == [12] * 5
    assert {row["fold"] for row in rows} == set(range(1, 6))
    assert set(rows[0]) == {"file", "label", "answer", "confidence", "person", "fold"}
    assert all(len({row["fold"] for row in rows if row["person"] == person}) == 1 for person in set(faces.persons))
    assert np.mean([row["label"] == row["answer"] for row in rows]) > 0.6


def test_faces_of_one_person_alone_are_refused() -> None:
    """Of two persons one is held out: nobody is left to answer for, and the figures would be NaN."""
    pytest.importorskip("threadpoolctl")
    truth, person = np.arange(12) % 2, np.repeat([0, 1], 6)
    held = hold_out(truth, person, 0.2)
    assert len(set(person[~held])) == 1
    features = np.random.default_rng(0).normal(size=(1, 6, 4)).astype(np.float32)
    with pytest.raises(DataError, match="The 6 faces to learn from are all of one person"):
        choose_head(Lesson(features, truth[~held], person[~held]), {"blank": Head(np.zeros((4, 2)), np.zeros(2))})


def test_two_persons_who_show_everything_are_refused_before_features_are_computed(tmp_path: Path, base: ExpressionClassifier) -> None:
    write_faces(tmp_path, ("x", "y"), 6)
    rows = [f"{label}/{i}.png,{label},{'ann' if i < 3 else 'ben'}" for label in ("x", "y") for i in range(6)]
    (tmp_path / "f.csv").write_text("path,label,person\n" + "\n".join(rows) + "\n", encoding="utf-8")
    parts = list_parts(tmp_path / "f.csv")
    with pytest.raises(DataError, match="The 6 faces to learn from are all of one person"):
        gather(parts, base, FaceDetector("none"), 0.2, 0)
    assert len(gather(parts, base, FaceDetector("none"), None, 0).training) == 12  # in folds both are answered for


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a link to one"])
def test_weights_appear_whole(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all of the work, in what was allowed at its beginning."""
    from ferkit.train.finetuning.assembly import _appearing

    rename = Path.rename

    def as_windows(path: Path, target: Path) -> Path:
        if target.exists():
            raise FileExistsError(183, "Cannot create a file when that file already exists", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", as_windows)
    out, place = tmp_path / "mine", tmp_path / "disk" / "mine"
    if there == "an empty folder":
        out.mkdir()
    elif there == "a link to one":
        place.mkdir(parents=True)
        out.symlink_to(place)
    with _appearing(out) as folder:
        (folder / "spec.json").write_text("{}", encoding="utf-8")
        assert not (out / "spec.json").exists()
    assert (out / "spec.json").read_text(encoding="utf-8") == "{}"
    assert out.is_symlink() is (there == "a link to one")
    assert not list(tmp_path.rglob(".mine-*"))


def test_measuring_what_was_learnt_is_said(tmp_path: Path) -> None:
    import shutil

    from ferkit.weights.store import resolve

    shutil.copytree(resolve("fer2013-n-v6"), tmp_path / "mine")
    data = write_faces(tmp_path / "data", ("happy", "sad"), 6)
    mine = ExpressionClassifier(tmp_path / "mine")
    measurement = measure(mine, data, detector=FaceDetector("none"))
    assert measurement.report["learnt"] is None
    assert learnt_warning(measurement.report) is None
    write_learnt(tmp_path / "mine", measurement.images[:8])
    assert learnt_before(mine, measurement.images).sum() == 8
    report = measure(mine, data, detector=FaceDetector("none")).report
    assert report["learnt"]["n"] == 8
    assert report["learnt"]["others"]["n"] == 4
    assert "learnt from 8 of these 12 faces" in format_report(report)
    assert " of 4 (95 % interval" in format_report(report)


@pytest.mark.parametrize("text", ["", '{"faces"', "[]", '{"faces": 3}', "{}"])
def test_a_damaged_list_of_what_was_learnt_is_told_before_the_work(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from ferkit.weights.store import resolve

    shutil.copytree(resolve("fer2013-n-v6"), tmp_path / "mine")
    (tmp_path / "mine" / "learnt.json").write_text(text, encoding="utf-8")
    mine = ExpressionClassifier(tmp_path / "mine")
    monkeypatch.setattr(ExpressionClassifier, "predict_proba", lambda *_: pytest.fail("work before the check"))
    with pytest.raises(WeightsError, match=r"learnt\.json cannot be read .*Restore it, or delete it"):
        measure(mine, write_faces(tmp_path / "data", ("happy", "sad"), 6), detector=FaceDetector("none"))


def test_released_weights_on_their_own_training_split(small_csv: Path) -> None:
    report = measure(ExpressionClassifier(), small_csv, split="Training").report
    assert report["learnt"] == {"n": 24, "others": {"n": 0}}
    assert "There are no others." in format_report(report)
    assert measure(ExpressionClassifier(), small_csv).report["learnt"] is None


def test_few_faces_are_told_as_a_count() -> None:
    faces = Faces(np.zeros((3, 48, 48), np.uint8), np.array([0, 1, 1]), LabelSet("custom", LABELS), files=("a", "b", "c"))
    rows = Answers(faces, np.eye(3, dtype=np.float32)[[0, 1, 2]]).rows()
    assert [row["answer"] for row in rows] == ["zig", "zag", "zog"]


@pytest.mark.parametrize(("option", "told"), [({"val": "x"}, "folds beside val"), ({"unfreeze": True}, "folds beside unfreeze")])
def test_folds_stand_alone(tmp_path: Path, option: dict[str, object], told: str) -> None:
    pytest.importorskip("scipy")
    from ferkit.train.finetuning.assembly import finetune

    with pytest.raises(InputError, match=told):
        finetune(tmp_path, tmp_path / "out", folds=5, **option)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="folds = 1"):
        finetune(tmp_path, tmp_path / "out", folds=1)
