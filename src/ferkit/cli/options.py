"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["classifier_options"]


def classifier_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--threads", type=click.IntRange(1), help="Of the engines.  [default: FERKIT_THREADS, or the CPUs at hand]"),
        click.option("--provider", multiple=True, help="onnxruntime's: cpu, cuda, coreml ...; repeat it in order of preference."),
        click.option("--runtime", default="opencv", show_default=True, help="opencv or onnxruntime."),
        click.option("--tta", default=None, help="Test-time augmentation: flip, ten-crop, a number of views, or random:N."),
        click.option("--labels", default=None, help="Which of the weights' label sets to answer in (for example ferplus)."),
        click.option("--weights", default=None, help="A name, hf://org/repo@revision, or a folder.  [default: bundled]"),
    ):
        command = option(command)
    return command
