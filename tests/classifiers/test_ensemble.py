"""Ensembles: arithmetic, the classifier's protocol, bundles, fitted weights, and the snapshots of a run."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ferkit import Ensemble, ExpressionClassifier, FaceDetector, InputError, LabelSet, Pipeline, WeightsError
from ferkit.classifiers.committee import Committee
from ferkit.classifiers.ensemble import combined, open_classifier
from ferkit.cli.main import main
from ferkit.data.faces import Faces
from ferkit.evaluation.calibration import negative_log_likelihood
from ferkit.evaluation.measuring import AGREED, evaluate
from ferkit.labels import FER7
from ferkit.train.ensembling import fit_ensemble, fit_weights
from ferkit.weights.releases import DEFAULT_WEIGHTS
from ferkit.weights.specs import EnsembleSpec
from ferkit.weights.store import resolve, verify
from tests.helpers.faces import write_fer_csv, write_votes_csv

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that differ from the bundled ones: the same network, answering twice as sharply and with other names."""
    folder = Path(shutil.copytree(resolve(), tmp_path_factory.mktemp("weights") / "other"))
    spec = json.loads((folder / "spec.json").read_text())
    spec["name"] = "other"
    for output in spec["outputs"]:
        output["temperature"] /= 3
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture(scope="module")
def pair(other: Path) -> Ensemble:
    return Ensemble.from_pretrained([DEFAULT_WEIGHTS, other], weights=[3, 1], labels="fer2013")


def test_probabilities_are_the_weighted_mean(pair: Ensemble, crops: np.ndarray) -> None:
    a, b = (member.predict_proba(crops) for member in pair.members)
    p = pair.predict_proba(crops)
    assert p.dtype == np.float32
    assert np.allclose(p, 0.75 * a + 0.25 * b, atol=1e-5)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert pair.predict_proba(crops[:0]).shape == (0, 7)


def test_logits_are_a_weighted_product(pair: Ensemble, crops: np.ndarray) -> None:
    product = Ensemble(pair.members, weights=[3, 1], combine="logit")
    a, b = (member.predict_proba(crops).astype(float) for member in pair.members)
    expected = a**0.75 * b**0.25
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(product.predict_proba(crops), expected, atol=1e-4)
    cool = Ensemble(pair.members, weights=[3, 1], combine="logit", temperature=2.0).predict_proba(crops)
    expected = np.sqrt(expected) / np.sqrt(expected).sum(axis=1, keepdims=True)
    assert np.allclose(cool, expected, atol=1e-4)


def test_disagreement(pair: Ensemble, crops: np.ndarray) -> None:
    alike = Committee([pair.members[0]] * 3)
    assert np.abs(alike.disagreement(alike.logits(crops))).max() < 1e-6
    apart = pair.disagreement(pair.logits(crops))
    assert apart.dtype == np.float32
    assert (apart >= 0).all()
    assert apart.max() > 1e-3
    assert (apart <= np.log(2)).all()
    assert [e.disagreement for e in pair.predict(crops)] == pytest.approx(apart.tolist())
    # By hand: two sure members that contradict each other are ln 2 apart.
    p = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert combined(p, np.array([0.5, 0.5]), "probability")[0].tolist() == [0.5, 0.5]


def test_it_is_a_classifier_everywhere(pair: Ensemble, photo: Path, crops: np.ndarray) -> None:
    result = Pipeline(FaceDetector(), pair)(photo)
    assert result.weights == pair.name == f"{DEFAULT_WEIGHTS}+other"
    face = result.to_dict()["faces"][0]
    assert face["disagreement"] >= 0
    assert pickle.loads(pickle.dumps(result.faces[0])) == result.faces[0]
    assert "disagreement" not in Pipeline()(photo).to_dict()["faces"][0]
    report = evaluate(pair, Faces(crops, np.arange(len(crops)) % 7))
    assert report["n"] == len(crops)
    known = evaluate(pair, Faces(crops, np.arange(len(crops)) % 7), logits=pair.logits(crops))
    assert known["confusion"] == report["confusion"]
    sure = Ensemble(pair.members, min_confidence=1.0).predict(crops[:1])[0]
    assert sure.label is None
    assert sure.disagreement is not None


