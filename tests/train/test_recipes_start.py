"""Every shipped recipe starts from an installed package, or says before any data are read what is missing and where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ferkit import WeightsError
from ferkit.train import list_recipes, load_recipe
from ferkit.weights import store
from ferkit.weights.releases import SUPERSEDED, TABLE
from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, needs_keras]
# What a clean install cannot start: steps of the chains that made the releases, from weights that the package no longer has.
CHAIN = {
    "ferkit-b-v1",
    "ferkit-b-v2",
    "ferkit-b-v3",
    "ferkit-b-v4",
    "ferkit-n-v2",
    "ferkit-n-v3",
    "ferkit-n-v4",
    "ferkit-s-v2",
    "ferkit-s-v3",
}
# What begins from the last release before this one, which a checkout has whole.
BEFORE = {"ferkit-b-v6", "ferkit-n-v6", "ferkit-s-v6"}


@pytest.fixture(params=["installed", "checkout"])
def package(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The weights of a wheel: no superseded ones beside them."""
    if request.param == "installed":
        for name, release in TABLE.items():
            if release.hub is None:
                shutil.copytree(store.bundled_folder() / name, tmp_path / "_weights" / name)
        monkeypatch.setattr(store, "bundled_folder", lambda: tmp_path / "_weights")
    monkeypatch.chdir(tmp_path)
    return str(request.param)


def test_every_recipe_starts_or_says_what_is_missing(package: str) -> None:
    from ferkit.train.classifier.training import check_needs

    refused = {}
    for name in list_recipes():
        try:
            check_needs(load_recipe(name))
        except WeightsError as error:
            refused[name] = str(error)
    assert set(refused) == CHAIN | (BEFORE if package == "installed" else set())
    for name, told in refused.items():
        assert f"Recipe {name!r} needs weights that are not here" in told
        assert "ferkit train --recipe ferkit-" in told
        if package == "installed" and "runs/" not in load_recipe(name).training.get("initial", ""):
            assert "weights/superseded of ferkit's repository" in told
        if package == "checkout" and any(old in told.split("A recipe makes")[0] for old in SUPERSEDED):
            assert "git show" in told


@pytest.mark.parametrize("name", ["ferkit-n", "ferkit-s", "ferkit-b"])
def test_the_three_networks_start_from_nothing(name: str) -> None:
    recipe = load_recipe(name)
    assert "initial" not in recipe.training
    assert recipe.teacher == {}
    assert recipe.model["name"] == name
