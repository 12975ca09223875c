"""``ferkit webcam``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Reading, refuse_idle
from .recording import check_outputs, record, recording_options

if TYPE_CHECKING:
    from ..video.sources import Source

__all__ = ["webcam"]


@click.command()
@click.argument("source", metavar="[INDEX|URL]", default="0")
@recording_options
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="Port of the page on 127.0.0.1; 0 takes any free one."
)
def webcam(source: str, port: int, reading: Reading, **options: Any) -> None:
    """Watch a camera: the annotated picture on a page of this machine (127.0.0.1), until Ctrl-C.

    INDEX is a camera's number, URL an address such as rtsp://...; a file is played at its own speed. Late frames are
    dropped, never queued. If the camera goes away the exit code is 1.
    """
    from ..video.mjpeg import Monitor
    from ..video.sources import check_source

    if not options["table"]:
        refuse_idle("Features go into rows; add --table FILE", ["features"])
    camera: Source = int(source) if source.isdecimal() and not Path(source).exists() else source
    check_source(camera)
    check_outputs(source, options)
    pipeline = reading.open_pipeline(features=options["features"])
    results = pipeline.video(camera, fps=options["fps"], smooth=options["smooth"], detect_every=options["detect_every"], live=True)
    monitor = Monitor(port, list(pipeline.classifier.labels), blur=options["blur_faces"])
    click.echo(f"ferkit: the camera is at {monitor.address} (Ctrl-C ends it)", err=True)
    failure, interrupted = record(pipeline, results, source, options, None, [monitor])
    if failure is None and not interrupted and (isinstance(camera, int) or "://" in source):
        failure = f"{source}: the stream ended; check the camera. What came before is complete."
    if failure:
        raise click.ClickException(failure)
