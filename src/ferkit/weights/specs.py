"""Everything about weights that is not a tensor: ``spec.json`` of a classifier, of an ensemble and of a face detector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..crops import CropGeometry
from ..errors import InputError, WeightsError
from ..labels import CLASSES, KINDS, LabelSet
from .records import Architecture, DetectionRow, FileEntry, MetricRow, NetworkInput, Training

__all__ = [
    "ADOPTED_SCHEMA",
    "SPEC_FILE",
    "SPEC_SCHEMA",
    "DetectorSpec",
    "EnsembleOutput",
    "EnsembleSpec",
    "Output",
    "WeightsSpec",
    "load_classifier_spec",
    "load_spec",
]

SPEC_FILE = "spec.json"
SPEC_SCHEMA = 1
ADOPTED_SCHEMA = 2  # what an earlier ferkit would feed or read wrongly: networks of other makers, faces in color, other kinds of answers


@dataclass(frozen=True)
class Output:
    """One label set that a network can answer in.

    A network has one vector of raw outputs, its heads side by side. An output takes a weighted sum of some of its
    columns and a softmax: one head alone, or a product of several heads' distributions.

    Attributes:
        name: For example ``"fer2013"``.
        labels: Class names, in order.
        columns: For each head that takes part, its raw column for every class.
        weights: For each head that takes part, its exponent.
        temperature: Divides the sum before the softmax (Guo et al., "On Calibration of Modern Neural Networks", 2017).
        colors: One RGB triple (0-255) per class, in which the labels are drawn wherever they appear; empty: derived from the names.
        kind: ``"classes"``, a softmax; ``"labels"``, a sigmoid each, since several may be true; ``"values"``, the sums themselves.
    """

    name: str
    labels: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...] = (1.0,)
    temperature: float = 1.0
    colors: tuple[tuple[int, int, int], ...] = ()
    kind: str = CLASSES

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.kind not in KINDS:
            raise InputError(f"Output {self.name!r} is of kind {self.kind!r}; expected one of {', '.join(KINDS)}.")
        object.__setattr__(self, "colors", tuple((int(r), int(g), int(b)) for r, g, b in self.colors))
        if len(self.colors) not in (0, len(self.labels)):
            raise InputError(
                f"Output {self.name!r}: {len(self.colors)} colors; expected one for each of its {len(self.labels)} labels, or none."
            )
        object.__setattr__(self, "columns", tuple(tuple(int(c) for c in row) for row in self.columns))
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))
        if len(self.columns) != len(self.weights) or any(len(row) != len(self.labels) for row in self.columns):
            raise InputError(f"Output {self.name!r}: every head needs one weight and {len(self.labels)} columns, one a label.")
        if not self.temperature > 0:
            raise InputError(f"Output {self.name!r}: temperature {self.temperature}; expected a positive number.")

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(self.name, self.labels, colours=self.colors, kind=self.kind)

    def to_dict(self) -> dict[str, Any]:
        """Return its entries; the kind only where it is not classes, which an earlier ferkit does not know."""
        return {key: value for key, value in asdict(self).items() if key != "kind" or value != CLASSES}


@dataclass(frozen=True)
class WeightsSpec:
    """Everything about a release that is not a tensor. See ``docs/weights.md`` for the fields.

    ``network`` says how a network of another maker is fed, see ``ferkit.engines.feeding.Feeding``; it is empty for ferkit's own.

    Raises:
        InputError: A field is missing or contradicts another.
    """

    name: str
    files: Mapping[str, FileEntry]
    input: NetworkInput
    crop: CropGeometry
    outputs: tuple[Output, ...]
    default_output: str
    training: Training
    selection: str
    metrics: tuple[MetricRow, ...]
    licence: str
    architecture: Architecture = field(default_factory=Architecture)
    schema: int = SPEC_SCHEMA
    network: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema not in (SPEC_SCHEMA, ADOPTED_SCHEMA):
            raise InputError(
                f"Spec of {self.name!r} has schema {self.schema}; this ferkit reads {SPEC_SCHEMA} and {ADOPTED_SCHEMA}. Run: pip install -U ferkit"
            )
        if self.network_file not in self.files:
            raise InputError(f"Spec of {self.name!r} lists no {self.network_file}; it has {', '.join(self.files) or 'no files'}.")
        for key in ("size", "mean", "std"):
            if key not in self.input:
                raise InputError(f"Spec of {self.name!r} lacks input.{key}; expected size, mean and std.")
        self.output(self.default_output)

    @property
    def network_file(self) -> str:
        """The file of the network that predicts."""
        return str(self.network.get("file", "model.onnx"))

    @property
    def channels(self) -> int:
        """Of a face as the network takes it: 1, grey, or 3, in color."""
        return int(self.input.get("channels", 1))

    @property
    def window(self) -> int:
        """Side of the centre of a face that the network sees, pixels."""
        return int(self.input.get("window", self.input["size"]))

    @property
    def columns(self) -> int:
        """How many raw outputs the network has, all heads together: those of labels that it does not answer too."""
        answered = 1 + max(column for output in self.outputs for row in output.columns for column in row)
        return max(answered, int(self.architecture.get("columns", 0)))

    def output(self, name: str) -> Output:
        """Return one output by name. Raises InputError for a name that the weights do not have."""
        return _named(self.name, self.outputs, name)

    def to_dict(self) -> dict[str, Any]:
        table = {**asdict(self), "crop": self.crop.to_dict(), "outputs": tuple(output.to_dict() for output in self.outputs)}
        return table if self.network else {key: value for key, value in table.items() if key != "network"}

    @staticmethod
    def from_dict(table: Mapping[str, Any]) -> WeightsSpec:
        values = _known(WeightsSpec, table)
        values["crop"] = CropGeometry.from_dict(table["crop"])
        values["outputs"] = tuple(Output(**output) for output in table["outputs"])
        values["metrics"] = tuple(table["metrics"])
        return WeightsSpec(**values)

    @staticmethod
    def load(folder: Path) -> WeightsSpec:
        """Read ``folder/spec.json``. Raises WeightsError if it is not there or not a classifier's spec."""
        spec = load_classifier_spec(folder)
        if isinstance(spec, EnsembleSpec):
            raise WeightsError(f"{folder} is an ensemble, not one network, which this needs; take one of its members.")
        return spec


