"""Training, evaluation and export. The only room whose modules import Keras as they are loaded; each name is loaded when it is used."""

from __future__ import annotations

from importlib import import_module
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from ..data.preparing import prepare as prepare
    from ..evaluation.measuring import evaluate as evaluate
    from ..evaluation.report import write_report as write_report
    from ..weights.publishing import push as push
    from .classifier.loop import Run as Run
    from .classifier.loop import fit as fit
    from .classifier.networks import build_model as build_model
    from .classifier.rates import LearningRates as LearningRates
    from .classifier.rates import find_learning_rate as find_learning_rate
    from .classifier.recipe import Recipe as Recipe
    from .classifier.recipe import list_recipes as list_recipes
    from .classifier.recipe import load_recipe as load_recipe
    from .classifier.training import train as train
    from .common.listeners import Callback as Callback
    from .common.listeners import Progress as Progress
    from .common.listeners import Step as Step
    from .detector.training import train_detector as train_detector
    from .ensembling import fit_ensemble as fit_ensemble
    from .ensembling import make_ensemble as make_ensemble
    from .ensembling import snapshot_weights as snapshot_weights
    from .finetuning.assembly import finetune as finetune
    from .release.single_files import export as export

# No module here bears the name of a function: importing ferkit.train.fit as a module would hide the function.
_HOMES = {
    "Callback": "common.listeners",
    "LearningRates": "classifier.rates",
    "Progress": "common.listeners",
    "Recipe": "classifier.recipe",
    "Step": "common.listeners",
    "find_learning_rate": "classifier.rates",
    "Run": "classifier.loop",
    "build_model": "classifier.networks",
    "evaluate": ".evaluation.measuring",
    "export": "release.single_files",
    "finetune": "finetuning.assembly",
    "fit": "classifier.loop",
    "fit_ensemble": "ensembling",
    "make_ensemble": "ensembling",
    "list_recipes": "classifier.recipe",
    "load_recipe": "classifier.recipe",
    "prepare": ".data.preparing",
    "push": ".weights.publishing",
    "snapshot_weights": "ensembling",
    "train": "classifier.training",
    "train_detector": "detector.training",
    "write_report": ".evaluation.report",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table is the list


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ferkit.train' has no attribute {name!r}")
    try:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("keras", "tensorflow", "torch", "jax", "scipy"):
            raise MissingExtraError(str(error.name), "train", f"ferkit.train.{name}") from error
        raise
    except ValueError as error:
        modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
        if modules[-1].partition(".")[0] != "keras":
            raise
        raise InputError(f"{error}. Expected KERAS_BACKEND to be tensorflow, torch or jax; unset it for TensorFlow.") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
