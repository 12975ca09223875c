"""Where the lines and figures of a run go: standard error, TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import InputError, MissingExtraError

__all__ = ["LOGGERS", "MLflowLogger", "TensorBoardLogger", "WandbLogger", "open_logger", "to_stderr"]


def to_stderr(line: str) -> None:
    """Print a line at once, beside the results."""
    print(line, file=sys.stderr, flush=True)


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "epoch" and isinstance(value, (int, float))}


def _settings(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a recipe's entries by their paths, ``optimizer.learning_rate``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _settings(value, f"{prefix}{key}.")
        elif value not in ((), [], None):
            flat[f"{prefix}{key}"] = value
    return flat


class TensorBoardLogger:
    """Writes every epoch's figures for TensorBoard into ``out/tensorboard``. Its methods are those of ``ferkit.train.Callback``.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from tensorboard.summary import Writer
            from tensorboard.summary._output import DirectoryOutput
        except ImportError as error:
            raise MissingExtraError("tensorboard", "tensorboard", "Logging to TensorBoard") from error
        self._open: Callable[[Path], Any] = lambda folder: Writer(DirectoryOutput(str(folder)))
        self._writer: Any = None

    def on_start(self, run: Mapping[str, Any]) -> None:
        self._writer = self._open(Path(run["out"]) / "tensorboard")

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        for name, value in _figures(row).items():
            self._writer.add_scalar(name, value, step=int(row["epoch"]))
        self._writer.flush()

    def on_end(self, finished: bool) -> None:  # noqa: ARG002 - a stopped run's figures are as good
        self._writer.close()

    def on_fail(self, error: BaseException) -> None:  # noqa: ARG002 - and so are a failed one's
        if self._writer is not None:
            self._writer.close()


class MLflowLogger:
    """Logs the recipe and every epoch's figures as a run of MLflow, where ``MLFLOW_TRACKING_URI`` says.

    Raises:
        MissingExtraError: mlflow is not installed.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise MissingExtraError("mlflow-skinny", "mlflow", "Logging to MLflow") from error
        self._mlflow, self._active = mlflow, False

    def on_start(self, run: Mapping[str, Any]) -> None:
        self._mlflow.start_run(run_name=run["name"])
        self._active = True
        self._mlflow.log_params({key: str(value)[:500] for key, value in _settings(run["recipe"]).items()})

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        self._mlflow.log_metrics(_figures(row), step=int(row["epoch"]))

    def on_end(self, finished: bool) -> None:
        self._end("FINISHED" if finished else "KILLED")

    def on_fail(self, error: BaseException) -> None:
        self._end("FAILED" if isinstance(error, Exception) else "KILLED")

    def _end(self, status: str) -> None:
        if self._active:  # and not a run that the program began itself
            self._mlflow.end_run(status)
        self._active = False


class WandbLogger:
    """Logs the recipe and every epoch's figures to Weights & Biases; ``WANDB_MODE=offline`` keeps them here.

    Raises:
        MissingExtraError: wandb is not installed.
    """

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError("wandb", "wandb", "Logging to Weights & Biases") from error
        self._wandb, self._run = wandb, None

    def on_start(self, run: Mapping[str, Any]) -> None:
        self._run = self._wandb.init(project="ferkit", name=run["name"], dir=str(run["out"]), config=_settings(run["recipe"]))

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        self._wandb.log(_figures(row), step=int(row["epoch"]))

    def on_end(self, finished: bool) -> None:
        self._end(0 if finished else 1)

    def on_fail(self, error: BaseException) -> None:  # noqa: ARG002 - W&B tells a failed run by its code
        self._end(1)

    def _end(self, code: int) -> None:
        if self._run is not None:
            self._wandb.finish(exit_code=code)
        self._run = None


LOGGERS: dict[str, type[Any]] = {"tensorboard": TensorBoardLogger, "mlflow": MLflowLogger, "wandb": WandbLogger}


def open_logger(name: str) -> Any:
    """Return a logger by name. Raises InputError for an unknown one, MissingExtraError where its package is not installed."""
    if name not in LOGGERS:
        raise InputError(f"Unknown logger {name!r}; expected one of {', '.join(LOGGERS)}.", arguments=["log_to"])
    return LOGGERS[name]()
