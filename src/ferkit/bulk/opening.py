"""The pipeline of a job, and the facts that tell whether two runs, or two machines, would answer alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..classifiers.ensemble import open_classifier
from ..detectors.face_detector import DEFAULT_DETECTOR, backend_of, open_detector
from ..errors import FerkitError, ImageError, ImageNotFoundError, InputError, WeightsError
from ..image_files import expanded
from ..labels import LabelSet, need_classes
from ..pipeline import Pipeline
from ..weights.releases import BUNDLED_DETECTOR, DEFAULT_WEIGHTS
from ..weights.store import verify
from .columns import ErrorKind

__all__ = ["INSTEAD", "difference", "facts", "kind_of_error", "need_columns", "open_pipeline"]

# Any of them brings cv2.
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")

INSTEAD: dict[str, str] = {}  # folder that a job's options name -> where this machine has it


def _here(name: str | None) -> str | None:
    return None if name is None else INSTEAD.get(name, name)


@lru_cache(maxsize=1)
def _opened(options: str) -> Pipeline:
    given: Mapping[str, Any] = json.loads(options)
    if given["pipeline"] is not None:
        return _called(given["pipeline"])
    classifier = open_classifier(
        _here(given["weights"]), labels=given["labels"], runtime=given["runtime"], tta=given["tta"], min_confidence=given["min_confidence"]
    )
    detector = open_detector(given["detector"], model=_here(given["detector_model"]), runtime=given["runtime"])
    made = Pipeline(detector, classifier, features=given.get("features", False))
    need_columns(made)
    return made


def open_pipeline(identity: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline that a job's options name, the same one for every shard of a process. Raises as Pipeline."""
    return _opened(json.dumps({**identity}, sort_keys=True))


def _called(name: str) -> Pipeline:
    module, _, function = name.partition(":")
    try:
        made: Pipeline = getattr(import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"pipeline={name}: {error}. Expected module:function, where Python finds it on every machine.", arguments=["pipeline"]
        ) from error
    if not callable(made) or not hasattr(made, "classifier"):
        raise InputError(f"pipeline={name} returned {type(made).__name__}; expected a ferkit.Pipeline.", arguments=["pipeline"])
    need_columns(made)
    return made


def need_columns(pipeline: Pipeline) -> None:
    """Refuse a pipeline whose answers the rows have no columns for: several labels at once, or values. Raises InputError."""
    labels = pipeline.classifier.labels
    if isinstance(labels, LabelSet):  # one of your own may name its classes in a tuple
        need_classes(labels, pipeline.classifier.name, "A batch job")


def _source(name: str) -> Path:
    module = name.partition(":")[0]
    try:
        found = find_spec(module)
    except (ImportError, ValueError):  # ValueError: of a program that is no module, such as __main__
        found = None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise InputError(
            f"pipeline={name}: no module {module!r}. Expected module:function, where Python finds it on every machine.",
            arguments=["pipeline"],
        )
    return Path(found.origin)


def facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the rows of a job depend on, beside its inputs: versions, the hashes of weights and detector, options."""
    out: dict[str, Any] = {f"option {name}": value for name, value in identity.items()}
    out["ferkit"] = __version__
    out["opencv"] = _version(*_OPENCV)
    if identity["pipeline"] is not None:
        out["pipeline sha256"] = hashlib.sha256(_source(identity["pipeline"]).read_bytes()).hexdigest()
        return out
    if identity["runtime"] != "opencv":
        out["onnxruntime"] = _version("onnxruntime", "onnxruntime-gpu")
    weights = identity["weights"] or DEFAULT_WEIGHTS
    out |= {"option weights": weights, "weights sha256": _hash(verify(_here(weights) or weights))}
    if (named := _here(identity["detector_model"])) is not None:
        model = expanded(named)
        root = model.parent if model.is_file() else model
        files = [model] if model.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        out["detector sha256"] = _hash({str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    elif backend_of(identity["detector"]) == DEFAULT_DETECTOR:
        out["detector sha256"] = _hash(verify(BUNDLED_DETECTOR))
    return out


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=dict).encode()).hexdigest()


def _version(*packages: str) -> str | None:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def difference(planned: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return what differs between two sets of facts, a phrase each."""
    names = {*planned, *here}
    if "detector sha256" not in planned:  # of a detector by its release's name, which earlier versions did not look at: such a job goes on
        names.discard("detector sha256")
    return [
        f"{name.removeprefix('option ')}: {planned.get(name)!r} then, {here.get(name)!r} now"
        for name in sorted(names)
        if planned.get(name) != here.get(name)
    ]


def kind_of_error(error: BaseException, data: bytes) -> ErrorKind:
    """Return the kind of error of a picture that could not be read; its bytes are looked at again, since messages are for people."""
    if isinstance(error, ImageNotFoundError):
        return "not_found"
    if not isinstance(error, (FerkitError, OSError)) or isinstance(error, (InputError, WeightsError)):
        return "crash"  # the last two: of what the pipeline made of it, such as an answer that is not a number
    if not data:
        return "empty"
    return _looked_at(data) if isinstance(error, ImageError) else "damaged"


def _looked_at(data: bytes) -> ErrorKind:
    import io
    import warnings

    from PIL import Image, UnidentifiedImageError

    from ..images import MAX_PIXELS, is_drawn_elsewhere

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                if is_drawn_elsewhere(picture):
                    return "not_image"
                return "pixels" if picture.width * picture.height > MAX_PIXELS else "damaged"
    except UnidentifiedImageError:
        return "not_image"
    except Image.DecompressionBombError:
        return "pixels"
    except Exception:  # a head that promises a picture, and something else behind it
        return "damaged"
