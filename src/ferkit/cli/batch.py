"""``ferkit batch``: a thin caller of ferkit.bulk."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, get_args

import click

from .options import FORMAT, FilePath, OneOf, Part, refuse_idle, shared

if TYPE_CHECKING:
    from ..bulk.reports import BatchReport

__all__ = ["batch"]

_STOPPED = 130


def _kinds() -> tuple[str, ...]:
    from ..bulk.options import Kind

    return get_args(Kind)


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT... OUTPUT")
@click.option("--kind", type=OneOf(_kinds), default="auto", show_default=True, help="Kind of INPUT; auto tells by the names.")
@click.option("--column", help="Column of Parquet input with the encoded pictures.  [default: image, or the only one that fits]")
@click.option("--key-column", help="Column of Parquet input with the pictures' names.  [default: FILE#ROW]")
@click.option("--keys", help="Read a list of names instead of INPUT: text, one a line, or Parquet with a column key.")
@shared("weights", "labels", "tta", "runtime", "detector", "detector_model", "min_confidence", detector_model={"type": str})
@click.option("--pipeline", metavar="MODULE:FUNCTION", help="Call this function for a Pipeline of your own.")
@click.option("--max-side", type=click.IntRange(1), help="Read pictures at a scale of at most so many pixels a side; 1280 is fast.")
@click.option("--landmarks/--no-landmarks", default=True, help="Write the five landmarks of each face.  [default: yes]")
@click.option("--features", is_flag=True, help="Write the numbers by which the network tells each face apart, as a list.")
@click.option("--hash-keys", is_flag=True, help="Write the SHA-256 of names instead of the names.")
@shared("fps", "every")
@click.option("--shard-images", type=click.IntRange(1), default=2000, show_default=True, help="Pictures in a shard: what one death costs.")
@click.option("--shard-mb", type=click.FloatRange(0, min_open=True), default=512, show_default=True, help="Megabytes in a shard.")
@click.option("--workers", type=click.IntRange(1), help="Processes to work with.  [default: one for each CPU that is granted]")
@shared("address", address={"help": "Ray cluster that does the work, also ray://HOST:PORT.  [default: this machine]"})
@click.option("--install", is_flag=True, help="Have the nodes of the cluster at --address install this ferkit with pip.")
@click.option("--part", type=Part(), help="Do the I-th of N parts, on machines that share OUTPUT and nothing else.")
@click.option(
    "--max-error-rate", type=click.FloatRange(0, 1), help="Stop above this share of unreadable pictures.  [default: 0.05, after 1,000]"
)
@click.option(
    "--memory", type=click.FloatRange(0, min_open=True), help="Gigabytes that a worker may use.  [default: this machine's, divided]"
)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=300, show_default=True, help="Seconds that one picture may take."
)
@click.option("--update", is_flag=True, help="Look at INPUT again, and do what is new or changed.")
@click.option("--retry-errors", is_flag=True, help="Do again what could not be found or reached, or hung.")
@click.option("--steal", is_flag=True, help="Take OUTPUT from a run that holds it.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do.")
@click.option("--status", "ask_status", is_flag=True, help="Only say how the job in OUTPUT stands.")
@click.option("--verify", "ask_verify", is_flag=True, help="Only hold the files in OUTPUT against its manifest.")
@shared(FORMAT, format_={"help": "Text for people, or JSON: a line for each shard, then the report."})
@click.option("--metrics-file", type=FilePath(dir_okay=False), help="Write Prometheus' text format here (.prom).")
def batch(inputs: tuple[str, ...], ask_status: bool, ask_verify: bool, format_: str, metrics_file: Path | None, **options: Any) -> None:
    """Read the expressions in any number of pictures or videos, into Parquet files in OUTPUT.

    INPUT is a file, a folder, a quoted pattern, or an address (s3://, gs://, hf://), of pictures, Parquet files, tars or videos.
    Stopped, killed or crashed: type the same again, and it goes on.

    \b
    Exit codes: 0 all could be read; 1 some have error rows; 2 usage; 3 more errors than allowed; 130 stopped by Ctrl-C,
    SIGTERM or SIGHUP.
    """
    if ask_status or ask_verify:
        if len(inputs) != 1:
            raise click.UsageError(f"--{'status' if ask_status else 'verify'} takes OUTPUT alone, not {len(inputs)} paths.")
        asked = ("ask_status", "format_") if ask_status else ("ask_verify", "format_")
        refuse_idle(f"--{'status' if ask_status else 'verify'} only asks", but=asked)
        _ask(inputs[0], ask_status, format_)
        return
    if len(inputs) == 1 and not (options["keys"] or options["retry_errors"] or options["update"]):
        raise click.UsageError(f"{inputs[0]}: INPUT or OUTPUT is missing; type: ferkit batch INPUT... OUTPUT")
    report = _run(inputs[:-1], inputs[-1], format_, metrics_file, options)
    if format_ == "json":
        click.echo(json.dumps(report.to_dict()))
    else:
        _tell(report)
    sys.exit(report.exit_code)


def _run(inputs: tuple[str, ...], output: str, format_: str, metrics: Path | None, options: dict[str, Any]) -> BatchReport:
    from ..bulk.options import Options, need
    from ..bulk.progress import Progress
    from ..bulk.running import Request, run
    from ..bulk.stops import STOPS

    need("pyarrow", "ferkit batch")
    how = {name: options.pop(name) for name in ("keys", "update", "retry_errors", "dry_run", "steal")}
    progress = Progress(sys.stdout if format_ == "json" else None, metrics)
    before = {
        number: signal.signal(number, _interrupt) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN
    }  # as nohup has it
    try:
        _load_undisturbed()
        with redirect_stdout(sys.stderr):  # Ray prints to standard output what its nodes complain of: no line of ours
            return run(Request(inputs, output, Options(**options), **how), progress)
    except KeyboardInterrupt:
        progress.close()
        click.echo("ferkit: stopped; what is done stays. Type the same command to go on.", err=True)
        sys.exit(_STOPPED)
    finally:
        progress.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _load_undisturbed() -> None:
    """Load pyarrow, and pandas, which it looks for with its first array, while signals wait: an interrupted import forgets them."""
    from ..bulk.stops import uninterrupted

    with uninterrupted():
        import pyarrow

        pyarrow.enable_signal_handlers(False)  # else a signal that comes while it works is forgotten too
        pyarrow.array([0])


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the system's signature
    """A scheduler takes the machine away, or the terminal is gone: the same as Ctrl-C."""
    raise KeyboardInterrupt


def _tell(report: BatchReport) -> None:
    errors = ", ".join(f"{count} {kind}" for kind, count in report.errors.items()) or "none"
    click.echo(f"{report.output}: {report.state}; {report.images} pictures, {report.faces} faces, errors: {errors}")
    if report.missing and report.state != "planned":
        click.echo(f"{report.missing} of {report.shards} shards are missing; type the same command to go on.", err=True)
    if report.left_out:
        told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(report.left_out.items(), key=lambda one: -one[1])[:10])
        click.echo(f"ferkit: left out, by their names no input of this job: {told}", err=True)


def _ask(output: str, ask_status: bool, format_: str) -> None:
    from ..bulk.status import status, verify

    if ask_status:
        told = status(output)
        click.echo(json.dumps(told) if format_ == "json" else "\n".join(f"{name}: {_plain(value)}" for name, value in told.items()))
        return
    wrong = verify(output)
    if format_ == "json":
        click.echo(json.dumps({"output": output, "wrong": wrong}))
    for line in wrong:
        click.echo(f"ferkit: {line}", err=True)
    if wrong:
        sys.exit(1)
    if format_ == "text":
        click.echo(f"{output}: every file is what was written.")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(_plain(one) for one in value) or "none"
    return "unknown" if value is None else str(value)
