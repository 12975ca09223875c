"""ferkit push against a loopback server that speaks as much of the hub's protocol as pushing needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ferkit import InputError, WeightsError
from ferkit.weights.publishing import push
from ferkit.weights.store import resolve
from tests.helpers.hubs import WriteHub, environment_for


@pytest.fixture
def cli(hub: WriteHub, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = environment_for(hub, tmp_path / "hf") | environment
        return subprocess.run(
            [sys.executable, "-m", "ferkit", *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def bundle(folder: Path, name: str) -> Path:
    shutil.copytree(resolve(), folder)
    spec = json.loads((folder / "spec.json").read_text())
    spec["name"] = name
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "checkpoint.npz").write_bytes(b"stays at home")
    return folder


def test_push_uploads_and_tags_once(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = bundle(tmp_path / "mine", "mine-v1")
    done = cli("push", str(folder), "hf://org/repo")
    assert done.returncode == 0, done.stderr
    commit, files = hub.commits[-1]
    assert done.stdout.strip() == f"hf://org/repo@{commit}"
    assert hub.tags == {"mine-v1": commit}
    assert set(files) == {"model.onnx", "model.keras", "spec.json", "card.md", "README.md"}
    assert files["model.onnx"] == (folder / "model.onnx").read_bytes()

    refused = cli("push", str(folder), "hf://org/repo")
    assert refused.returncode == 1
    assert "already has mine-v1" in refused.stderr
    assert len(hub.commits) == 2
    following = cli("push", str(bundle(tmp_path / "next", "mine-v2")), "hf://org/repo")
    assert following.returncode == 0, following.stderr
    assert set(hub.tags) == {"mine-v1", "mine-v2"}


def test_the_card_has_a_head_that_the_hub_reads(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    yaml = pytest.importorskip("yaml", reason="the head is YAML")
    folder = bundle(tmp_path / "mine", "mine")
    done = cli("push", str(folder), "hf://org/repo", "--name", "renamed-v1")
    assert done.returncode == 0, done.stderr
    _, files = hub.commits[-1]
    assert hub.tags.keys() == {"renamed-v1"}
    assert json.loads(files["spec.json"])["name"] == "renamed-v1"
    assert json.loads((folder / "spec.json").read_text())["name"] == "mine"
    head, _, body = files["README.md"].decode().removeprefix("---\n").partition("---\n")
    table = yaml.safe_load(head)
    assert table["license"] == "mit"
    assert (table["library_name"], table["pipeline_tag"], table["model_name"]) == ("ferkit", "image-classification", "renamed-v1")
    assert "facial-expression-recognition" in table["tags"]
    assert body.lstrip().startswith("# ")
    assert "](" in (folder / "card.md").read_text(encoding="utf-8")
    assert "](" not in body  # it would lead into a checkout


def test_a_card_gets_the_new_name_where_it_names_the_weights_and_nowhere_else(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = bundle(tmp_path / "mine", "mine")
    (folder / "card.md").write_text("# mine\n\nmine, as `--weights runs/mine` and mine.onnx; determined by examined faces, mine-2 not.\n")
    done = cli("push", str(folder), "hf://org/repo", "--name", "mine-v1")
    assert done.returncode == 0, done.stderr
    card = hub.commits[-1][1]["card.md"].decode()
    assert card == "# mine-v1\n\nmine-v1, as `--weights runs/mine-v1` and mine-v1.onnx; determined by examined faces, mine-2 not.\n"


def test_other_models_are_not_overwritten(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    hub.exists = True
    hub.commits.append(("1" * 40, {".gitattributes": b"", "model.safetensors": b"theirs"}))
    done = cli("push", str(bundle(tmp_path / "mine", "mine-v1")), "hf://org/repo")
    assert done.returncode == 1
    assert "holds model.safetensors, and no version of mine" in done.stderr
    hub.commits.append(("2" * 40, {}))
    hub.tags["theirs-v3"] = "2" * 40
    done = cli("push", str(tmp_path / "mine"), "hf://org/repo")
    assert done.returncode == 1
    assert "holds other weights (theirs)" in done.stderr
    assert len(hub.commits) == 3


@pytest.mark.parametrize(
    "address",
    ["hf://org", "hf://org/re--po", "hf://-org/repo", "hf://org/repo.", "hf://org/repo.git", "org/repo", "hf://a/b/c", "hf://org/r po"],
)
def test_addresses_that_the_hub_would_refuse(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a repository to push to"):
        push(tmp_path, address)


@pytest.mark.parametrize("name", ["my mine-v1", "mine..x-v1", "-mine-v1", "mine~-v1", "mi/ne-v1", "mine:-v2", "é-v1", "mine-v0"])
def test_names_that_are_no_tags(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be a tag of the hub|no version in their name"):
        push(bundle(tmp_path / "mine", "mine-v1"), "hf://org/repo", name=name)


def test_what_is_damaged_or_forbidden_is_not_sent(hub: WriteHub, cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = bundle(tmp_path / "mine", "mine-v1")
    done = cli("push", str(folder), "hf://org/repo", FERKIT_OFFLINE="1")
    assert done.returncode == 1
    assert "FERKIT_OFFLINE" in done.stderr
    (folder / "model.onnx").write_bytes(b"damaged")
    done = cli("push", str(folder), "hf://org/repo")
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert hub.requests == []
    hub.refuse = True
    done = cli("push", str(bundle(tmp_path / "good", "mine-v1")), "hf://org/repo")
    assert done.returncode == 1
    assert "cannot be pushed to" in done.stderr
    assert "Traceback" not in done.stderr


def test_push_refuses_other_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a revision"):
        push(tmp_path, "hf://org/repo@main")
    with pytest.raises(InputError, match="is not a folder"):
        push(tmp_path / "none", "hf://org/repo")
    with pytest.raises(InputError, match="no version in their name"):
        push(bundle(tmp_path / "mine", "mine"), "hf://org/repo")
    with pytest.raises(WeightsError, match="forbids the network"):
        push(bundle(tmp_path / "two", "mine-v1"), "hf://org/repo")
