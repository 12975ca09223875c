"""Training by several processes, of this machine or of a Ray cluster's nodes: refusals, the group, and what each process does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras

from ...errors import InputError, MissingExtraError
from ...image_files import expanded
from ..common.checkpoint import progress
from ..common.group import Local, Member, free_port, supervise
from ..common.listeners import Forward, Listeners
from ..common.ranks import Ranks, check_divisible
from .loop import fit
from .optimizer import stops
from .reading import read_run
from .recipe import Recipe

__all__ = ["check_together", "fit_share", "fit_together"]

_CALL = "ferkit.train.classifier.together:fit_share"
_LOOPBACK = "127.0.0.1"


def check_together(recipe: Recipe, workers: int, max_failures: int) -> None:
    """Refuse what several processes cannot do.

    Raises:
        InputError: Keras does not run on JAX, the recipe is for TensorFlow, or the batch cannot be shared out.
        MissingExtraError: JAX is not installed.
    """
    from importlib.util import find_spec

    if isinstance(max_failures, bool) or not isinstance(max_failures, int) or max_failures < 0:
        raise InputError(f"max_failures={max_failures!r}; expected a whole number, 0 or more.")
    if recipe.heads[0].loss == "ccc":
        raise InputError(f"Recipe {recipe.name!r} has the loss ccc, which is of whole batches; several processes need mse.")
    if "sam" in recipe.optimizer:
        raise InputError(
            f"Recipe {recipe.name!r} has [optimizer] sam, which needs TensorFlow; several processes need JAX. Train it with one."
        )
    if find_spec("jax") is None:
        raise MissingExtraError("jax", "distributed", "Training with several processes")
    if keras.backend.backend() != "jax":
        raise InputError(
            f"Several processes need Keras on JAX; it runs on {keras.backend.backend()}. Run: export KERAS_BACKEND=jax",
            arguments=["workers"],
        )
    check_divisible(recipe.batch_size, workers)


def fit_together(arguments: dict[str, Any], workers: int, address: str | None, max_failures: int, callbacks: Sequence[Any] = ()) -> bool:
    """Train until the last epoch's checkpoint is written.

    Args:
        arguments: Of ``fit_share``, but ``folder`` and the last two.
        workers: Processes.
        address: Of a Ray cluster whose nodes do it; None is this machine.
        max_failures: Deaths that it may cost.
        callbacks: Are told here what the first process tells.

    Returns:
        Whether it is; False if ``max_minutes`` stopped it first.

    Raises:
        InputError: As fit; no such cluster; ``out`` is not one place for all nodes, or they do not see the data.
        FerkitError: Too many processes died.
    """
    out, told = expanded(arguments["out"]).resolve(), Listeners(callbacks=callbacks)
    named = {name: arguments[name] for name in ("data", "ferplus", "photos") if arguments[name] is not None}
    paths = {name: os.path.abspath(expanded(value)) for name, value in named.items()}  # noqa: PTH100 - a link may lead elsewhere on a node
    call = (_CALL, {**arguments, **paths, "out": str(out), "folder": str(Path.cwd())})
    if address is None:
        supervise(partial(_local, call, workers), max_failures, told)
        return _finished(arguments["recipe"], out)
    from ..common.nodes import Nodes

    token, probe = secrets.token_hex(16), out / ".ferkit-probe"
    out.mkdir(parents=True, exist_ok=True)
    probe.write_text(token, encoding="ascii")
    try:
        with Nodes(address, workers) as nodes:
            seen = dict.fromkeys(path for path in paths.values() if Path(path).exists())  # what is nowhere, the readers tell
            supervise(partial(nodes.start, call, {str(probe): token, **seen}), max_failures, told)
    finally:
        probe.unlink(missing_ok=True)
    return _finished(arguments["recipe"], out)


def _finished(recipe: Recipe, out: Path) -> bool:
    epoch, history = progress(out / "checkpoint.npz")
    return epoch >= recipe.epochs or stops(history, recipe.early_stopping)


def _local(call: tuple[str, dict[str, Any]], workers: int) -> Sequence[Member]:
    coordinator = f"{_LOOPBACK}:{free_port(_LOOPBACK)}"
    return [Local(call, coordinator, workers, number) for number in range(workers)]


def fit_share(
    recipe: Recipe,
    data: str,
    out: str,
    *,
    max_minutes: float | None,
    folder: str,
    ranks: Ranks,
    tell: Callable[[Any], None],
    **source: Any,
) -> None:
    """Be one of the processes: read the data, as all of them do, and train on this one's rows.

    Args:
        recipe, data, out, max_minutes: As for ``ferkit.train.train``.
        folder: That the recipe's weights are relative to; the others' paths are whole. A cluster's nodes need not have it.
        ranks: Which process this is.
        tell: Called by the first with what its listeners are told: a line, or a callback's method and its argument.
        source: As for read_run.
    """
    if Path(folder).is_dir():
        os.chdir(folder)
    recipe, training, validation, portraits = read_run(recipe, data, quiet=True, **source)
    fit(
        recipe,
        training,
        out,
        validation=validation,
        resume=True,
        max_minutes=max_minutes,
        photos=portraits,
        ranks=ranks,
        log=tell,
        callbacks=[Forward(tell)],
    )
