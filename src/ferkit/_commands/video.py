"""``ferkit video`` and ``ferkit webcam``: thin callers of ferkit.video. Rows on stdout unless they go to a file."""

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

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..results import Result
    from ..video.events import Events
    from ..video.frame import Frame
    from ..video.sources import Source

__all__ = ["video", "webcam"]

UNSURE = 0.5  # below it an answer is, by its own account, more likely wrong than right: benchmarks/README.md


class _Sink(Protocol):
    def add(self, frame: Frame, result: Result) -> None: ...

    def close(self) -> None: ...


def _shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    path = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option(
            "--detector-model", type=click.Path(path_type=Path), help="The detector's own file or folder, instead of the default one."
        ),
        click.option("--rotations", default=None, help="Turns of faces to look for too: some of 0,90,180,270, or all."),
        click.option("--detector", default=None, help="ferkit, yunet, haar, or none.  [default: ferkit]"),
        click.option(
            "--min-confidence",
            type=click.FloatRange(0, 1),
            default=UNSURE,
            show_default=True,
            help="Abstain (unsure, no label) below this probability; 0 never does.",
        ),
        click.option("--threads", type=click.IntRange(1), help="Of the engines.  [default: FERKIT_THREADS, or the CPUs at hand]"),
        click.option(
            "--provider", "providers", multiple=True, help="onnxruntime's: cpu, cuda, coreml ...; repeat it in order of preference."
        ),
        click.option("--runtime", default="opencv", show_default=True, help="opencv or onnxruntime."),
        click.option("--tta", default=None, help="Test-time augmentation: flip, or a number of views."),
        click.option("--labels", default=None, help="Which of the weights' label sets to answer in."),
        click.option("--weights", default=None, help="A name, hf://org/repo@revision, or a folder.  [default: bundled]"),
        click.option("--detect-every", type=click.IntRange(1), help="Search every so many frames.  [default: about every 0.3 s]"),
        click.option("--smooth", type=click.FloatRange(0), default=0.5, show_default=True, help="Time constant in seconds; 0 is off."),
        click.option("--fps", type=click.FloatRange(0, min_open=True), help="Sample this many frames per second.  [default: all]"),
        click.option("--plot", type=path, help="Write the timeline here (.png): one strip per person."),
        click.option("--events", type=path, help="Write events and a summary per person here (.json)."),
        click.option("--table", type=path, help="Write the rows here: .csv, .jsonl or .parquet."),
        click.option("--blur-faces", is_flag=True, help="Cover the heads in the annotated video, and leave faces out of the timeline."),
        click.option("-o", "--out", type=path, help="Write the annotated video here: .mp4, .mkv or .mov."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="VIDEO")
@_shared_options
@click.option("--every", type=click.FloatRange(0, min_open=True), help="Sample one frame every so many seconds.")
@click.option("--start", type=click.FloatRange(0), help="Begin at this time, seconds.")
@click.option("--end", type=click.FloatRange(0), help="Stop before this time, seconds.")
def video(source: str, every: float | None, start: float | None, end: float | None, **options: Any) -> None:
    """Follow the people in a video and classify their expressions over time.

    VIDEO is a file or an address. Without -o, --table, --events and --plot the rows are printed as JSON lines. If the video
    is damaged, or on Ctrl-C, what was computed so far is kept and the exit code is 1.
    """
    from ..video.decode import estimate
    from ..video.frame import Span
    from ..video.sources import check_source

    span = Span.of(options["fps"], every, start, end)
    check_source(source)
    _check_outputs(source, options)
    total = estimate(source, span)
    pipeline = _pipeline(options)
    results = pipeline.video(
        source, fps=options["fps"], every=every, start=start, end=end, smooth=options["smooth"], detect_every=options["detect_every"]
    )
    printed = not any(options[name] for name in ("out", "table", "events", "plot"))
    failure, interrupted = _record(pipeline, results, source, options, total, [_printer(pipeline)] if printed else [])
    if interrupted:
        failure = f"stopped by Ctrl-C {interrupted}; what was computed is written."
    if failure:
        raise click.ClickException(failure)


