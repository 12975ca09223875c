"""``ferkit serve``."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from .options import shared

__all__ = ["serve"]

# Settings in bytes and pixels, which the command line takes in millions.
_MILLIONS = {
    "max_bytes": "max_megabytes",
    "max_pending_bytes": "max_pending_megabytes",
    "max_pixels": "max_megapixels",
    "max_decoding_pixels": "max_decoding_megapixels",
    "max_video_bytes": "max_video_megabytes",
    "max_frame_bytes": "max_frame_megabytes",
}
_in_millions = partial(click.option, type=click.FloatRange(0.001), show_default=True)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on; 0 takes any free one.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each with its own networks and queue.")
@click.option("--lanes", type=click.IntRange(1), default=None, help="Pictures worked on at once in each worker.  [default: CPUs / workers]")
@click.option(
    "--batch", type=click.IntRange(1), default=None, help="Waiting pictures that a lane classifies together.  [default: measured]"
)
@click.option("--queue", type=click.IntRange(1), default=32, show_default=True, help="Pictures that may wait in each worker; then 503.")
@shared(
    "weights",
    "labels",
    "runtime",
    "detector",
    "detector_model",
    "rotations",
    weights={
        "multiple": True,
        "help": "Weights to offer: a name, hf://org/repo@revision, or a folder; may be repeated.  [default: the bundled ones]",
    },
    labels={"help": "The label set to answer in when a request names none."},
    detector_model={"type": click.Path()},
)
@_in_millions("--max-megabytes", default=20, help="Largest request accepted, in megabytes.")
@_in_millions("--max-pending-megabytes", default=256, help="Most megabytes of all requests that a worker holds.")
@_in_millions("--max-megapixels", default=50, help="Largest picture accepted, in megapixels.")
@_in_millions("--max-decoding-megapixels", default=50, help="Most megapixels that a worker's lanes decode at once.")
@click.option(
    "--max-side", type=click.IntRange(64), default=2000, show_default=True, help="Scale pictures to this longer side while they are read."
)
@click.option("--max-images", type=click.IntRange(1), default=16, show_default=True, help="Most pictures in one request.")
@click.option(
    "--max-explained", type=click.IntRange(0), default=4, show_default=True, help="Faces of a picture that are explained; 0 is none."
)
@click.option("--queue-seconds", default=5.0, show_default=True, help="Seconds that a request may wait for its turn; then 503.")
@click.option("--max-connections", type=click.IntRange(1), default=500, show_default=True, help="Most open connections of each worker.")
@click.option(
    "--max-client-connections",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Most open connections of one address, in each worker; 0 is no limit, as behind a proxy.",
)
@click.option("--header-seconds", default=10.0, show_default=True, help="Seconds that a request's head may take; then 408.")
@click.option("--keep-alive-seconds", default=15.0, show_default=True, help="Seconds that a connection may be idle between two requests.")
@click.option("--body-gap-seconds", default=15.0, show_default=True, help="Seconds that an upload may pause; then 408.")
@click.option("--body-rate", type=click.IntRange(1), default=4000, show_default=True, help="Bytes a second that an upload must reach.")
@click.option("--send-seconds", default=30.0, show_default=True, help="Seconds that a client may leave an answer unread.")
@click.option("--max-streams", type=click.IntRange(1), default=8, show_default=True, help="Most open webcam streams of each worker.")
@_in_millions("--max-frame-megabytes", default=2, help="Largest webcam frame accepted, in megabytes.")
@click.option("--idle-seconds", default=60.0, show_default=True, help="Seconds that a webcam stream may send no frame.")
@click.option(
    "--max-jobs", type=click.IntRange(1), default=8, show_default=True, help="Most videos that each worker holds, read ones included."
)
@_in_millions("--max-video-megabytes", default=200, help="Largest video accepted, in megabytes.")
@click.option("--max-video-seconds", default=600.0, show_default=True, help="Read longer videos up to this time, in seconds.")
@click.option("--job-seconds", default=1800.0, show_default=True, help="Seconds that reading one video may take.")
@click.option("--keep-job-seconds", default=3600.0, show_default=True, help="Seconds that the results of a video are kept.")
@click.option("--onnxruntime-web", type=click.Path(), help="Folder of this npm package: the page can then answer without sending pictures.")
@click.option("--api-key", envvar="FERKIT_API_KEY", default=None, help="Key that requests must carry; better set FERKIT_API_KEY.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Let this origin's pages call the service; may be repeated.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Answer under this host name; may be repeated; * is any.  [default: this machine's own names on a loopback address, else any]",
)
@shared("blur_faces", blur_faces={"help": "Cover the heads in every annotated picture that is answered."})
@click.option("--root-path", default="", help="Prefix under which a proxy publishes the service, such as /ferkit.")
def serve(host: str, port: int, workers: int, **options: Any) -> None:
    """Serve the web page and the HTTP interface."""
    from ..engines.threads import thread_count
    from ..serve.run import serve as run
    from ..serve.settings import Settings, default_batch, default_lanes

    options["lanes"] = options["lanes"] or default_lanes(workers)
    options["batch"] = options["batch"] or default_batch(options["detector"])
    options["rotations"] = options["rotations"] or ()
    options["max_pending_megabytes"] = max(options["max_pending_megabytes"], options["max_megabytes"])
    limits = {setting: round(options.pop(option) * 1e6) for setting, option in _MILLIONS.items()}
    settings = Settings(
        **options,
        threads=max(1, thread_count() // (workers * options["lanes"])),
        **limits,
    )
    run(settings, host=host, port=port, workers=workers)
