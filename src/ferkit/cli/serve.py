"""``ferkit serve``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from ..serve.settings import Settings, default_batch, default_lanes
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
_OPTIONS = {option: setting for setting, option in _MILLIONS.items()}
_DEFAULTS = {field.name: field.default for field in fields(Settings)}
_COUNT = click.IntRange(1)
_MEGA = click.FloatRange(0.001)


def _setting(flag: str, type_: Any = None, **told: Any) -> Callable[[Any], Any]:
    """Return the option of a setting, whose default it has."""
    name = flag.removeprefix("--").replace("-", "_")
    default: Any = _DEFAULTS[_OPTIONS.get(name, name)]
    return click.option(flag, type=type_, default=default // 10**6 if name in _OPTIONS else default, show_default=True, **told)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on; 0 takes any free one.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each with its own networks and queue.")
@click.option("--lanes", type=click.IntRange(1), default=None, help="Pictures worked on at once in each worker.  [default: CPUs / workers]")
@click.option(
    "--batch", type=click.IntRange(1), default=None, help="Waiting pictures that a lane classifies together.  [default: measured]"
)
@_setting("--queue", _COUNT, help="Pictures that may wait in each worker; then 503.")
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
@_setting("--max-megabytes", _MEGA, help="Largest request accepted, in megabytes.")
@_setting("--max-pending-megabytes", _MEGA, help="Most megabytes of all requests that a worker holds.")
@_setting("--max-megapixels", _MEGA, help="Largest picture accepted, in megapixels.")
@_setting("--max-decoding-megapixels", _MEGA, help="Most megapixels that a worker's lanes decode at once.")
@_setting("--max-side", click.IntRange(64), help="Scale pictures to this longer side while they are read.")
@_setting("--max-images", _COUNT, help="Most pictures in one request.")
@_setting("--max-explained", click.IntRange(0), help="Faces of a picture that are explained; 0 is none.")
@_setting("--queue-seconds", help="Seconds that a request may wait for its turn; then 503.")
@_setting("--max-connections", _COUNT, help="Most open connections of each worker.")
@_setting(
    "--max-client-connections",
    click.IntRange(0),
    help="Most open connections of one address, in each worker; 0 is no limit, as behind a proxy.",
)
@_setting("--header-seconds", help="Seconds that a request's head may take; then 408.")
@_setting("--keep-alive-seconds", help="Seconds that a connection may be idle between two requests.")
@_setting("--body-gap-seconds", help="Seconds that an upload may pause; then 408.")
@_setting("--body-rate", _COUNT, help="Bytes a second that an upload must reach.")
@_setting("--send-seconds", help="Seconds that a client may leave an answer unread.")
@_setting("--max-streams", _COUNT, help="Most open webcam streams of each worker.")
@_setting("--max-frame-megabytes", _MEGA, help="Largest webcam frame accepted, in megabytes.")
@_setting("--idle-seconds", help="Seconds that a webcam stream may send no frame.")
@_setting("--max-jobs", _COUNT, help="Most videos that each worker holds, read ones included.")
@_setting("--max-video-megabytes", _MEGA, help="Largest video accepted, in megabytes.")
@_setting("--max-video-seconds", help="Read longer videos up to this time, in seconds.")
@_setting("--job-seconds", help="Seconds that reading one video may take.")
@_setting("--keep-job-seconds", help="Seconds that the results of a video are kept.")
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
