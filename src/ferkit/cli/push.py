"""``ferkit push``."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FilePath

__all__ = ["push"]


@click.command()
@click.argument("bundle", type=FilePath())
@click.argument("address", metavar="hf://ORG/REPO")
@click.option("--private", is_flag=True, help="Make the repository private, if it does not exist yet.")
@click.option("--name", default=None, help="Publish under this name, which ends in a version.  [default: the folder's own]")
def push(bundle: Path, address: str, private: bool, name: str | None) -> None:
    """Verify the folder BUNDLE, upload it to the Hugging Face Hub and tag its version; print its pinned address."""
    from ..weights.publishing import push as run

    click.echo(run(bundle, address, private=private, name=name))
