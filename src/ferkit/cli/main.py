"""The ``ferkit`` command. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from .. import __version__
from ..errors import FerkitError, InputError
from ..text import tolerate
from .adopt import adopt
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


# What ``ferkit --help`` lists under each heading, in this order.
SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Use": (predict, video, webcam, batch, serve, explain),
    "Adapt to your own data": (prepare, finetune, adopt, evaluate),
    "Build weights": (train, train_detector, ensemble, export, push),
    "Look after an installation": (weights_group, doctor),
}


class _Group(click.Group):
    """Turns ferkit's own errors into a message on stderr and an exit code, and lists the commands under headings."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a name that the console's code page lacks must not cost the answer
            tolerate(stream)
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(self._told(error, ctx)) from error
        except FerkitError as error:
            raise click.ClickException(self._told(error, ctx)) from error

    def _told(self, error: FerkitError, ctx: click.Context) -> str:
        """Return the message, which names Python's arguments, with the flags by which this command takes them."""
        command: click.Command | None = self.commands.get(ctx.invoked_subcommand or "")
        options = {} if command is None else {param.name: max(param.opts, key=len) for param in command.params}
        told, flags = str(error), list[str]()
        for argument in error.arguments:
            flag = options.get(_FLAGS.get(argument, argument)) or options.get(argument)
            if flag is None:
                continue
            # A value that can be typed as it is: relabel='1=surprise' is --labels 1=surprise here.
            told, typed = re.subn(rf"\b{argument}='([^']+)'", rf"{flag} \1", told)
            flags += [] if typed else [flag]
        return f"{told} (On the command line: {', '.join(flags)}.)" if flags else told

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        names = [command.name or "" for commands in SECTIONS.values() for command in commands]
        limit = formatter.width - 6 - max(map(len, names))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str(limit)) for command in commands])


# Where an argument of Python and the option of the command line have different names.
_FLAGS = {"base": "weights", "model": "detector_model", "relabel": "labels"}


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferkit")
def main() -> None:
    """Read facial expressions: apparent expression, not feeling."""


for section in SECTIONS.values():
    for command in section:
        main.add_command(command)
