"""Weights: every release that ships is whole, and every way of not finding one says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ferkit import Ensemble, ExpressionClassifier, WeightsError, list_weights
from ferkit.weights.hashes import sha256_of
from ferkit.weights.releases import DEFAULT_WEIGHTS, SUPERSEDED, TABLE, ZOO, successor
from ferkit.weights.specs import EnsembleSpec, WeightsSpec, load_spec
from ferkit.weights.store import bundled_folder, read_verified, resolve, resolve_detector, verify

FOLDERS = {
    spec.parent.name: spec.parent
    for pattern in ("*/spec.json", "superseded/*/spec.json", "zoo/*/spec.json")
    for spec in bundled_folder().glob(pattern)
}
CLASSIFIERS = sorted(name for name, folder in FOLDERS.items() if isinstance(load_spec(folder), WeightsSpec))
OLD = pytest.mark.filterwarnings("ignore:The weights .* were replaced by")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A private copy of the default weights, to be damaged."""
    return Path(shutil.copytree(resolve(), tmp_path / "copy"))


def test_the_table_and_the_folder_agree() -> None:
    assert set(FOLDERS) - set(SUPERSEDED) - set(ZOO) == {r.name for r in list_weights() if r.hub is None}
    assert {name for name, folder in FOLDERS.items() if folder.parent.name == "superseded"} == set(SUPERSEDED)
    assert {name for name, folder in FOLDERS.items() if folder.parent.name == "zoo"} == set(ZOO)
    assert DEFAULT_WEIGHTS in CLASSIFIERS
    assert all(TABLE[name].name == name for name in TABLE)


@OLD
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_release_is_whole(name: str) -> None:
    folder = FOLDERS[name]
    spec = WeightsSpec.load(folder)
    assert spec.name == name
    assert set(spec.files) == ({"model.onnx"} if name in ZOO else {"model.onnx", "model.keras"})
    if name in SUPERSEDED and not (folder / "model.keras").exists():  # what prediction needs; the rest is in the history
        assert read_verified(folder, spec)
        assert {p.name for p in folder.iterdir()} == {"model.onnx", "spec.json", "card.md"}
        with pytest.raises(WeightsError, match=r"model.keras cannot be read .* Run: git show .*:weights/" + name):
            verify(name)
    else:
        assert verify(name) == {f"{name}/{file}": entry for file, entry in spec.files.items()}
        assert {p.name for p in folder.iterdir()} == {*spec.files, "spec.json", "card.md"}
    assert all(int(entry["size"]) < 20e6 for entry in spec.files.values())
    assert spec.licence == "MIT"
    assert spec.selection == "PublicTest"
    assert {"recipe", "seed", "data", "epochs", "hours", "machine"} <= set(spec.training)
    assert spec.architecture["parameters"] > 0
    columns = sorted({c for o in spec.outputs for row in o.columns for c in row})
    assert columns == list(range(len(columns)))
    for output in spec.outputs:
        classifier = ExpressionClassifier(name, labels=output.name)
        assert classifier.labels.classes == output.labels
        measured = [m for m in spec.metrics if m["labels"] == output.name and m["split"] == "PublicTest"]
        assert {m["tta"] for m in measured} == {"none", "flip", 10}
        for m in measured:
            assert m["n"] > 2000
            assert m["ci95"][0] < m["accuracy"] < m["ci95"][1]
    card = (folder / "card.md").read_text(encoding="utf-8")
    for m in spec.metrics:
        assert f"{m['accuracy']:.2%}" in card
        assert f"{m['n']:,}" in card
    assert "ferkit evaluate" in card


