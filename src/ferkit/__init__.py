"""ferkit: faces in, calibrated facial expressions out.

>>> from ferkit import Pipeline
>>> result = Pipeline()("photo.jpg")
>>> result[0].expression.label
'happy'

Importing this package costs almost nothing: every name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import attach

if TYPE_CHECKING:
    from .bulk.running import batch as batch
    from .classifiers.adopting import adopt as adopt
    from .classifiers.ensemble import Ensemble as Ensemble
    from .classifiers.expression_classifier import ExpressionClassifier as ExpressionClassifier
    from .detectors.face_detector import FaceDetector as FaceDetector
    from .errors import DataError as DataError
    from .errors import FerkitError as FerkitError
    from .errors import ImageError as ImageError
    from .errors import ImageNotFoundError as ImageNotFoundError
    from .errors import InputError as InputError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import WeightsError as WeightsError
    from .faces import Expression as Expression
    from .faces import Face as Face
    from .images import load_image as load_image
    from .labels import LabelSet as LabelSet
    from .pipeline import Pipeline as Pipeline
    from .results import Result as Result
    from .video.decode import frames as frames
    from .weights.releases import list_weights as list_weights

__version__ = "0.1.0"

_HOMES = {
    "DataError": "errors",
    "Ensemble": "classifiers.ensemble",
    "Expression": "faces",
    "ExpressionClassifier": "classifiers.expression_classifier",
    "Face": "faces",
    "FaceDetector": "detectors.face_detector",
    "FerkitError": "errors",
    "ImageError": "errors",
    "ImageNotFoundError": "errors",
    "InputError": "errors",
    "LabelSet": "labels",
    "MissingExtraError": "errors",
    "Pipeline": "pipeline",
    "Result": "results",
    "WeightsError": "errors",
    "adopt": "classifiers.adopting",
    "batch": "bulk.running",
    "frames": "video.decode",
    "list_weights": "weights.releases",
    "load_image": "images",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the table is the list
__getattr__, _ = attach(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