@dataclass(frozen=True)
class EnsembleOutput:
    """One label set that an ensemble can answer in.

    Attributes:
        name: Of the members' own output, or ``"custom"`` for a part of one.
        labels: Class names, in order.
        weights: What each member counts, 0 or more, 1 in all.
        temperature: Divides the combined logarithms before the last softmax.
    """

    name: str
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))

    @property
    def label_set(self) -> LabelSet:
        return LabelSet(self.name, self.labels)


@dataclass(frozen=True)
class EnsembleSpec:
    """``spec.json`` of an ensemble; see ``docs/weights.md``.

    Attributes:
        name: Of the ensemble.
        members: Of each its ``name``, the ``sha256`` of its own spec, and ``weights``, the name of a release, or ``path``, a
            folder inside the ensemble's.
        outputs: The label sets that it answers in, at least one.
        default_output: The name of the one that users get.
        combine: ``"probability"`` or ``"logit"``.
        files: Those of the copied members, by their path inside the ensemble's folder; none where all are releases.
        training, selection, metrics, licence, architecture: As in a classifier's spec; the architecture's figures are sums.

    Raises:
        InputError: The kind is not an ensemble's, or the default output is not there.
    """

    name: str
    members: tuple[Mapping[str, str], ...]
    outputs: tuple[EnsembleOutput, ...]
    default_output: str
    combine: str
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    selection: str = "none"
    metrics: tuple[MetricRow, ...] = ()
    licence: str = "not stated"
    architecture: Architecture = field(default_factory=Architecture)
    kind: str = "ensemble"
    schema: int = 1

    def __post_init__(self) -> None:
        if self.kind != "ensemble" or self.schema != 1:
            raise InputError(f"Spec of {self.name!r} is of kind {self.kind!r}, schema {self.schema}; expected an ensemble's, schema 1.")
        self.output(self.default_output)

    def output(self, name: str) -> EnsembleOutput:
        """Return one output by name. Raises InputError for a name that the ensemble does not have."""
        return _named(self.name, self.outputs, name)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(table: Mapping[str, Any]) -> EnsembleSpec:
        values = _known(EnsembleSpec, table)
        values["members"], values["metrics"] = tuple(table["members"]), tuple(table.get("metrics", ()))
        values["outputs"] = tuple(EnsembleOutput(**output) for output in table["outputs"])
        return EnsembleSpec(**values)

    @staticmethod
    def load(folder: Path) -> EnsembleSpec:
        """Read ``folder/spec.json``. Raises WeightsError if it is not there or not an ensemble's spec."""
        spec = load_spec(folder)
        if not isinstance(spec, EnsembleSpec):
            raise WeightsError(f"{folder} is not an ensemble: it holds {spec.name!r}. For an ensemble of one classifier give a list.")
        return spec