@pytest.mark.parametrize("name", [r.name for r in list_weights() if r.kind != "detector"])
def test_every_release_answers_what_people_see(name: str) -> None:
    """The default output is the one for photos: both heads with the same say, measured on photos by each truth."""
    spec = load_spec(FOLDERS[name])
    assert isinstance(spec, EnsembleSpec | WeightsSpec)
    assert spec.default_output == "photos"
    rows = {m["truth"]: m for m in spec.metrics if m["split"] == "photos"}
    assert {m["labels"] for m in rows.values()} == {"photos"}
    clear = rows["all three agree"]
    assert clear["n"] == 216
    assert clear["accuracy"] > 0.78
    assert clear["recall"]["neutral"] > 0.9
    assert set(rows) == {"all three agree", "majority of three", "the photos' own label"}
    agreed = [m for m in spec.metrics if m["labels"] == "photos" and "FER+" in m["truth"]]
    assert [m["tta"] for m in agreed] == ["none", "flip", 10]
    assert agreed[0]["ece"] <= 0.03
    assert f"{clear['accuracy']:.2%}" in (FOLDERS[name] / "card.md").read_text(encoding="utf-8")
    if isinstance(spec, WeightsSpec):
        heads = [spec.output(head) for head in ("fer2013", "ferplus")]  # each calibrated, and each with exponent 1
        assert spec.output("photos").weights == tuple(round(1 / head.temperature, 4) for head in heads)


def test_an_old_name_says_what_replaced_it() -> None:
    with pytest.warns(UserWarning, match=r"'fer2013-s-v2' were replaced by 'fer2013-s-v6'"):
        assert ExpressionClassifier("fer2013-s-v2").name == "fer2013-s-v2"
    with pytest.warns(UserWarning, match=r"'fer2013-ensemble-v3' were replaced by 'fer2013-ensemble-v6'") as said:
        Ensemble.from_pretrained("fer2013-ensemble-v3")
    assert len(said) == 1  # and not once more for each of its members, which are old too
    assert {successor(name) for name in SUPERSEDED} <= set(TABLE)


def test_an_old_name_that_is_not_here_says_what_replaced_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ferkit.weights.store.bundled_folder", lambda: tmp_path)  # the package has the current releases alone
    with pytest.raises(WeightsError, match=r"'fer2013-b-v4' were replaced by 'fer2013-b-v6'.*weights/superseded"):
        resolve("fer2013-b-v4")


def test_the_zoo_opens_by_name_and_elsewhere_says_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [resolve(name) for name in ZOO] == [bundled_folder() / "zoo" / name for name in ZOO]  # and no warning: nothing replaced them
    monkeypatch.setattr("ferkit.weights.store.bundled_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=r"'conv3' are for teaching .*weights/zoo.*ferkit train --recipe conv3"):
        resolve("conv3")


@pytest.mark.parametrize("name", [r.name for r in list_weights() if r.kind == "ensemble"])
def test_every_ensemble_is_whole(name: str) -> None:
    folder = bundled_folder() / name
    spec = EnsembleSpec.load(folder)
    assert spec.name == name
    assert {p.name for p in folder.iterdir()} == {"spec.json", "card.md"}  # its members are releases
    members = [member["weights"] for member in spec.members]
    assert set(members) <= {r.name for r in list_weights()}
    assert set(verify(name)) == {file for member in members for file in verify(member)}
    assert spec.licence == "MIT"
    assert spec.selection == "PublicTest"
    card = (folder / "card.md").read_text(encoding="utf-8")
    for output in spec.outputs:
        assert {m["tta"] for m in spec.metrics if m["labels"] == output.name} == {"none", "flip", 10}
        assert Ensemble.from_pretrained(name, labels=output.name).labels.classes == output.labels
    for m in spec.metrics:
        assert f"{m['accuracy']:.2%}" in card
    assert f"ferkit evaluate --weights {name}" in card


def test_spec_survives_a_round_trip() -> None:
    spec = WeightsSpec.load(resolve())
    assert WeightsSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_folder_is_taken_as_it_is(copy: Path) -> None:
    assert resolve(copy) == copy
    assert resolve(str(copy)) == copy
    assert ExpressionClassifier(copy).name == DEFAULT_WEIGHTS


def test_corrupt_network_names_both_hashes_and_the_cure(copy: Path) -> None:
    path = copy / "model.onnx"
    good = path.read_bytes()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    path.write_bytes(bad)
    with pytest.raises(WeightsError) as caught:
        ExpressionClassifier(copy)
    for part in (sha256_of(good), sha256_of(bad), "Run:", str(path)):
        assert part in str(caught.value)


@pytest.mark.parametrize("keep", [0, 1000])
def test_truncated_network(copy: Path, keep: int) -> None:
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:keep])
    with pytest.raises(WeightsError, match=f"{keep} bytes"):
        ExpressionClassifier(copy)