@click.command()
@click.argument("source", metavar="[INDEX|URL]", default="0")
@_shared_options
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="Of the page on 127.0.0.1; 0 takes any.")
def webcam(source: str, port: int, **options: Any) -> None:
    """Watch a camera: the annotated picture on a page of this machine (127.0.0.1), until Ctrl-C.

    INDEX is a camera's number, URL an address such as rtsp://...; a file is played at its own speed. Late frames are
    dropped, never queued. If the camera goes away the exit code is 1.
    """
    from ..video.mjpeg import Monitor
    from ..video.sources import check_source

    camera: Source = int(source) if source.isdecimal() and not Path(source).exists() else source
    check_source(camera)
    _check_outputs(source, options)
    pipeline = _pipeline(options)
    results = pipeline.video(camera, fps=options["fps"], smooth=options["smooth"], detect_every=options["detect_every"], live=True)
    monitor = Monitor(port, list(pipeline.classifier.labels), blur=options["blur_faces"])
    click.echo(f"ferkit: the camera is at {monitor.address} (Ctrl-C ends it)", err=True)
    failure, interrupted = _record(pipeline, results, source, options, None, [monitor])
    if failure is None and not interrupted and (isinstance(camera, int) or "://" in source):
        failure = f"{source}: the stream ended; check the camera. What came before is complete."
    if failure:
        raise click.ClickException(failure)


def _pipeline(options: dict[str, Any]) -> Pipeline:
    from .._turning import parsed_rotations
    from ..detect import FaceDetector
    from ..ensemble import open_classifier
    from ..pipeline import Pipeline

    chosen = {name: options[name] for name in ("labels", "runtime", "tta", "min_confidence", "threads")}
    classifier = open_classifier(options["weights"], providers=options["providers"] or None, **chosen)
    return Pipeline(
        FaceDetector(options["detector"], model=options["detector_model"], rotations=parsed_rotations(options["rotations"])), classifier
    )


def _check_outputs(source: str, options: dict[str, Any]) -> None:
    """Refuse what cannot be written, or would overwrite the video or another output, before any work is done."""
    from ..video.annotate import CONTAINERS
    from ..video.tables import SUFFIXES

    seen: set[Path] = set()
    allowed = {"out": CONTAINERS, "table": SUFFIXES, "events": (".json",), "plot": (".png", ".jpg", ".webp")}
    for name, suffixes in allowed.items():
        path: Path | None = options[name]
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise click.UsageError(f"--{name} {path}; expected a name ending in {', '.join(suffixes)}.")
        if path.resolve() in seen or (os.path.exists(source) and path.resolve() == Path(source).resolve()):
            raise click.UsageError(f"--{name} {path} would overwrite the video or another output; give another name.")
        seen.add(path.resolve())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"--{name} {path} cannot be written: {error.strerror}.") from error
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise click.ClickException(f"--{name} {path} cannot be written: it is read-only; choose another place.")


def _printer(pipeline: Pipeline) -> _Sink:
    from ..video.tables import JsonLines

    return JsonLines(sys.stdout, list(pipeline.classifier.labels), close=False)


def _record(
    pipeline: Pipeline,
    results: Iterator[tuple[Frame, Result]],
    source: str,
    options: dict[str, Any],
    total: int | None,
    sinks: list[_Sink],
) -> tuple[str | None, str]:
    """Send every result to every sink and close them whatever happens; return what failed, and where Ctrl-C came."""
    from tqdm import tqdm

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
            sinks.append(open_table(options["table"], labels))
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
    if options["events"]:
        _guarded(lambda: _write_events(options["events"], events, source, pipeline.classifier.name), failures)
    if timeline is not None:
        _guarded(lambda: timeline.draw(Path(source).name or source).save(options["plot"]), failures)
    for line in events.lines():
        click.echo(f"ferkit: {line}", err=True)
    return "\n".join(failures) or None, interrupted


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