@dataclass(frozen=True)
class DetectorSpec:
    """``spec.json`` of a detector; see ``docs/weights.md``.

    Attributes:
        name: ``name-vN``.
        files: ``{"model.onnx": {"sha256", "size"}}``.
        min_score: The threshold that is used where none is given, 0-1.
        training, selection, metrics, licence, architecture: As in a classifier's spec.

    Raises:
        InputError: The kind is not a detector's, the network is not among the files, or the score is out of range.
    """

    name: str
    files: Mapping[str, FileEntry]
    min_score: float
    training: Training
    selection: str
    metrics: tuple[DetectionRow, ...]
    licence: str
    architecture: Architecture = field(default_factory=Architecture)
    kind: str = "detector"
    schema: int = 1

    def __post_init__(self) -> None:
        if self.kind != "detector" or self.schema != 1:
            raise InputError(f"Spec of {self.name!r} is of kind {self.kind!r}, schema {self.schema}; expected a detector's, schema 1.")
        if "model.onnx" not in self.files:
            raise InputError(f"Spec of {self.name!r} lists no model.onnx; it has {', '.join(self.files) or 'no files'}.")
        if not 0 < self.min_score < 1:
            raise InputError(f"Spec of {self.name!r} has min_score {self.min_score}; expected a number between 0 and 1.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(table: Mapping[str, Any]) -> DetectorSpec:
        values = _known(DetectorSpec, table)
        values["metrics"] = tuple(table["metrics"])
        return DetectorSpec(**values)

    @staticmethod
    def load(folder: Path) -> DetectorSpec:
        """Read ``folder/spec.json``. Raises WeightsError if it is not there or not a detector's spec."""
        spec = load_spec(folder)
        if not isinstance(spec, DetectorSpec):
            raise WeightsError(f"{folder} holds {spec.name!r}, which classifies expressions; expected a face detector's folder.")
        return spec


def _known(cls: type, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that a spec has a field for, a newer ferkit may have written more. Raises InputError if some are missing."""
    missing = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING and f.name not in table]
    if missing:
        raise InputError(f"Spec lacks {', '.join(sorted(missing))}.")
    names = {f.name for f in fields(cls)}
    return {key: value for key, value in table.items() if key in names}


_AnyOutput = TypeVar("_AnyOutput", Output, EnsembleOutput)


def _named(weights: str, outputs: Sequence[_AnyOutput], name: str) -> _AnyOutput:
    for output in outputs:
        if output.name == name:
            return output
    raise InputError(f"Weights {weights!r} have no labels {name!r}; expected one of {', '.join(o.name for o in outputs)}.")


def _complete(spec: WeightsSpec | EnsembleSpec | DetectorSpec) -> WeightsSpec | EnsembleSpec | DetectorSpec:
    """Return a spec whose files and members have all that is looked up of them. Raises InputError."""
    for name, file in spec.files.items():
        if not isinstance(file, Mapping) or not {"sha256", "size"} <= file.keys():
            raise InputError(f"Of the file {name!r} it lacks the sha256 or the size.")
    for member in spec.members if isinstance(spec, EnsembleSpec) else ():
        if not {"name", "sha256"} <= member.keys() or member.keys().isdisjoint({"weights", "path"}):
            raise InputError("Of a member it lacks the name, the sha256, or where it is: weights or path.")
    return spec


def load_spec(folder: Path) -> WeightsSpec | EnsembleSpec | DetectorSpec:
    """Read ``folder/spec.json`` of any kind. Raises WeightsError if it is not there or not a spec."""
    path = folder / SPEC_FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
        return _complete(_KINDS.get(table.get("kind"), WeightsSpec).from_dict(table))
    except FileNotFoundError:
        raise WeightsError(f"{folder} has no {SPEC_FILE}; expected a folder of weights ({SPEC_FILE}, model.onnx).") from None
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(f"{path} is not a spec of ferkit weights: {error}") from error


def load_classifier_spec(folder: Path) -> WeightsSpec | EnsembleSpec:
    """Read ``folder/spec.json`` of what classifies expressions. Raises WeightsError if it is not there, or a face detector's."""
    spec = load_spec(folder)
    if isinstance(spec, DetectorSpec):
        raise WeightsError(f"{folder} holds {spec.name!r}, a face detector; expected weights that classify expressions.")
    return spec


_KINDS: dict[str | None, type[WeightsSpec | EnsembleSpec | DetectorSpec]] = {"detector": DetectorSpec, "ensemble": EnsembleSpec}
