"""What ``ferkit video`` and ``ferkit webcam`` share: options, outputs, and the loop that writes them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from ..errors import FerkitError
from ..labels import UNSURE_BELOW
from .options import FilePath, reading_options, shared

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..results import Result
    from ..video.events import Events
    from ..video.frame import Frame
    from ..video.timeline import Timeline

__all__ = ["check_outputs", "record", "recording_options"]


class _Sink(Protocol):
    def add(self, frame: Frame, result: Result) -> None: ...

    def close(self) -> None: ...


def recording_options(command: Callable[..., Any]) -> Callable[..., Any]:
    path = FilePath(dir_okay=False)
    command = reading_options(
        min_confidence={"default": UNSURE_BELOW, "show_default": True, "help": "Call a face unsure below this probability; 0 never does."}
    )(command)
    for option in (
        click.option("--detect-every", type=click.IntRange(1), help="Search for faces every so many frames.  [default: about every 0.3 s]"),
        click.option(
            "--smooth", type=click.FloatRange(0), default=0.5, show_default=True, help="Time constant of the smoothing, seconds; 0 is off."
        ),
        click.option("--features", is_flag=True, help="Add the numbers by which the network tells faces apart to the rows."),
        shared("fps"),
        click.option("--plot", type=path, help="Write the timeline here (.png): one strip per person."),
        click.option("--events", type=path, help="Write events and a summary per person here (.json)."),
        click.option("--table", type=path, help="Write the rows here: .csv, .jsonl or .parquet."),
        shared("blur_faces", blur_faces={"help": "Cover the heads in the annotated video, and leave faces out of the timeline."}),
        click.option("-o", "--out", type=path, help="Write the annotated video here: .mp4, .mkv or .mov."),
    ):
        command = option(command)
    return command


def check_outputs(source: str, options: dict[str, Any]) -> None:
    """Refuse what cannot be written, or would overwrite the video or another output, before any work is done."""
    from ..image_files import expanded
    from ..video.annotate import CONTAINERS
    from ..video.tables import SUFFIXES

    seen, read = set[Path](), expanded(source)
    allowed = {"out": CONTAINERS, "table": SUFFIXES, "events": (".json",), "plot": (".png", ".jpg", ".webp")}
    for name, suffixes in allowed.items():
        path: Path | None = options[name]
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise click.UsageError(f"--{name} {path}; expected a name ending in {', '.join(suffixes)}.")
        if path.resolve() in seen or (os.path.exists(read) and path.exists() and path.samefile(read)):
            raise click.UsageError(f"--{name} {path} would overwrite the video or another output; give another name.")
        seen.add(path.resolve())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"--{name} {path} cannot be written: {error.strerror}.") from error
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise click.ClickException(f"--{name} {path} cannot be written: it is read-only; choose another place.")


def record(
    pipeline: Pipeline,
    results: Iterator[tuple[Frame, Result]],
    source: str,
    options: dict[str, Any],
    total: int | None,
    sinks: list[_Sink],
) -> tuple[str | None, str]:
    """Send every result to every sink and close them whatever happens; return what failed, and where Ctrl-C came."""
    from tqdm import tqdm

    from ..protocols import feature_count
    from ..video.annotate import AnnotatedVideo
    from ..video.events import Events
    from ..video.tables import open_table
    from ..video.timeline import Timeline

    labels, events, last = list(pipeline.classifier.labels), Events(), None
    timeline = Timeline(pipeline.classifier.labels, thumbnails=not options["blur_faces"]) if options["plot"] else None
    failures: list[str] = []
    interrupted = ""
    try:
        if options["table"]:
            sinks.append(open_table(options["table"], labels, feature_count(pipeline.classifier) if pipeline.features else 0))
        if options["out"]:
            sinks.append(AnnotatedVideo(options["out"], blur=options["blur_faces"]))
        with _stop_on_signal() as stop, tqdm(total=total, unit="frame", file=sys.stderr, mininterval=0.5) as bar:
            for frame, result in results:
                for sink in sinks:
                    sink.add(frame, result)
                events.add(frame, result)
                if timeline is not None:
                    timeline.add(frame, result)
                if last is not None and last.pixels.shape != frame.pixels.shape:
                    sizes = [f"{f.pixels.shape[1]}x{f.pixels.shape[0]}" for f in (last, frame)]
                    bar.write(f"ferkit: the picture changes from {sizes[0]} to {sizes[1]} at {frame.time_s:.3f} s", file=sys.stderr)
                last = frame
                bar.update()
                if stop.is_set():
                    raise KeyboardInterrupt
            bar.total = bar.n  # the estimate was of the container's header
    except KeyboardInterrupt:
        interrupted = "before the first frame" if last is None else f"after {last.time_s:.3f} s"
    except BrokenPipeError:
        raise
    except (FerkitError, OSError) as error:
        failures.append(str(error))
    finally:
        close = getattr(results, "close", None)
        if close is not None:
            close()
        events.close()
        for sink in sinks:
            _guarded(sink.close, failures)
    _tell(events, timeline, source, pipeline.classifier.name, options, failures)
    return "\n".join(failures) or None, interrupted


def _tell(events: Events, timeline: Timeline | None, source: str, weights: str, options: dict[str, Any], failures: list[str]) -> None:
    """Write the events and the timeline that were asked for, and say on standard error what happened."""
    if options["events"]:
        _guarded(lambda: _write_events(options["events"], events, source, weights), failures)
    if timeline is not None:
        _guarded(lambda: timeline.draw(Path(source).name or source).save(options["plot"]), failures)
    for line in events.lines():
        click.echo(f"ferkit: {line}", err=True)


def _guarded(action: Callable[[], Any], failures: list[str]) -> None:
    """Run one of several closing steps: its failure must not keep the others from theirs."""
    try:
        action()
    except (FerkitError, OSError, ValueError) as error:
        failures.append(str(error))


def _write_events(path: Path, events: Events, source: str, weights: str) -> None:
    import json

    path.write_text(json.dumps(events.to_dict(source, weights), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Let the frame that is being written finish: the first Ctrl-C sets the event, the second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def heard(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
