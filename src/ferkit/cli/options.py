"""The options that several commands share, each told once. Their choices are read from the tables that they choose from.

A command takes the shared ones that it needs by name (``shared``), or as one value that opens what they name (``reading_options``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..protocols import Classifier, Detector

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # generic since click 8.4 only

__all__ = [
    "FORMAT",
    "FilePath",
    "OneOf",
    "Part",
    "Reading",
    "Relabel",
    "Rotations",
    "grouped",
    "is_typed",
    "parted_labels",
    "reading_options",
    "refuse_idle",
    "shared",
]

Command = TypeVar("Command", bound=Callable[..., Any])


class OneOf(_Type):
    """One of the names in a table, which is read when a value or the help asks for it: ``ferkit --help`` loads none.

    Args:
        names: Returns them.
    """

    name = "name"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return f"[{'|'.join(self._names())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = tuple(self._names())
        if value not in names:
            self.fail(f"{value!r}; expected one of {', '.join(names)}.", param, ctx)
        return str(value)


class FilePath(click.Path):
    """A path. ``~`` is the home folder where the shell leaves it to us too, as in ``--out=~/faces``."""

    def __init__(self, **checks: bool) -> None:
        super().__init__(path_type=Path, **checks)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ..image_files import expanded

        return super().convert(expanded(value), param, ctx)


class Relabel(_Type):
    """New names for the data's labels, ``1=surprise,2=fear``."""

    name = "OLD=NEW,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        from ..data.label_names import parse_mapping
        from ..errors import InputError

        try:
            return value if isinstance(value, dict) else parse_mapping(str(value))
        except InputError as error:
            self.fail(str(error), param, ctx)


class Rotations(_Type):
    """Turns of faces: some of 0, 90, 180 and 270 with commas between, or ``all``."""

    name = "turns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        turns = str(value).strip().lower().replace("all", "0,90,180,270").split(",")
        if not all(turn.strip() in ("0", "90", "180", "270") for turn in turns):
            self.fail(f"{value!r}; expected some of 0,90,180,270 with commas between, or all.", param, ctx)
        return tuple(int(turn) for turn in turns)


