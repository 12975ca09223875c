"""``ferkit export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import FORMAT, FilePath, refuse_idle, shared

__all__ = ["export"]


@click.command()
@click.argument("weights", required=False)
@click.option("--out", type=FilePath(file_okay=False), help="Folder to write the files into.")
@shared(FORMAT, format_={"type": click.Choice(["onnx", "litert", "all"]), "default": "all", "help": "Kind of file to write."})
@shared("labels")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Precision of the ONNX file's weights.",
)
@click.option("--data", type=FilePath(), help="Labelled faces: measure what the export answers; int8 needs them.")
@click.option("--photo", type=FilePath(dir_okay=False), help="Also write golden values of every step, from this photo on.")
@click.option("--check", "checked", is_flag=True, help="Run every file on its golden pictures and compare with ferkit's own answers.")
@click.option(
    "--web",
    type=FilePath(file_okay=False),
    help="Write the page into this folder instead, for any web server: everything happens in the visitor's browser.",
)
@click.option("--onnxruntime-web", type=click.Path(), help="Folder of this npm package, which --web needs.")
def export(
    weights: str | None, out: Path | None, format_: str, checked: bool, web: Path | None, onnxruntime_web: str | None, **options: Any
) -> None:
    """Write WEIGHTS as single files for other runtimes: uint8 pictures of faces in, probabilities out; of a face detector pictures in, faces out."""
    if web is not None:
        refuse_idle("--web writes the page, and no single files", but=("web", "onnxruntime_web"))
        _web(web, onnxruntime_web, weights)
        return
    if onnxruntime_web is not None:
        raise click.UsageError("--onnxruntime-web is for the page; add --web FOLDER.")
    if weights is None or out is None:
        raise click.UsageError("Missing WEIGHTS or --out; type: ferkit export WEIGHTS --out FOLDER, or ferkit export --web FOLDER")
    from ..train.release.single_files import FORMATS, check
    from ..train.release.single_files import export as run
    from ..weights.specs import DetectorSpec, EnsembleSpec, load_spec
    from ..weights.store import resolve_any

    formats = tuple(FORMATS) if format_ == "all" else (format_,)
    if format_ == "all" and (options["precision"] != "float32" or isinstance(load_spec(resolve_any(weights)), EnsembleSpec | DetectorSpec)):
        formats = ("onnx",)  # what LiteRT files cannot hold
    files = run(weights, out, formats, **options)
    for file in files:
        click.echo(str(file))
    if checked:
        for name, worst in check(files).items():
            differs = f"differs by at most {worst:.2e}" if worst is not None else "not checked: this engine lacks some of its operations"
            click.echo(f"{name}: {differs}")


def _web(out: Path, onnxruntime_web: str | None, weights: str | None) -> None:
    from ..serve.static_export import export_web

    if onnxruntime_web is None:
        raise click.UsageError(
            "--web needs --onnxruntime-web FOLDER. Run: npm install onnxruntime-web, and name node_modules/onnxruntime-web"
        )
    files = export_web(out, onnxruntime_web, () if weights is None else (weights,))
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    click.echo(f"{out / 'index.html'}")
    click.echo(f"ferkit: {len(files)} files, {megabytes:.1f} MB; serve the folder, for example: python -m http.server -d {out}", err=True)
