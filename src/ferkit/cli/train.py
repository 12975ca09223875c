"""``ferkit train``."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FilePath, OneOf, is_typed, refuse_idle, shared

if TYPE_CHECKING:
    from ..labels import LabelSet

__all__ = ["run_folder", "train"]

_OF_RATES = ("recipe", "settings", "data", "relabel", "multi_label", "regression", "detector")  # what finding a learning rate takes


def _loggers() -> Iterable[str]:
    from ..train.common.loggers import LOGGERS

    return LOGGERS


@click.command()
@click.option("--recipe", required=True, help="Recipe to train: its name, or a TOML file.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change an entry of the recipe, such as lr=0.01; may be repeated."
)
@click.option("--log-to", type=OneOf(_loggers), multiple=True, help="Also log every epoch's figures there; may be repeated.")
@click.option("--find-lr", is_flag=True, help="Only try growing learning rates for a few steps, and print which one to take.")
@shared("data", "relabel", "ferplus")
@click.option("--multi-label", metavar="COLUMNS", help="Learn these columns of a manifest, 0 or 1 each: several may be true of a face.")
@click.option("--regression", metavar="COLUMNS", help="Learn these columns of a manifest as numbers, for example valence,arousal.")
@click.option("--photos", type=FilePath(), help="Portraits for a recipe with [photos]: a folder with labels.csv and images.")
@shared(
    "detector",
    "out",
    "resume",
    "max_minutes",
    "address",
    "licence",
    out={"required": False},
    address={"help": "Ray cluster whose nodes run the processes, also ray://HOST:PORT.  [default: this machine]"},
    detector={"help": "Face detector for a folder's photos; none takes each picture as a ready crop.  [default: ferkit for photos]"},
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that train together; more need KERAS_BACKEND=jax."
)
@click.option("--max-failures", type=click.IntRange(0), default=3, show_default=True, help="Deaths of processes that the run may cost.")
def train(
    recipe: str,
    data: Path,
    out: Path | None,
    log_to: tuple[str, ...],
    find_lr: bool,
    multi_label: str | None,
    regression: str | None,
    **options: Any,
) -> None:
    """Train a recipe and write weights that every other command accepts."""
    options["answers"] = _answers(multi_label, regression)
    if find_lr:  # --out was demanded until now, and is no harm
        refuse_idle("--find-lr only tries learning rates", but=("find_lr", "out", *_OF_RATES))
    elif out is None:
        raise click.MissingParameter(param_hint="'--out'", param_type="option")
    elif options["address"] is None and not is_typed("workers"):
        refuse_idle("One process dies with the run; --max-failures is for several (--workers, --address)", ["max_failures"])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    what = "trying learning rates of" if find_lr else "training"
    where = "" if find_lr else f" into {out}"
    click.echo(f"ferkit: {what} {recipe} on {data}{where}; loading Keras takes some seconds.", err=True)
    if find_lr:
        _rates(recipe, data, options)
        return
    assert out is not None
    from ..train import train as run
    from ..train.common.listeners import Progress
    from ..train.common.loggers import open_logger

    callbacks = [Progress(), *map(open_logger, log_to)]
    try:
        run_folder(run(recipe, data, out, callbacks=callbacks, **options))
    except KeyboardInterrupt:
        again = [word for word in sys.argv[1:] if word != "--resume"]
        click.echo(f"ferkit: interrupted. To go on, type: ferkit {shlex.join(again)} --resume", err=True)
        sys.exit(130)


def _answers(multi_label: str | None, regression: str | None) -> LabelSet | None:
    """Return the several labels, or the values, that columns were named for."""
    from ..labels import LABELS, VALUES, LabelSet

    if multi_label is not None and regression is not None:
        raise click.UsageError("--multi-label and --regression are two kinds of answers; expected one of them.")
    for kind, columns in ((LABELS, multi_label), (VALUES, regression)):
        if columns is not None:
            return LabelSet(kind, tuple(name.strip() for name in columns.split(",")), kind=kind)
    return None


def _rates(recipe: str, data: Path, options: dict[str, Any]) -> None:
    from ..train import find_learning_rate, load_recipe

    chosen = {name: options[name] for name in ("relabel", "detector", "answers")}
    found = find_learning_rate(load_recipe(recipe, options["settings"]), data, **chosen)
    losses = [loss if math.isfinite(loss) else None for loss in found.losses]  # JSON has no NaN, as at a rate that was too high
    click.echo(json.dumps({"learning_rate": found.suggested, "rates": found.rates, "losses": losses}, indent=1))


def run_folder(out: Path) -> None:
    """Print a run's folder, and how to go on where it holds no weights yet."""
    click.echo(str(out))
    if not (out / "spec.json").exists():
        click.echo("ferkit: the run is not finished; type the same command with --resume to go on.", err=True)
