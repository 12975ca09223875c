"""What a run needs beside its data and a folder to write to: looked for in the first seconds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import FerkitError, InputError, MissingExtraError, WeightsError
from ...files import writable
from ...weights.specs import WeightsSpec
from ...weights.store import read_verified, resolve

__all__ = ["check_exporter", "check_folder", "check_weights"]


def check_weights(names: Sequence[str], what: str, where: Callable[[str], str] = lambda _: "") -> None:
    """Find weights that a run will need.

    Args:
        names: Of weights.
        what: What they are for, in a message.
        where: Says of weights that are missing how to come by them; nothing by default.

    Raises:
        WeightsError: Which of them are missing, and where each was looked for.
    """
    missing = []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that some were replaced is known to whoever names them in a recipe
                folder = resolve(name)
            spec = WeightsSpec.load(folder)
            if "model.keras" in spec.files:
                read_verified(folder, spec, "model.keras")  # superseded weights keep only what prediction needs
                continue
            reason = "has no model.keras, the network as Keras keeps it."
        except (FerkitError, ValueError) as error:
            reason = str(error)
        missing.append(f"{name}: {reason} {where(name)}".rstrip())
    if missing:
        raise WeightsError(f"{what} needs weights that are not here. " + " ".join(missing))


def check_exporter() -> None:
    """Raises MissingExtraError if the package that writes weights is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnx", "train", "Writing the weights of a finished run") from error


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a run's folder that holds another run or cannot be written to. Raises InputError and WeightsError."""
    if (out / "checkpoint.npz").exists() and not resume:
        raise InputError(f"{out} already holds a run; resume=True continues it, or choose another out.", arguments=["resume", "out"])
    writable(out)