def test_an_ensemble_abstains_by_its_own_threshold_alone(other: Path, crops: np.ndarray) -> None:
    shy = [ExpressionClassifier(name, labels="fer2013", min_confidence=1.0) for name in (DEFAULT_WEIGHTS, other)]
    bold = [ExpressionClassifier(name, labels="fer2013") for name in (DEFAULT_WEIGHTS, other)]
    assert all(e.label is not None for e in Ensemble(shy).predict(crops))
    assert all(e.label is None and "is below 1" in str(e.reason) for e in Ensemble(bold, min_confidence=1.0).predict(crops))
    answers, floor = Ensemble(shy, min_confidence=0.5).predict(crops), 0.5
    assert [e.label is None for e in answers] == [e.confidence < floor for e in answers]
    assert len({e.label is None for e in answers}) == 2  # some are below it and some above


@pytest.mark.parametrize("tta", ["flip", "random:3"])
def test_views_are_the_members_own(other: Path, crops: np.ndarray, tta: str) -> None:
    both = Ensemble.from_pretrained([DEFAULT_WEIGHTS, other], tta=tta)
    expected = np.mean([ExpressionClassifier(name, tta=tta).predict_proba(crops) for name in (DEFAULT_WEIGHTS, other)], axis=0)
    assert both.tta == tta
    assert np.allclose(both.predict_proba(crops), expected, atol=1e-5)


def test_members_with_the_same_classes_in_another_order(crops: np.ndarray) -> None:
    first = ExpressionClassifier(labels=LabelSet("x", ("sad", "happy", "fear")))
    second = ExpressionClassifier(labels=LabelSet("x", ("fear", "sad", "happy")))
    assert np.allclose(Ensemble([first, second]).predict_proba(crops), first.predict_proba(crops), atol=1e-5)


def test_bundle(pair: Ensemble, tmp_path: Path, crops: np.ndarray, photo: Path) -> None:
    fitted = Ensemble(pair.members, weights=[3, 1], combine="logit", temperature=1.5)
    out = fitted.save(tmp_path / "both")
    table = json.loads((out / "spec.json").read_text())
    assert [sorted(entry) for entry in table["members"]] == [["name", "sha256", "weights"], ["name", "path", "sha256"]]
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == ["model.onnx", "spec.json", "spec.json"]
    assert [Path(file).name for file in table["files"]] == ["spec.json", "model.onnx"]
    assert set(verify(out)) == {f"both/{file}" for file in table["files"]} | set(verify(DEFAULT_WEIGHTS))
    again = Ensemble.from_pretrained(out)
    assert again.name == "both"
    assert np.array_equal(again.predict_proba(crops), fitted.predict_proba(crops))
    assert isinstance(open_classifier(out), Ensemble)
    answer = CliRunner().invoke(main, ["predict", str(photo), "--weights", str(out)])
    assert answer.exit_code == 0, answer.output
    shown = json.loads(answer.stdout)[0]
    assert shown["weights"] == "both"
    assert "disagreement" in shown["faces"][0]
    opened = ExpressionClassifier(out)
    assert np.array_equal(opened.predict_proba(crops), fitted.predict_proba(crops))
    with pytest.raises(WeightsError, match=r"is an ensemble, not one network.*take one of"):
        opened.spec  # noqa: B018
    with pytest.raises(InputError, match="already exists"):
        fitted.save(out)
    with pytest.raises(InputError, match="weights and combine of its own"):
        Ensemble.from_pretrained(out, combine="logit")
    moved = Path(shutil.move(out, tmp_path / "moved"))
    assert Ensemble.from_pretrained(moved).name == "both"
    spec = moved / table["members"][1]["path"] / "spec.json"
    spec.write_text(spec.read_text().replace('"other"', '"changed"'))
    with pytest.raises(WeightsError, match="member 'other' has a spec with SHA-256"):
        Ensemble.from_pretrained(moved)
    spec.unlink()
    with pytest.raises(WeightsError, match="member 'other' cannot be read"):
        Ensemble.from_pretrained(moved)
    table["members"][1]["path"] = "../elsewhere"
    (moved / "spec.json").write_text(json.dumps(table))
    with pytest.raises(WeightsError, match="outside of it"):
        Ensemble.from_pretrained(moved)
    del table["members"]
    (moved / "spec.json").write_text(json.dumps(table))
    with pytest.raises(WeightsError, match="lacks members"):
        Ensemble.from_pretrained(moved)


