"""Experiments: settings, progress, callbacks, loggers, what a run's folder says of itself, learning rates, going on."""

from __future__ import annotations

import csv
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ferkit import InputError, MissingExtraError
from tests.helpers.faces import write_fer_csv
from tests.helpers.training import needs_keras

pytestmark = [pytest.mark.train, needs_keras]


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("lr=0.01", lambda r: r.optimizer["learning_rate"] == 0.01),
        ("learning_rate=0.02", lambda r: r.optimizer["learning_rate"] == 0.02),
        ("optimizer.weight_decay=0", lambda r: r.optimizer["weight_decay"] == 0),
        ("batch_size=4", lambda r: r.batch_size == 4),
        ("dropout=0.5", lambda r: r.model["dropout"] == 0.5),
        ("stages.1.epochs=7", lambda r: r.stages[1].epochs == 7),
        ("rotation = 0.3", lambda r: r.augment["rotation"] == 0.3),
        ("augment.fill=nearest", lambda r: r.augment["fill"] == "nearest"),
        ("mix.mixup=0.2", lambda r: r.mix["mixup"] == 0.2),
        ("seed=9", lambda r: r.seed == 9),
        ("name=mine", lambda r: r.name == "mine"),
        ("scale=[0.9, 1.1]", None),
    ],
)
def test_settings(recipe: Path, setting: str, found: Any) -> None:
    from ferkit.train import load_recipe

    if found is None:  # both [crop] and [augment] have a scale
        with pytest.raises(InputError, match=r"several tables have it: crop\.scale, augment\.scale"):
            load_recipe(recipe, [setting])
        return
    assert found(load_recipe(recipe, [setting]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("colour=red", "no table has it"),
        ("lr=fast", "expected a number"),
        ("optimizer.speed=1", "unknown speed"),
        ("epochs=3", r"there are 2 stages; expected a number, such as stages\.0\.epochs"),
        ("stages.5.epochs=3", "there are 2 of these"),
        ("name.x=1", "is not a table"),
        ("stages.0=5", "stages is not a table"),
    ],
)
def test_settings_that_are_none(recipe: Path, setting: str, message: str) -> None:
    from ferkit.train import load_recipe

    with pytest.raises(InputError, match=message):
        load_recipe(recipe, [setting])


