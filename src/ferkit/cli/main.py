"""The ``ferkit`` command. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from typing import Any

import click

from .. import __version__
from ..errors import FerkitError, InputError
from ..text import tolerate
from .batch import batch
from .doctor import doctor
from .ensemble import ensemble
from .evaluate import evaluate
from .explain import explain
from .export import export
from .finetune import finetune
from .predict import predict
from .prepare import prepare
from .push import push
from .serve import serve
from .train import train
from .train_detector import train_detector
from .video import video
from .webcam import webcam
from .weights import weights_group

__all__ = ["main"]


class _Group(click.Group):
    """Turns ferkit's own errors into one line on stderr and exit code 1."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a name that the console's code page lacks must not cost the answer
            tolerate(stream)
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        except FerkitError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferkit")
def main() -> None:
    """Read facial expressions: apparent expression, not feeling."""


for command in (
    predict,
    batch,
    train,
    doctor,
    ensemble,
    evaluate,
    explain,
    export,
    finetune,
    prepare,
    push,
    serve,
    train_detector,
    video,
    webcam,
    weights_group,
):
    main.add_command(command)