def test_bundle_with_several_label_sets(pair: Ensemble, other: Path, tmp_path: Path, crops: np.ndarray) -> None:
    names = [DEFAULT_WEIGHTS, other]
    plus = Ensemble.from_pretrained(names, weights=[1, 2], labels="ferplus")
    out = pair.save(tmp_path / "both", others=[plus])
    assert np.allclose(Ensemble.from_pretrained(out).predict_proba(crops), pair.predict_proba(crops), atol=1e-6)
    assert np.allclose(open_classifier(out, labels="ferplus").predict_proba(crops), plus.predict_proba(crops), atol=1e-6)
    some = open_classifier(out, labels=["sad", "happy"]).predict_proba(crops)
    expected = [m.predict_proba(crops) for m in (ExpressionClassifier(name, labels=["sad", "happy"]) for name in names)]
    assert np.allclose(some, 0.75 * expected[0] + 0.25 * expected[1], atol=1e-5)
    with pytest.raises(InputError, match="no labels 'mixed'; expected one of fer2013, ferplus"):
        open_classifier(out, labels="mixed")
    alone = Ensemble.from_pretrained([DEFAULT_WEIGHTS], labels="ferplus")
    with pytest.raises(InputError, match="has other members"):
        pair.save(tmp_path / "new", others=[alone])
    spec = EnsembleSpec.load(out)
    assert EnsembleSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.licence == "MIT"
    assert spec.architecture["parameters"] == 2 * ExpressionClassifier().spec.architecture["parameters"]
    damaged = out / "members" / "01-other" / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="is damaged"):
        verify(out)


def test_a_changed_copy_of_a_release_is_copied(tmp_path: Path, crops: np.ndarray) -> None:
    changed = Path(shutil.copytree(resolve(), tmp_path / "changed"))
    spec = changed / "spec.json"
    spec.write_text(spec.read_text() + "\n")
    saved = Ensemble.from_pretrained([changed]).save(tmp_path / "one")
    assert "path" in EnsembleSpec.load(saved).members[0]
    assert Ensemble.from_pretrained(saved).predict_proba(crops).shape == (len(crops), 7)


def test_it_measures_folders_of_photos(pair: Ensemble, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "photos" / "happy").mkdir(parents=True)
    shutil.copy(photo, tmp_path / "photos" / "happy")
    assert evaluate(pair, tmp_path / "photos", detector=FaceDetector())["n"] == 1


def test_bundle_of_some_labels(tmp_path: Path, crops: np.ndarray) -> None:
    some = Ensemble.from_pretrained([DEFAULT_WEIGHTS], labels=["sad", "happy"])
    again = Ensemble.from_pretrained(some.save(tmp_path / "some"))
    assert again.labels.classes == ("sad", "happy")
    assert np.array_equal(again.predict_proba(crops), some.predict_proba(crops))


