"""The page without a service: detector, classifiers and onnxruntime-web as files that a browser runs by itself.

onnxruntime-web (MIT) is the user's own: ``npm install onnxruntime-web``. Its files are copied, and never part of this package.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import __version__
from ..classifiers.expression_classifier import ExpressionClassifier
from ..colors import in_hex
from ..errors import InputError
from ..image_files import expanded
from ..weights.releases import BUNDLED_DETECTOR
from ..weights.specs import DetectorSpec, EnsembleSpec
from ..weights.store import read_verified, resolve_detector
from .catalogue import Catalogue
from .middleware import policy
from .settings import Settings

__all__ = ["browser_files", "export_web"]

_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_INSTALL = "Run: npm install onnxruntime-web, and name the folder node_modules/onnxruntime-web"


def browser_files(catalogue: Catalogue, onnxruntime_web: str) -> dict[str, bytes]:
    """Return all that a browser needs to answer alone, by name.

    Args:
        catalogue: Whose weights and label sets are offered; ensembles and adopted networks are left out: a browser opens one network at a time, of ferkit's own kind.
        onnxruntime_web: The folder of the npm package, or one that holds ``node_modules``.

    Raises:
        InputError: The folder lacks a file, or no weights are single networks.
        WeightsError: A file of the detector or of the weights is missing or damaged.
    """
    folder = resolve_detector(BUNDLED_DETECTOR)
    spec = DetectorSpec.load(folder)
    found = _runtime(expanded(onnxruntime_web))
    found |= {"detector.onnx": read_verified(folder, spec), "points.onnx": read_verified(folder, spec, "points.onnx")}
    offered = []
    for name, offer in catalogue.offers.items():
        if isinstance(offer.spec, EnsembleSpec):
            continue
        first = catalogue.classifier((name, offer.default))
        if not isinstance(first, ExpressionClassifier) or first.spec.network or first.spec.channels != 1:
            continue
        found[f"{name}.onnx"] = read_verified(first.folder, first.spec)
        offered.append(_described(catalogue, name, first))
    if not offered:
        raise InputError("None of the weights is a single network, which a browser needs; name one such as fer2013-s-v6.")
    config = {"ferkit": __version__, "detector": "ferkit", "min_score": spec.min_score, "weights": offered}
    found["config.json"] = json.dumps(config).encode()
    return found


def _described(catalogue: Catalogue, name: str, classifier: ExpressionClassifier) -> dict[str, Any]:
    spec, offer = classifier.spec, catalogue.offers[name]
    sets = []
    for labels_name, labels in offer.label_sets.items():
        opened = catalogue.classifier((name, labels_name))
        assert isinstance(opened, ExpressionClassifier)
        colors = map(in_hex, labels.colours)
        sets.append(
            {
                "name": labels_name,
                "default": labels_name == offer.default,
                # As /v1/weights has them; the worker takes the names alone.
                "classes": [{"name": c, "colour": color} for c, color in zip(labels.classes, colors, strict=True)],
                "mixing": opened.mix.tolist(),
            }
        )
    first = name == next(iter(catalogue.offers))
    return {
        "name": name,
        "default": first,
        "licence": spec.licence,
        "labels": sets,
        "input": dict(spec.input),
        "crop": spec.crop.to_dict(),
    }


def _runtime(folder: Path) -> dict[str, bytes]:
    for place in (folder, folder / "dist", folder / "node_modules" / "onnxruntime-web" / "dist"):
        if (place / _RUNTIME[0]).is_file():
            missing = [name for name in _RUNTIME if not (place / name).is_file()]
            if missing:
                raise InputError(f"{place} lacks {', '.join(missing)}; expected a complete onnxruntime-web. {_INSTALL}.")
            return {name: (place / name).read_bytes() for name in _RUNTIME}
    raise InputError(f"{folder} holds no onnxruntime-web; expected {_RUNTIME[0]} there, or in its dist. {_INSTALL}.")


def _alone(page: str) -> str:
    """Return the page for a folder of files: it says so, has its policy within, since no service sends one, and no link to the interface."""
    changes = {
        "<html ": "<html data-alone ",
        "<head>": f'<head>\n  <meta http-equiv="Content-Security-Policy" content="{policy(wasm=True, framed=False)}">',
        '    <nav aria-label="More"><a href="docs">API</a></nav>\n': "",
    }
    for old, new in changes.items():
        assert page.count(old) == 1, f"the page has changed: {old}"
        page = page.replace(old, new)
    return page


def export_web(out: Path, onnxruntime_web: str, weights: Sequence[str] = ()) -> list[Path]:
    """Write the page as a folder that any web server can host: everything happens in the visitor's browser.

    Args:
        out: Folder, made where it is missing; files of an earlier export are replaced.
        onnxruntime_web: As for ``browser_files``.
        weights: Names or folders to choose from; empty is the bundled default.

    Returns:
        The files that were written.

    Raises:
        InputError, WeightsError: As ``browser_files``, or ``out`` is a file.
    """
    out = expanded(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the page.")
    table = {f"local/{name}": data for name, data in browser_files(Catalogue(Settings(weights=tuple(weights))), onnxruntime_web).items()}
    for file in (files(__package__) / "static").iterdir():
        if file.is_file() and not file.name.startswith("api."):
            table["index.html" if file.name == "index.html" else f"static/{file.name}"] = file.read_bytes()
    table["index.html"] = _alone(table["index.html"].decode()).encode()
    for name, data in table.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    return [out / name for name in table]
