"""``ferkit doctor``."""

from __future__ import annotations

import json
import sys

import click

from .options import FORMAT, shared

__all__ = ["doctor"]


@click.command()
@shared(FORMAT)
def doctor(format_: str) -> None:
    """Say what is installed here, and what to do about what does not fit together.

    OpenCV and its variants, engines, extras, weights (their hashes are checked) and threads. Nothing is fetched or changed.
    The exit code is 1 if there is a problem.
    """
    from ..doctor import examine, report

    found = examine()
    click.echo(json.dumps(found, indent=1, ensure_ascii=False) if format_ == "json" else report(found))
    if found["problems"]:
        sys.exit(1)
