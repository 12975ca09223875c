"""``ferkit predict``."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import FerkitError, ImageError, InputError
from .options import FORMAT, FilePath, Reading, grouped, reading_options, shared

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..results import Result

__all__ = ["predict"]


@dataclass(frozen=True)
class Drawing:
    """The annotated copies of --draw: where they go, and what is on them."""

    draw: Path | None
    blur_faces: bool
    landmarks: bool

    def check(self) -> None:
        if self.draw is None and (self.blur_faces or self.landmarks):
            flag = "--blur-faces" if self.blur_faces else "--landmarks"
            raise click.UsageError(f"{flag} is for annotated copies; add --draw PATH.")

    def check_places(self, paths: list[str]) -> None:
        """Refuse a place that cannot be written, or that is one of the pictures, before any work is done."""
        draw = self.draw
        if draw is None:
            return
        count = len(paths)
        if draw.is_file() and any(path != "-" and os.path.exists(path) and draw.samefile(path) for path in paths):
            raise click.UsageError(f"--draw {draw} is the picture itself and would be overwritten; give another name.")
        folder = draw if count > 1 or draw.is_dir() else draw.parent
        if count > 1 and draw.exists() and not draw.is_dir():
            raise click.UsageError(f"--draw {draw} is a file, but there are {count} images; give a folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"--draw {draw} cannot be written: {error.strerror}.") from error
        if not os.access(folder, os.W_OK):
            raise click.ClickException(f"--draw {draw} cannot be written: {folder} is read-only; choose another folder.")

    def __call__(self, result: Result, count: int, failures: list[str]) -> None:
        """Draw one of ``count`` results, if that was asked for."""
        if self.draw is None:
            return
        name = "stdin" if result.image in (None, "-") else Path(str(result.image)).stem
        target = self.draw
        if count > 1 or target.is_dir():
            target = self.draw / f"{name}.png"
            number = 2
            while target.exists():  # two folders may hold the same file name, and nothing is overwritten
                target, number = self.draw / f"{name}-{number}.png", number + 1
        try:
            result.draw(blur=self.blur_faces, landmarks=self.landmarks).save(target)
        except (OSError, ValueError) as error:
            failures.append(f"{target}: cannot be written ({error}); expected a name ending in .png or .jpg in a writable folder.")


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE...")
@shared(
    FORMAT,
    format_={
        "type": click.Choice(["json", "jsonl", "csv"]),
        "default": "json",
        "help": "One JSON list, a JSON object per line, or a table.",
    },
)
@click.option("--draw", type=FilePath(), help="Write the annotated picture here; a folder for several images.")
@shared("blur_faces", blur_faces={"help": "Cover the heads in the --draw copies; no face can be brought back."})
@click.option("--landmarks", is_flag=True, help="Draw the five landmarks as well.")
@grouped("drawing", Drawing, ("draw", "blur_faces", "landmarks"))
@reading_options()
@click.option("--features", is_flag=True, help="Add the numbers by which the network tells faces apart, for clustering and search.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images to hold in memory at once.")
def predict(inputs: tuple[str, ...], format_: str, drawing: Drawing, reading: Reading, features: bool, batch_size: int) -> None:
    """Find the faces in images and classify their expressions.

    IMAGE is a file, a folder (searched through), a quoted glob, or - for an image on standard input. An image that
    cannot be read is reported on stderr and skipped; the exit code is then 1.
    """
    # Before NumPy is imported: its BLAS starts a thread for every CPU, and they wait busily, a third of a cold start's CPU.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    drawing.check()
    failures: list[str] = []
    paths = list(_expand(inputs, failures))
    from ..protocols import feature_count

    pipeline = reading.open_pipeline(features=features)
    drawing.check_places(paths)
    write = _Writer(format_, list(pipeline.classifier.labels), feature_count(pipeline.classifier) if features else 0)
    for result in _results(pipeline, paths, batch_size, drawing.draw is not None, failures):
        write(result)
        drawing(result, len(paths), failures)
    write.close()
    for failure in failures:
        click.echo(f"ferkit: {failure}", err=True)
    if failures:
        sys.exit(1)


def _expand(inputs: tuple[str, ...], failures: list[str]) -> Iterator[str]:
    from ..image_files import expanded, image_files

    for item in inputs:
        path = expanded(item)
        if item == "-":
            yield item
        elif os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):  # noqa: PTH112 - pathlib's raises on names that are too long
            found = image_files(path)
            if not found:
                failures.append(f"{item}: no images in this folder; expected files such as .jpg, .png, .webp or .heic.")
            yield from map(str, found)
        elif os.path.exists(path) or "://" in item or not glob.has_magic(item):
            yield item
        else:
            matches = sorted(
                m for m in glob.glob(str(path), recursive=True) if not Path(m).is_dir()
            )  # links that lead nowhere are named too
            if not matches:
                failures.append(f"{item}: nothing matches this pattern.")
            yield from matches


def _results(pipeline: Pipeline, paths: list[str], batch_size: int, keep_pixels: bool, failures: list[str]) -> Iterator[Result]:
    """Yield a result per image that can be read, in order, with the faces of a batch of images classified together."""
    from dataclasses import replace

    given = (sys.stdin.buffer.read() if path == "-" else path for path in paths)
    answers = pipeline.stream(given, batch_size=batch_size, on_error="yield", keep_pixels=keep_pixels)
    for path, answer in zip(paths, answers if len(paths) < 2 else _progress(answers, len(paths)), strict=True):
        if isinstance(answer, FerkitError):
            failures.append(_failure(path, answer))
        else:
            yield replace(answer, image=path)


def _failure(path: str, error: FerkitError) -> str:
    if path == "-":
        return str(error).replace("the given bytes", "standard input")
    return str(error) if isinstance(error, (ImageError, InputError)) else f"{path}: {error}"


def _progress(answers: Iterator[Result | FerkitError], total: int) -> Iterator[Result | FerkitError]:
    from tqdm import tqdm

    yield from tqdm(answers, total=total, unit="image", file=sys.stderr)


class _Writer:
    """Writes results to stdout as they come."""

    def __init__(self, format_: str, labels: list[str], features: int) -> None:
        self._format, self._labels, self._features, self._count = format_, labels, features, 0
        if format_ == "csv":
            import csv

            from ..results import csv_header

            self._csv = csv.writer(sys.stdout, lineterminator="\n")
            self._csv.writerow(csv_header(labels, features))

    def __call__(self, result: Result) -> None:
        if self._format == "csv":
            from ..results import csv_rows

            self._csv.writerows(csv_rows(result, self._labels, self._features))
        elif self._format == "jsonl":
            click.echo(result.to_json())
        else:
            click.echo(("[" if self._count == 0 else ",") + "\n" + result.to_json(), nl=False)
        self._count += 1

    def close(self) -> None:
        if self._format == "json":
            click.echo("[]" if self._count == 0 else "\n]")
