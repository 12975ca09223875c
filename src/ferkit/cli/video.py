"""``ferkit video``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from .options import Reading, refuse_idle, shared
from .recording import _Sink, check_outputs, record, recording_options

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["video"]


@click.command()
@click.argument("source", metavar="VIDEO")
@recording_options
@shared("every")
@click.option("--start", type=click.FloatRange(0), help="Begin at this time of the video, seconds.")
@click.option("--end", type=click.FloatRange(0), help="Stop before this time of the video, seconds.")
def video(source: str, every: float | None, start: float | None, end: float | None, reading: Reading, **options: Any) -> None:
    """Follow the people in a video and classify their expressions over time.

    VIDEO is a file or an address. Without -o, --table, --events and --plot the rows are printed as JSON lines. If the video
    is damaged, or on Ctrl-C, what was computed so far is kept and the exit code is 1.
    """
    from ..video.decode import estimate
    from ..video.frame import Span
    from ..video.sources import check_source

    printed = not any(options[name] for name in ("out", "table", "events", "plot"))
    if not printed and not options["table"]:
        refuse_idle("Features go into rows; add --table FILE", ["features"])
    if not options["out"] and not options["plot"]:
        refuse_idle("Heads are covered in the annotated video and the timeline; add -o FILE or --plot FILE", ["blur_faces"])
    span = Span.of(options["fps"], every, start, end)
    check_source(source)
    check_outputs(source, options)
    total = estimate(source, span)
    pipeline = reading.open_pipeline(features=options["features"])
    results = pipeline.video(
        source, fps=options["fps"], every=every, start=start, end=end, smooth=options["smooth"], detect_every=options["detect_every"]
    )
    failure, interrupted = record(pipeline, results, source, options, total, [printer(pipeline)] if printed else [])
    if interrupted:
        failure = f"stopped by Ctrl-C {interrupted}; what was computed is written."
    if failure:
        raise click.ClickException(failure)


def printer(pipeline: Pipeline) -> _Sink:
    from ..protocols import feature_count
    from ..video.tables import JsonLines

    count = feature_count(pipeline.classifier) if pipeline.features else 0
    return JsonLines(sys.stdout, list(pipeline.classifier.labels), close=False, features=count)
