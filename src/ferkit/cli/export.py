"""``ferkit export``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["export"]


@click.command()
@click.argument("weights")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the files.")
@click.option("--format", "format_", type=click.Choice(["onnx", "litert", "all"]), default="all", show_default=True)
@click.option("--labels", default=None, help="Which of the weights' label sets to answer in.")
@click.option("--check", "checked", is_flag=True, help="Run every file on its golden pictures and compare with ferkit's own answers.")
def export(weights: str, out: Path, format_: str, labels: str | None, checked: bool) -> None:
    """Write WEIGHTS as single files for other runtimes: uint8 pictures of faces in, probabilities out."""
    from ..train.release.single_files import FORMATS, check
    from ..train.release.single_files import export as run

    files = run(weights, out, tuple(FORMATS) if format_ == "all" else (format_,), labels)
    for file in files:
        click.echo(str(file))
    if checked:
        for name, worst in check(files).items():
            differs = f"differs by at most {worst:.2e}" if worst is not None else "not checked: this engine lacks some of its operations"
            click.echo(f"{name}: {differs}")
