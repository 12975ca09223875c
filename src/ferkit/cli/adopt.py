"""``ferkit adopt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import FilePath

__all__ = ["adopt"]


@click.command()
@click.argument("model", type=FilePath())
@click.option("--labels", required=True, help="Class names in the order of the outputs, a,b,c; or fer2013, fer6, ferplus.")
@click.option("--out", required=True, type=FilePath(), help="Folder of the new weights; it must not exist yet.")
@click.option(
    "--input",
    "input_size",
    default=None,
    metavar="SIDE",
    help="Side of the input in pixels, 224 or 224x224, where the file leaves it open.",
)
@click.option(
    "--mean", default=None, help="Mean of the input, (pixel - mean) / std: a number, or one for each channel, a,b,c.  [default: 0]"
)
@click.option("--std", default=None, help="Deviation of the input; see --mean.  [default: 1]")
@click.option(
    "--pixels", type=click.Choice(["0-1", "0-255"]), help="What pixels count before --mean and --std.  [default: 0-1; uint8: 0-255]"
)
@click.option("--order", type=click.Choice(["rgb", "bgr"]), default="rgb", show_default=True, help="Order of a color input's channels.")
@click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Layout of the input, where its shape does not tell.")
@click.option("--output-tensor", metavar="NAME", help="Output that has the labels, where there are several.")
@click.option("--activation", type=click.Choice(["logits", "probabilities"]), help="Kind of the output.  [default: told from its answers]")
@click.option(
    "--kind",
    type=click.Choice(["classes", "labels", "values"]),
    default="classes",
    show_default=True,
    help="What it answers: one of several classes, several labels at once, or values.",
)
@click.option("--crop", metavar="WEIGHTS", help="Cut detected faces as these weights do.  [default: a square on the box]")
@click.option("--name", default=None, help="Name of the weights.  [default: the folder's]")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights, for their card: an SPDX name.")
def adopt(
    model: Path, out: Path, labels: str, input_size: str | None, mean: str | None, std: str | None, kind: str, **options: Any
) -> None:
    """Make weights of a network of any maker: MODEL is an .onnx, .tflite, .keras or .h5 file that takes one face."""
    from ..classifiers.adopting import adopt as run
    from ..labels import CLASSES, CUSTOM, LABEL_SETS, LabelSet
    from ..weights.specs import WeightsSpec

    listed = tuple(name.strip() for name in labels.split(","))
    names = LABEL_SETS[labels] if labels in LABEL_SETS else LabelSet(CUSTOM if kind == CLASSES else kind, listed, kind=kind)
    folder = run(
        model,
        out,
        labels=names,
        input_size=_side(input_size),
        mean=_values("--mean", mean),
        std=_values("--std", std),
        **options,
    )
    spec = WeightsSpec.load(folder)
    fed, colors = spec.network, "grey" if spec.channels == 1 else spec.input["order"]
    engine = fed["runtime"] if fed["file"] == "model.onnx" else Path(fed["file"]).suffix[1:]
    click.echo(str(folder))
    click.echo(
        f"ferkit: {spec.input['size']}x{spec.input['size']} pixels, {colors}, {fed['dtype']}, {fed['layout']}, {fed['activation']}, "
        f"run by {engine}. Try: ferkit predict --weights {folder} photo.jpg",
        err=True,
    )


def _side(given: str | None) -> int | None:
    if given is None:
        return None
    sides = set(given.lower().split("x"))
    if len(sides) != 1 or not (side := sides.pop()).isdecimal() or not 8 <= int(side) <= 4096:
        raise click.UsageError(f"--input {given}; expected the side of a square in pixels, such as 224 or 224x224.")
    return int(side)


def _values(option: str, given: str | None) -> list[float] | float | None:
    if given is None:
        return None
    try:
        values = [float(part) for part in given.split(",")]
    except ValueError:
        raise click.UsageError(f"{option} {given}; expected a number, or one for each channel: 0.485,0.456,0.406") from None
    return values if len(values) > 1 else values[0]
