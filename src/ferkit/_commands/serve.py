"""``ferkit serve``."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each with its own networks and queue.")
@click.option(
    "--lanes", type=click.IntRange(1), default=None, help="Pictures worked on at once in each worker.  [default: CPUs / 2 / workers]"
)
@click.option(
    "--batch", type=click.IntRange(1), default=None, help="Waiting pictures that a lane classifies together.  [default: measured]"
)
@click.option("--queue", type=click.IntRange(1), default=32, show_default=True, help="Pictures that may wait in each worker; then 503.")
@click.option(
    "--weights", multiple=True, help="A name, hf://org/repo@revision, or a folder; repeat it to offer several.  [default: bundled]"
)
@click.option("--labels", default=None, help="The label set to answer in when a request names none.")
@click.option("--runtime", default="opencv", show_default=True, help="opencv or onnxruntime.")
@click.option("--detector", default=None, help="ferkit, yunet, haar, or none (each image is a face).  [default: ferkit]")
@click.option("--detector-model", default=None, type=click.Path(), help="The detector's own file or folder, instead of the default one.")
@click.option("--max-megabytes", type=click.FloatRange(0.001), default=20, show_default=True, help="Of one request.")
@click.option("--max-megapixels", type=click.FloatRange(0.001), default=40, show_default=True, help="Of one picture.")
@click.option("--max-images", type=click.IntRange(1), default=16, show_default=True, help="In one request.")
@click.option("--api-key", envvar="FERKIT_API_KEY", default=None, help="Key that requests must carry; better set FERKIT_API_KEY.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Let this origin's pages call the service; may be repeated.")
@click.option("--root-path", default="", help="Prefix under which a proxy publishes the service, such as /ferkit.")
def serve(
    host: str, port: int, workers: int, max_megabytes: float, max_megapixels: float, detector_model: str | None, **options: Any
) -> None:
    """Serve the web page and the HTTP interface."""
    from ..serve.run import serve as run
    from ..serve.settings import Settings, cpu_count, default_batch, default_lanes

    options["lanes"] = options["lanes"] or default_lanes(workers)
    options["batch"] = options["batch"] or default_batch(options["detector"])
    settings = Settings(
        **options,
        threads=max(1, cpu_count() // (workers * options["lanes"])),
        detector_model=detector_model,
        max_bytes=round(max_megabytes * 1e6),
        max_pending_bytes=max(256_000_000, round(max_megabytes * 1e6)),
        max_pixels=round(max_megapixels * 1e6),
    )
    run(settings, host=host, port=port, workers=workers)