class Part(_Type):
    """The I-th of N parts, written ``I/N``."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        first, slash, second = str(value).partition("/")
        if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
            self.fail(f"{value!r}; expected I/N with 1 <= I <= N, such as 3/8.", param, ctx)
        return int(first), int(second)


def _detectors() -> Iterable[str]:
    from ..detectors.face_detector import BACKENDS

    return BACKENDS


def _engines() -> Iterable[str]:
    from ..engines.table import ENGINES

    return ENGINES


def _splits() -> Iterable[str]:
    from ..data.faces import SPLITS

    return SPLITS


def _combinations() -> Iterable[str]:
    from ..classifiers.committee import COMBINE

    return COMBINE


# An option's name, as a command's function has it, to what click.option takes.
_TOLD: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    "weights": (
        ["--weights"],
        {"metavar": "WEIGHTS", "help": "Weights to use: a name, hf://org/repo@revision, or a folder.  [default: the bundled ones]"},
    ),
    "labels": (["--labels"], {"metavar": "NAME", "help": "Which of the weights' label sets to answer in, for example ferplus."}),
    "tta": (["--tta"], {"help": "Test-time augmentation: flip, ten-crop, a number of views, or random:N."}),
    "runtime": (
        ["--runtime"],
        {"type": OneOf(_engines), "default": "opencv", "show_default": True, "help": "Engine that runs the networks."},
    ),
    "providers": (
        ["--provider", "providers"],
        {"multiple": True, "help": "Execution provider of onnxruntime (cpu, cuda, coreml ...); repeat it in order of preference."},
    ),
    "threads": (
        ["--threads"],
        {"type": click.IntRange(1), "help": "Threads of the engine.  [default: FERKIT_THREADS, or the CPUs at hand]"},
    ),
    "detector": (
        ["--detector"],
        {"type": OneOf(_detectors), "help": "Face detector to use; none takes each picture as a face.  [default: ferkit]"},
    ),
    "detector_model": (
        ["--detector-model"],
        {"type": FilePath(), "help": "The detector's own file or folder, instead of the default one."},
    ),
    "rotations": (
        ["--rotations"],
        {"type": Rotations(), "help": "Turns of faces to look for too, in degrees clockwise: some of 0,90,180,270, or all."},
    ),
    "min_confidence": (
        ["--min-confidence"],
        {"type": click.FloatRange(0, 1), "help": "Give no label (label null) where the confidence is below this probability."},
    ),
    "data": (
        ["--data"],
        {"required": True, "type": FilePath(), "help": "Labelled faces to read: fer2013.csv, a folder per label, or a manifest."},
    ),
    "relabel": (
        ["--labels", "relabel"],
        {"type": Relabel(), "help": "What the data's labels mean, for example 1=surprise,2=fear; 8= leaves one out."},
    ),
    "ferplus": (["--ferplus"], {"type": FilePath(), "help": "FER+ votes to use as well: fer2013new.csv."}),
    "split": (["--split"], {"type": OneOf(_splits), "default": "PublicTest", "show_default": True, "help": "Part of the data to use."}),
    "combine": (
        ["--combine"],
        {"type": OneOf(_combinations), "default": "probability", "show_default": True, "help": "What is averaged over the members."},
    ),
    "out": (["--out"], {"required": True, "type": FilePath(), "help": "Folder of the run; at the end it also holds the weights."}),
    "resume": (["--resume"], {"is_flag": True, "help": "Continue a run that was stopped or killed."}),
    "max_minutes": (
        ["--max-minutes"],
        {"type": click.FloatRange(min=0, min_open=True), "help": "Stop cleanly after the epoch that passes this many minutes."},
    ),
    "licence": (
        ["--licence"],
        {"default": "not stated", "show_default": True, "help": "Licence of the weights, for their card: an SPDX name."},
    ),
    "blur_faces": (["--blur-faces"], {"is_flag": True, "help": "Cover the heads in annotated pictures; no face can be brought back."}),
    "address": (["--address"], {"metavar": "auto|HOST:PORT", "help": "Ray cluster that does the work, also ray://HOST:PORT."}),
    "fps": (
        ["--fps"],
        {"type": click.FloatRange(0, min_open=True), "help": "Read so many frames of a video per second.  [default: all of them]"},
    ),
    "every": (["--every"], {"type": click.FloatRange(0, min_open=True), "help": "Read one frame of a video every so many seconds."}),
    "format_": (
        ["--format", "format_"],
        {"type": click.Choice(["text", "json"]), "default": "text", "show_default": True, "help": "Text for people, or JSON."},
    ),
}
FORMAT = "format_"


def shared(*names: str, **changed: dict[str, Any]) -> Callable[[Command], Command]:
    """Give a command shared options, in this order; ``changed`` holds, by name, what is otherwise in this command."""

    def given(command: Command) -> Command:
        for name in reversed(names):
            flags, settings = _TOLD[name]
            command = click.option(*flags, **(settings | changed.get(name, {})))(command)
        return command

    return given


def grouped(name: str, kind: Callable[..., Any], members: Iterable[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Hand some options of a command to it as one value: ``name=kind(option=..., ...)``."""
    own = tuple(members)

    def given(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(*args: Any, **options: Any) -> Any:
            options[name] = kind(**{member: options.pop(member) for member in own if member in options})
            return command(*args, **options)

        return called

    return given


@dataclass(frozen=True)
class Reading:
    """What faces are found and read with: the options of ``reading_options``, checked by what they open."""

    weights: Any = None
    labels: str | None = None
    tta: str | None = None
    runtime: str = "opencv"
    providers: tuple[str, ...] = ()
    threads: int | None = None
    detector: str | None = None
    detector_model: Path | None = None
    rotations: tuple[int, ...] | None = None
    min_confidence: float | None = None

    def open_classifier(self, **changed: Any) -> Classifier:
        from ..classifiers.ensemble import open_classifier

        options = {name: getattr(self, name) for name in ("labels", "runtime", "tta", "min_confidence", "threads")}
        return open_classifier(self.weights, providers=self.providers or None, **(options | changed))

    def open_detector(self) -> Detector:
        from ..detectors.face_detector import open_detector

        engine: dict[str, Any] = {"runtime": self.runtime, "providers": self.providers or None, "threads": self.threads}
        return open_detector(self.detector, self.rotations, model=self.detector_model, **engine)

    def asked_detector(self) -> Detector | None:
        """Return the detector if one was asked for: without, a folder's pictures tell what they are."""
        return None if self.detector is None and self.detector_model is None else self.open_detector()

    def open_pipeline(self, *, features: bool = False) -> Pipeline:
        from ..pipeline import Pipeline

        return Pipeline(self.open_detector(), self.open_classifier(), features=features)


def reading_options(*left_out: str, **changed: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of ``Reading`` but some, and hand them over as one value, ``reading``."""
    names = [field.name for field in fields(Reading) if field.name not in left_out]

    def given(command: Callable[..., Any]) -> Callable[..., Any]:
        return shared(*names, **changed)(grouped("reading", Reading, names)(command))

    return given


def refuse_idle(why: str, names: Iterable[str] | None = None, *, but: Iterable[str] = ()) -> None:
    """Raise UsageError where an option was typed that does nothing here.

    Args:
        why: What it does nothing beside, as the message's beginning.
        names: The options that would be idle, as the command's function has them; None: all.
        but: Of these the ones that are not.
    """
    context = click.get_current_context()
    idle = {str(param.name) for param in context.command.params} if names is None else set(names)
    flags = [
        max(param.opts, key=len)
        for param in context.command.params
        if isinstance(param, click.Option)
        and param.name in idle - set(but)
        and context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    ]
    if flags:
        raise click.UsageError(f"{why}: {', '.join(flags)} would do nothing; leave out one or the other.")


def is_typed(name: str) -> bool:
    """Return whether an option of this command was typed."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def parted_labels(values: Sequence[str] | str | None) -> tuple[str | None, dict[str, str] | None]:
    """Part several ``--labels`` into the label set to answer in, and new names for the data's labels: these have a ``=``."""
    from ..data.label_names import parse_mapping

    given = [values] if isinstance(values, str) else list(values or ())
    sets, renamed = [value for value in given if "=" not in value], [value for value in given if "=" in value]
    if len(sets) > 1:
        raise click.UsageError(f"--labels names two label sets, {sets[0]} and {sets[1]}; expected one, and new names such as 1=surprise.")
    return sets[0] if sets else None, parse_mapping(",".join(renamed)) if renamed else None
