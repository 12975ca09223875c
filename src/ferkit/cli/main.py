"""The ``ferkit`` command. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import gc
import re
import sys
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import FerkitError, InputError
from ..text import tolerate

__all__ = ["SECTIONS", "main"]

# What ``ferkit --help`` lists under each heading, in this order: a command, its module here and in that its function, and what it does.
# A command's module is imported when the command is used.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Use": {
        "predict": ("predict:predict", "Find the faces in images and read their expressions."),
        "video": ("video:video", "Follow the people in a video and read their expressions."),
        "webcam": ("webcam:webcam", "Watch a camera, on a page of this machine."),
        "batch": ("batch:batch", "Read any number of pictures or videos into Parquet files."),
        "serve": ("serve:serve", "Serve the web page and the HTTP interface."),
        "explain": ("explain:explain", "Show what the answer for each face rests on."),
    },
    "Adapt to your own data": {
        "prepare": ("prepare:prepare", "Write a folder of face pictures per label and split."),
        "finetune": ("finetune:finetune", "Adapt weights to your own labels and pictures."),
        "adopt": ("adopt:adopt", "Make weights of a network of any maker."),
        "evaluate": ("evaluate:evaluate", "Measure weights on labelled faces."),
    },
    "Build weights": {
        "train": ("train:train", "Train a recipe and write its weights."),
        "train-detector": ("train_detector:train_detector", "Train a face detector."),
        "ensemble": ("ensemble:ensemble", "Make one ensemble of several weights."),
        "export": ("export:export", "Write weights as single files for other runtimes."),
        "push": ("push:push", "Upload weights to the Hugging Face Hub."),
    },
    "Look after an installation": {
        "weights": ("weights:weights_group", "List, check, locate and fetch weights."),
        "doctor": ("doctor:doctor", "Say what is installed here and what does not fit."),
    },
}
_COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
# Objects made between two looks for garbage. Imports make many that stay: looking through them by Python's default costs a cold start 4 %.
_COLLECT_EVERY = 20_000
# Where an argument of Python and the option of the command line have different names.
_FLAGS = {"base": "weights", "model": "detector_model", "relabel": "labels"}


class _Group(click.Group):
    """Imports the command that is asked for, and turns ferkit's own errors into a message on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, _, function = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), function)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a name that the console's code page lacks must not cost the answer
            tolerate(stream)
        before = gc.get_threshold()
        gc.set_threshold(_COLLECT_EVERY, *before[1:])
        try:
            return super().main(*args, **kwargs)
        finally:
            gc.set_threshold(*before)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(self._told(error, ctx)) from error
        except FerkitError as error:
            raise click.ClickException(self._told(error, ctx)) from error
        except KeyboardInterrupt:
            click.echo("ferkit: stopped.", err=True)
            sys.exit(130)  # click's own code is 1, which has another meaning for some commands

    def _told(self, error: FerkitError, ctx: click.Context) -> str:
        """Return the message, which names Python's arguments, with the flags by which this command takes them."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "") if error.arguments else None
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
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, told) for name, (_, told) in commands.items()])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ferkit")
def main() -> None:
    """Read facial expressions: apparent expression, not feeling."""