def test_a_run_tells_and_keeps_everything(recipe: Path, tmp_path: Path) -> None:
    from ferkit.train import Callback, load_recipe, train

    class Heard(Callback):
        def __init__(self) -> None:
            self.heard: list[tuple[str, Any]] = []

        def on_start(self, run: Any) -> None:
            self.heard.append(("start", (run["name"], run["faces"], run["epochs"], run["epoch"])))

        def on_step(self, step: Any) -> None:
            self.heard.append(("step", (step.epoch, step.step, step.steps, step.faces)))

        def on_epoch(self, row: Any) -> None:
            self.heard.append(("epoch", row["epoch"]))

        def on_end(self, finished: bool) -> None:
            self.heard.append(("end", finished))

    class Half:
        """Has one of the methods, and is no Callback."""

        rows = 0

        def on_epoch(self, row: Any) -> None:
            Half.rows += 1

    heard = Heard()
    data = write_fer_csv(tmp_path / "fer2013.csv")
    out = train(recipe, data, tmp_path / "run", settings=["lr=0.04", "stages.0.epochs=1"], callbacks=[heard, Half()])
    assert heard.heard[0] == ("start", ("tiny-test", 24, 3, 0))
    assert heard.heard[1:5] == [("step", (1, 1, 3, 8)), ("step", (1, 2, 3, 8)), ("step", (1, 3, 3, 8)), ("epoch", 1)]
    assert heard.heard[-1] == ("end", True)
    assert Half.rows == 3
    rows = list(csv.DictReader((out / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["val_fer2013_accuracy"]) >= 0
    resolved = load_recipe(out / "recipe.toml")
    assert resolved.optimizer["learning_rate"] == 0.04
    assert resolved == load_recipe(recipe, ["lr=0.04", "stages.0.epochs=1"])
    environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    assert {"ferkit", "python", "backend", "packages", "command", "begun"} <= set(environment)
    for name in ("curves.png", "confusion.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("terminal", [False, True])
def test_progress(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    from ferkit.train import Progress, Step

    clock = [100.0]
    monkeypatch.setattr("ferkit.train.common.listeners.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    progress = Progress(stream=stream)
    progress.on_start({"name": "mine", "faces": 2000, "epochs": 3, "epoch": 1})
    assert stream.getvalue() == "Training mine: 2,000 faces, 3 epochs, 1 of them done. The first step takes longest.\n"
    for step in range(1, 21):
        progress.on_step(Step(2, 3, step, 20, 100, {"loss": 1.5}))
        clock[0] += 4
    told = stream.getvalue()
    assert "epoch 2/3  100 of 2,000 faces  loss 1.5000" in told
    assert "epoch 2/3  400 of 2,000 faces  25 faces/s  64 s left  loss 1.5000" in told
    assert ("\r\033[K" in told) is terminal
    assert told.count("faces/s") == (18 if terminal else 6)


def test_an_epoch_of_one_step_leaves_no_line_on_a_terminal() -> None:
    from ferkit.train import Progress, Step

    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    Progress(stream=stream).on_step(Step(1, 3, 1, 1, 100, {"loss": 1.5}))
    assert stream.getvalue() == "\r\033[K"


def stand_in(name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a module in the logger's place that records what it is called with."""
    calls: list[Any] = []

    def record(what: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> types.SimpleNamespace:
            calls.append((what, args, kwargs))
            return types.SimpleNamespace(add_scalar=record("add_scalar"), flush=record("flush"), close=record("close"))

        return call

    modules = {
        "tensorboard": {
            "tensorboard": {},
            "tensorboard.summary": {"Writer": record("Writer")},
            "tensorboard.summary._output": {"DirectoryOutput": str},
        },
        "mlflow": {"mlflow": {key: record(key) for key in ("start_run", "log_params", "log_metrics", "end_run")}},
        "wandb": {"wandb": {key: record(key) for key in ("init", "log", "finish")}},
    }[name]
    for module, members in modules.items():
        made = types.ModuleType(module)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, module, made)
    return calls


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_loggers(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ferkit.train.common.loggers import open_logger

    calls = stand_in(name, monkeypatch)
    logger = open_logger(name)
    logger.on_start({"name": "mine", "out": tmp_path, "recipe": {"optimizer": {"learning_rate": 0.1}, "photos": {}}, "faces": 8})
    logger.on_epoch({"epoch": 1, "loss": 0.5, "learning_rate": 0.1})
    logger.on_end(True)
    told = repr(calls)
    assert "0.5" in told
    assert name == "tensorboard" or "optimizer.learning_rate" in told
    assert calls[-1][0] in ("close", "end_run", "finish")


@pytest.mark.parametrize(
    ("name", "error", "ended"),
    [
        ("tensorboard", ValueError("no"), ("close", (), {})),
        ("mlflow", ValueError("no"), ("end_run", ("FAILED",), {})),
        ("mlflow", KeyboardInterrupt(), ("end_run", ("KILLED",), {})),
        ("wandb", ValueError("no"), ("finish", (), {"exit_code": 1})),
    ],
)
def test_loggers_end_a_run_that_fails(
    name: str, error: BaseException, ended: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ferkit.train.common.listeners import Listeners
    from ferkit.train.common.loggers import open_logger

    calls = stand_in(name, monkeypatch)
    told = Listeners(callbacks=[open_logger(name)])
    told.fail(error)  # before the run began: a run of the program's own stays as it is
    assert not calls
    told.start({"name": "mine", "out": tmp_path, "recipe": {}, "faces": 8})
    told.fail(error)
    assert calls[-1] == ended
    count = len(calls)
    told.fail(error)
    assert len(calls) == count


def test_a_run_that_fails_is_told_and_its_error_goes_on(recipe: Path, tmp_path: Path) -> None:
    from ferkit.data import read_csv
    from ferkit.train import fit

    class Fails:
        def on_epoch(self, row: Any) -> None:
            raise ValueError("no room for the row")

        def on_fail(self, error: BaseException) -> None:
            raise RuntimeError("neither here")

    heard: list[BaseException] = []

    class Old:
        """Has none of the new methods, and one that it sets to None."""

        on_step = None

        def on_end(self, finished: bool) -> None:
            raise AssertionError

    lines: list[str] = []
    data = read_csv(write_fer_csv(tmp_path / "fer2013.csv"), "Training")
    with pytest.raises(ValueError, match="no room for the row") as error:
        fit(recipe, data, tmp_path / "run", log=lines.append, callbacks=[Fails(), Old(), types.SimpleNamespace(on_fail=heard.append)])
    assert heard == [error.value]
    assert "Fails.on_fail raised RuntimeError('neither here')" in lines


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_logger_that_is_not_installed_says_what_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ferkit.train.common.loggers import open_logger

    for module in ("tensorboard", "tensorboard.summary", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"ferkit\[{name}\]"):
        open_logger(name)
    with pytest.raises(InputError, match="expected one of tensorboard, mlflow, wandb"):
        open_logger("paper")


def test_real_loggers_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from ferkit.train.common.loggers import open_logger

    logger = open_logger("tensorboard")
    logger.on_start({"name": "mine", "out": tmp_path, "recipe": {}, "faces": 8})
    logger.on_epoch({"epoch": 1, "loss": 0.5})
    logger.on_end(True)
    assert b"loss" in next((tmp_path / "tensorboard").iterdir()).read_bytes()


def test_learning_rates(recipe: Path, tmp_path: Path) -> None:
    from ferkit.train import find_learning_rate, load_recipe

    found = find_learning_rate(load_recipe(recipe), write_fer_csv(tmp_path / "fer2013.csv"), steps=30)
    assert found.rates[0] == 1e-5
    assert len(found.rates) == len(found.losses) <= 30
    assert found.rates[0] <= found.suggested <= 3
    with pytest.raises(InputError, match="at least 20 steps"):
        find_learning_rate(recipe, tmp_path / "fer2013.csv", steps=3)


def test_a_loss_that_is_lost_at_once_tells_no_rate() -> None:
    import numpy as np

    from ferkit.train.classifier.rates import _told

    rates = np.geomspace(1e5, 1e6, 3)
    with pytest.raises(InputError, match=r"The loss is nan at a rate of 3\.2e\+05.*expected a smaller low"):
        _told(rates[:2], np.array([2.0, np.nan]))
    assert _told(rates, np.array([2.0, 1.0, np.nan])).suggested == pytest.approx(1e5)


def test_an_interrupted_run_says_how_to_go_on(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from ferkit.cli.main import main
    from ferkit.train.common.listeners import Progress

    data = write_fer_csv(tmp_path / "fer2013.csv")

    def stop(self: Any, step: Any) -> None:
        if step.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_step", stop)
    command = ["train", "--recipe", str(recipe), "--data", str(data), "--out", str(tmp_path / "run"), "--set", "lr=0.01"]
    monkeypatch.setattr(sys, "argv", ["ferkit", *command])
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 130
    assert "Interrupted." in done.stderr
    assert f"To go on, type: ferkit {' '.join(command)} --resume" in done.stderr
    monkeypatch.undo()
    done = CliRunner().invoke(main, [*command, "--resume"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "spec.json").exists()