def test_missing_files(copy: Path) -> None:
    (copy / "model.onnx").unlink()
    with pytest.raises(WeightsError, match=r"model\.onnx cannot be read"):
        ExpressionClassifier(copy)
    (copy / "spec.json").unlink()
    with pytest.raises(WeightsError, match=r"has no spec\.json"):
        ExpressionClassifier(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}', "null", "3"])
def test_spec_that_is_none(copy: Path, text: str) -> None:
    (copy / "spec.json").write_text(text)
    with pytest.raises(WeightsError, match="not a spec"):
        ExpressionClassifier(copy)


def test_network_that_opencv_cannot_read(copy: Path) -> None:
    spec = json.loads((copy / "spec.json").read_text())
    (copy / "model.onnx").write_bytes(b"no network")
    spec["files"]["model.onnx"] = {"sha256": sha256_of(b"no network"), "size": 10}
    (copy / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(WeightsError, match="is not a network that OpenCV"):
        ExpressionClassifier(copy)


def test_future_schema(copy: Path) -> None:
    spec = json.loads((copy / "spec.json").read_text()) | {"schema": 99}
    (copy / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(WeightsError, match="pip install -U ferkit"):
        ExpressionClassifier(copy)


@pytest.mark.parametrize("name", ["fer2013-s-v99", "", "no/such/folder", "yunet-2026may", "~nobody-of-this-name/weights", "w" * 300, "w\0"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(WeightsError, match=DEFAULT_WEIGHTS):
        resolve(name)


@pytest.mark.parametrize("address", ["hf://org/repo", "hf://repo@main", "hf://a/b/c@main", "hf://org/repo@", "hf://@x"])
def test_addresses_must_be_pinned(address: str) -> None:
    with pytest.raises(WeightsError, match="hf://org/repo@revision"):
        resolve(address)


@pytest.mark.parametrize("address", ["hf://my org/repo@main", "hf://org/re--po@main", "hf://.org/repo@main"])
def test_addresses_that_the_hub_would_refuse(address: str) -> None:
    with pytest.raises(WeightsError, match=r"is not an address of the hub: .* Expected hf://org/repo@revision"):
        resolve(address)


@pytest.mark.parametrize("variable", ["FERKIT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_forbids_the_hub(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FERKIT_OFFLINE", raising=False)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsError, match="not in the local cache"):
        resolve("hf://org/repo@0000000000000000000000000000000000000000")
    with pytest.raises(WeightsError, match="not in the local cache"):
        resolve_detector("yunet-2026may")


def test_a_file_inside_a_folder_of_weights_is_refused_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(resolve(DEFAULT_WEIGHTS), folder)
    for name in ("model.onnx", "spec.json", "card.md"):
        with pytest.raises(WeightsError, match=rf"{name} is one file of the weights '{DEFAULT_WEIGHTS}'; give their folder, .*mine\."):
            resolve(folder / name)
    (folder / "theirs.onnx").write_bytes(b"")
    for stranger in (folder / "theirs.onnx", tmp_path / "alone.onnx"):  # no file of these weights: it is no name either
        stranger.write_bytes(b"")
        with pytest.raises(WeightsError, match="No weights"):
            resolve(stranger)
    (folder / "spec.json").write_text("{")
    with pytest.raises(WeightsError, match="No weights"):
        resolve(folder / "model.onnx")


def test_files_are_verified_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of one's own may have hundreds of megabytes; only specs are read whole."""
    folder = tmp_path / "copy-v1"
    shutil.copytree(resolve("fer2013-n-v6"), folder)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) if path.suffix == ".json" else pytest.fail(f"{path} was read whole"))
    assert verify(folder) == {f"fer2013-n-v6/{file}": entry for file, entry in WeightsSpec.load(folder).files.items()}
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"more")
    with pytest.raises(WeightsError, match=r"model.onnx is damaged: \d+ bytes with SHA-256 [0-9a-f]{64}, expected \d+ bytes"):
        verify(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        verify(folder)
