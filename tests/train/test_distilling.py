"""Distillation, and faces mixed with others."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ferkit import ExpressionClassifier, InputError
from ferkit.train.classifier.mixing import mix
from ferkit.train.classifier.recipe import load_recipe
from tests.helpers.faces import write_fer_csv
from tests.helpers.training import TINY, needs_keras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = pytest.mark.train


def batch(n: int = 12) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Faces of one grey level each, and targets that tell the level."""
    level = np.arange(n, dtype=np.float32) / n
    faces = np.broadcast_to(255 * level[:, None, None, None], (n, 20, 20, 1)).astype(np.float32)
    return faces, {"fer2013": np.stack([level, 1 - level], axis=1), "ferplus": np.stack([1 - level, level], axis=1)}


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_are_mixed_as_the_faces_are(options: dict[str, float]) -> None:
    faces, targets = batch()
    moved = 0
    for seed in range(20):
        mixed, answer = mix(faces, targets, np.random.default_rng(seed), **options)
        assert mixed.shape == faces.shape
        assert mixed.dtype == np.float32
        # A mean grey level is the target's own mixture, whichever way the faces were mixed.
        assert np.allclose(mixed.mean(axis=(1, 2, 3)) / 255, answer["fer2013"][:, 0], atol=1e-5)
        assert np.allclose(answer["fer2013"].sum(axis=1), 1, atol=1e-6)
        assert np.allclose(answer["ferplus"], answer["fer2013"][:, ::-1], atol=1e-6)
        moved += not np.array_equal(mixed, faces)
    assert moved > 10
    again = [mix(faces, targets, np.random.default_rng(3), **options)[0] for _ in range(2)]
    assert np.array_equal(*again)


def test_nothing_is_mixed_without_an_alpha() -> None:
    faces, targets = batch()
    mixed, answer = mix(faces, targets, np.random.default_rng(0))
    assert np.array_equal(mixed, faces)
    assert all(np.array_equal(answer[head], targets[head]) for head in targets)


@needs_keras
def test_a_teacher_answers_as_its_weights_do(in_float32: Path) -> None:
    from ferkit.train.classifier.distilling import Teacher

    weights = str(in_float32)
    classifier = ExpressionClassifier(weights)
    faces = np.random.default_rng(0).integers(0, 256, (5, 44, 44, 1)).astype(np.float32)
    mean, std = float(classifier.spec.input["mean"]), float(classifier.spec.input["std"])
    raw = classifier._runtime.run(((faces[..., 0] / 255 - mean) / std)[:, None].astype(np.float32)) / 2.0
    for member_list in ([weights], [weights, weights]):
        soft = Teacher(member_list, ["fer2013", "ferplus"], temperature=2.0)(faces)
        for head, columns in (("fer2013", slice(0, 7)), ("ferplus", slice(7, 15))):
            odds = np.exp(raw[:, columns])
            assert np.allclose(soft[head], odds / odds.sum(axis=1, keepdims=True), atol=1e-4)
    coarse = Teacher([weights], ["fer2013"], temperature=2.0, policy="mixed_bfloat16")(faces)
    assert np.abs(coarse["fer2013"] - Teacher([weights], ["fer2013"], temperature=2.0)(faces)["fer2013"]).max() < 0.05

    # A student that sees its faces twice as large: its teacher sees them at the size that it knows.
    smooth = np.stack([cv2.GaussianBlur(face, (0, 0), 3) for face in faces[..., 0]])
    large = np.stack([cv2.resize(face, (88, 88)) for face in smooth])[..., None]
    wanted = Teacher([weights], ["fer2013"])(smooth[..., None])["fer2013"]
    assert np.abs(Teacher([weights], ["fer2013"], size=96)(large)["fer2013"] - wanted).max() < 0.01
    assert np.abs(Teacher([weights], ["fer2013"])(large)["fer2013"] - wanted).max() > 0.05

    with pytest.raises(InputError, match="has the head 'fer6'; they have fer2013, ferplus"):
        Teacher([weights], ["fer6"])
    with pytest.raises(InputError, match="needs a list of weights"):
        Teacher([], ["fer2013"])


@needs_keras
def test_the_distillation_loss_by_hand() -> None:
    from keras import ops

    from ferkit.train.classifier.distilling import distillation_accuracy, distillation_loss

    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    hard = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    hard[3] = 0  # no label
    soft = rng.dirichlet(np.ones(3), 4).astype(np.float32)
    targets = np.concatenate([hard, soft], axis=1)

    def log_softmax(z: np.ndarray) -> np.ndarray:
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    wanted = 0.4 * -(hard * log_softmax(logits)).sum(axis=1) + 0.6 * 9 * -(soft * log_softmax(logits / 3)).sum(axis=1)
    assert np.allclose(ops.convert_to_numpy(distillation_loss(0.6, 3.0)(targets, logits)), wanted, atol=1e-5)
    right = ops.convert_to_numpy(distillation_accuracy(targets, logits))
    assert np.array_equal(right[:3], (logits.argmax(axis=1) == [0, 1, 2, 2])[:3])


@needs_keras
@pytest.mark.slow
def test_a_student_follows_its_teacher_and_resumes(tmp_path: Path) -> None:
    """With the teacher's answers alone, labels that say nothing do no harm; and a run stopped in between ends the same."""
    from ferkit.data.faces import read_csv
    from ferkit.train import fit, train

    data = write_fer_csv(tmp_path / "fer2013.csv", 140, 21)
    plain = tmp_path / "plain.toml"
    plain.write_text(TINY, encoding="utf-8")
    teacher = train(plain, data, tmp_path / "teacher")
    student = tmp_path / "student.toml"
    student.write_text(
        TINY.replace("[model]", f'[mix]\nmixup = 0.2\n[teacher]\nweights = ["{teacher.as_posix()}"]\nweight = 1.0\n[model]'),
        encoding="utf-8",
    )
    faces = read_csv(data)
    whole = fit(student, faces, tmp_path / "whole")
    losses = [row["loss"] for row in whole.history]
    assert losses[-1] < losses[0]
    fit(student, faces, tmp_path / "halves", max_minutes=1e-6)
    halves = fit(student, faces, tmp_path / "halves", resume=True)
    assert [row["loss"] for row in halves.history] == losses
    assert load_recipe(student).teacher["weight"] == 1.0

    student.write_text(student.read_text(encoding="utf-8").replace("weight = 1.0", "weight = 1.5"), encoding="utf-8")
    with pytest.raises(InputError, match=r"a teacher's weight of 1\.5"):
        load_recipe(student)
