"""``ferkit explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import FilePath, Reading, reading_options

__all__ = ["explain"]


@click.command()
@click.argument("image", metavar="IMAGE")
@click.option("-o", "--out", required=True, type=FilePath(dir_okay=False), help="Write the sheet here: .png or .jpg.")
@click.option("--label", default=None, help="Explain this label only.  [default: the three most probable of each face]")
@click.option(
    "--method",
    type=click.Choice(["occlusion", "grad-cam"]),
    default="occlusion",
    show_default=True,
    help="How to look for reasons: hide parts of the face, or follow gradients, which needs Keras.",
)
@reading_options("min_confidence")
def explain(image: str, out: Path, label: str | None, method: Any, reading: Reading) -> None:
    """Show what the answer for each face of IMAGE rests on: orange speaks for the label, blue against it.

    The sheet has the photo with the maps on its faces, and each face by itself. The answers are printed as ferkit predict does.
    """
    from ..errors import InputError
    from ..explain.photo import explain as explained
    from ..explain.photo import sheet
    from ..images import load_image
    from ..results import Result

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"--out {out} ends in {out.suffix or 'nothing'}; expected .png or .jpg.")
    pipeline = reading.open_pipeline()
    if label is not None:
        pipeline.classifier.labels.index(label)  # an unknown one is told before any work
    pixels = load_image(image)
    found = explained(pipeline, pixels, method=method)
    try:
        sheet(pixels, found, label=label).save(out)
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror or error}.") from error
    answer = Result(tuple(one.face for one in found), pixels.shape[1], pixels.shape[0], image, pipeline.classifier.name)
    click.echo(f"[\n{answer.to_json()}\n]")
    click.echo(f"Wrote {out}: {len(found)} face(s).", err=True)