def test_what_does_not_fit_together(pair: Ensemble, tmp_path: Path) -> None:
    one = pair.members[0]
    with pytest.raises(InputError, match="ensemble of nothing"):
        Ensemble([])
    for weights in ([1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(InputError, match="one a member"):
            Ensemble(pair.members, weights=weights)
    with pytest.raises(InputError, match="combine='median'"):
        Ensemble([one], combine="median")
    with pytest.raises(InputError, match="temperature 0"):
        Ensemble([one], temperature=0)
    with pytest.raises(InputError, match="min_confidence"):
        Ensemble([one], min_confidence=2)
    with pytest.raises(InputError, match="no ensemble of both"):
        Ensemble([one, ExpressionClassifier(labels="ferplus")])
    with pytest.raises(InputError, match="tta='flip'"):
        Ensemble([one, ExpressionClassifier(labels="fer2013", tta="flip")])
    with pytest.raises(InputError, match=f"one network twice, {DEFAULT_WEIGHTS} and {DEFAULT_WEIGHTS}"):
        Ensemble([one, one])
    with pytest.raises(InputError, match="one network twice"):  # inside an ensemble, and under the name of the copy
        Ensemble([ExpressionClassifier("fer2013-ensemble-v6"), ExpressionClassifier("fer2013-b-v6")])
    answer = CliRunner().invoke(main, ["ensemble", DEFAULT_WEIGHTS, DEFAULT_WEIGHTS, "--out", str(tmp_path / "twice")])
    assert (answer.exit_code, (tmp_path / "twice").exists()) == (2, False)
    assert "one network twice" in answer.stderr
    with pytest.raises(WeightsError, match=f"is not an ensemble: it holds '{DEFAULT_WEIGHTS}'"):
        Ensemble.from_pretrained(DEFAULT_WEIGHTS)
    with pytest.raises(WeightsError, match=r"has no spec\.json"):
        Ensemble.from_pretrained(tmp_path)


def test_fitted_weights_find_the_mixture() -> None:
    """A member that knows, one that guesses: the fit prefers the first, and no weights on a grid do better."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    good = rng.dirichlet([1, 1, 1], 600) * 0.6 + 0.4 * np.eye(3)[truth]
    bad = rng.dirichlet([1, 1, 1], 600)
    other = rng.dirichlet([1, 1, 1], 600) * 0.8 + 0.2 * np.eye(3)[truth]
    p = np.stack([good, bad, other])
    grid = [np.array([a, b, 1 - a - b]) for a in np.linspace(0, 1, 41) for b in np.linspace(0, 1 - a, 41)]
    for combine in ("probability", "logit"):
        weights = fit_weights(p, truth, combine)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()
        assert weights[0] > weights[2] > weights[1]

        def cost(w: np.ndarray, combine: str = combine) -> float:
            return negative_log_likelihood(np.log(combined(p, w, combine).astype(float)), truth)

        assert cost(weights) <= min(cost(w) for w in grid) + 1e-3


def test_fit_ensemble(pair: Ensemble, crops: np.ndarray) -> None:
    labels = pair.members[0].predict_proba(crops).argmax(axis=1)
    fitted = fit_ensemble(pair, Faces(crops, labels.astype(np.int64)))
    assert fitted.weights.sum() == pytest.approx(1)
    assert fitted.temperature < 1  # every label is the members' own answer, so they may be surer
    kept = fit_ensemble(pair, Faces(crops, labels.astype(np.int64)), weights=False)
    assert kept.weights.tolist() == [0.75, 0.25]


@pytest.mark.train
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("keras") is None or importlib.util.find_spec("onnx") is None,
    reason='needs the train extra: pip install "ferkit[train]"',
)
def test_snapshots_of_a_run_become_an_ensemble(tmp_path: Path) -> None:
    from ferkit.train import train

    data = write_fer_csv(tmp_path / "fer2013.csv", 84, 42)
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'base = "shallow-6"\n[optimizer]\nname = "adam"\n[training]\nbatch_size = 8\n[snapshots]\nevery = 9\nkeep = 2\n'
        "[[stages]]\nepochs = 3\nsize = 48\n"
    )
    run = train(recipe, data, tmp_path / "run")
    assert ExpressionClassifier(run).labels.name == "fer6"
    out = tmp_path / "ensemble"
    arguments = ["ensemble", "--snapshots", str(run), "--data", str(data), "--out", str(out)]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert [m["name"] for m in json.loads(answer.stdout)["labels"]["fer6"]["members"]] == ["run-0000018", "run-0000027"]
    both = Ensemble.from_pretrained(out)
    assert [m.name for m in both.members] == ["run-0000018", "run-0000027"]
    assert evaluate(both, data)["n"] == 36  # of 42, the six disgust faces are left out
    logits = ExpressionClassifier(run).logits(np.zeros((1, 48, 48), np.uint8))
    assert np.allclose(both.members[1].logits(np.zeros((1, 48, 48), np.uint8)), logits, atol=1e-4)  # 27 steps are the whole run
    assert CliRunner().invoke(main, arguments).exit_code == 2
    (tmp_path / "moved").mkdir()
    shutil.move(run / "snapshots", tmp_path / "moved")
    answer = CliRunner().invoke(main, [*arguments[:-1], str(tmp_path / "another")])
    assert answer.exit_code == 1
    assert "has no snapshots" in answer.output


def test_the_command(tmp_path: Path, other: Path) -> None:
    out = tmp_path / "both"
    answer = CliRunner().invoke(main, ["ensemble", DEFAULT_WEIGHTS, str(other), "--out", str(out), "--combine", "logit"])
    assert answer.exit_code == 0, answer.output
    assert list(json.loads(answer.stdout)["labels"]) == ["photos", "fer2013", "ferplus", "mixed"]
    assert Ensemble.from_pretrained(out).combine == "logit"
    assert Ensemble.from_pretrained(out).labels.classes == FER7.classes
    assert "Not measured" in (out / "card.md").read_text()
    answer = CliRunner().invoke(main, ["ensemble", "--snapshots", "runs/x", "--out", str(tmp_path / "new")])
    assert answer.exit_code == 2
    assert "needs --data" in answer.output
    answer = CliRunner().invoke(main, ["ensemble", DEFAULT_WEIGHTS, "--ferplus", "x.csv", "--out", str(tmp_path / "new")])
    assert answer.exit_code == 2
    assert "--ferplus needs --data" in answer.output
    assert CliRunner().invoke(main, ["ensemble", "--out", str(tmp_path / "new")]).exit_code == 2


def test_the_command_fits_and_measures(tmp_path: Path, other: Path) -> None:
    data = write_fer_csv(tmp_path / "fer2013.csv", 7, 42)
    votes = write_votes_csv(tmp_path / "votes.csv", 7, 42)
    out = tmp_path / "both"
    arguments = ["ensemble", DEFAULT_WEIGHTS, str(other), "--out", str(out), "--data", str(data), "--ferplus", str(votes)]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    spec = EnsembleSpec.load(out)
    own = [(m["labels"], m["tta"]) for m in spec.metrics if m["truth"] != AGREED]
    assert own == [(o.name, t) for o in spec.outputs for t in ("none", "flip", 10)]
    assert [(m["labels"], m["tta"]) for m in spec.metrics if m["truth"] == AGREED] == [("photos", t) for t in ("none", "flip", 10)]
    assert all(sum(output.weights) == pytest.approx(1) for output in spec.outputs)
    report = evaluate(Ensemble.from_pretrained(out, tta="flip"), data)
    assert report["accuracy"] == pytest.approx(spec.metrics[1]["accuracy"], abs=1e-4)
    card = (out / "card.md").read_text()
    assert "ferkit evaluate --weights both --data fer2013.csv --split PublicTest --labels ferplus --ferplus fer2013new.csv --tta 10" in card
    assert "--labels photos --ferplus fer2013new.csv --agreed --tta flip" in card
    assert "| `ferplus` |" in card
