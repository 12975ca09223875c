"""``ferkit train``: data read, a recipe trained, its weights written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces
from ...data.learnt import write_learnt
from ...detectors.face_detector import open_detector
from ...errors import DataError, InputError
from ...evaluation.measuring import measure
from ...files import write_bytes
from ...image_files import expanded
from ...labels import LabelSet
from ...plots import confusion_matrix
from ...protocols import Detector
from ...weights.releases import SAME_NETWORK
from ..common.preflight import check_exporter, check_folder, check_weights
from ..common.values import check_minutes
from ..release.keras_to_onnx import to_onnx
from .loop import build_from_recipe, fit
from .reading import read_run
from .recipe import Recipe, list_recipes, load_recipe
from .release import Origin, write_release
from .together import check_together, fit_together

__all__ = ["check_needs", "train"]


def train(
    recipe: str | Path | Recipe,
    data: str | Path,
    out: str | Path,
    *,
    ferplus: str | Path | None = None,
    photos: str | Path | None = None,
    detector: Detector | str | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    licence: str = "not stated",
    relabel: Mapping[str, str] | str | None = None,
    settings: Sequence[str] = (),
    callbacks: Sequence[Any] = (),
    answers: LabelSet | None = None,
    workers: int = 1,
    address: str | None = None,
    max_failures: int = 3,
) -> Path:
    """Read the data, train a recipe and, once it has finished, write its weights into the run's folder.

    Args:
        recipe: Name, TOML path or Recipe.
        data: ``fer2013.csv``, a folder or a manifest; PublicTest (``validation``) calibrates and is measured if it is there.
        out: The run's folder.
        ferplus: FER+ votes beside a csv.
        photos: Folder of portraits for a recipe with ``[photos]``: ``labels.csv`` and ``images``.
        detector: Finds the faces of a folder's photos; a detector or its name, ``"none"`` for ready crops. None: the pictures tell.
        resume, max_minutes: As in ``ferkit.train.fit``.
        licence: Of the weights, for their card: an SPDX name.
        settings: Entries of the recipe to change, ``["lr=0.01", "training.batch_size=32"]``; of a recipe by name or path.
        callbacks: Objects with methods of ``ferkit.train.Callback``.
        relabel: New names for the data's labels, ``{"1": "surprise"}`` or ``"1=surprise"``; an empty name leaves a label out.
        answers: Several labels at once, ``LabelSet("labels", ("smiling", "glasses"), kind="labels")``, or values, ``LabelSet("values",
            ("valence", "arousal"), kind="values")``: columns of a manifest, which the recipe's network learns instead of its own labels.
        workers: Processes that train together, each on its rows of every batch, which stays the recipe's. More than one needs Keras
            on JAX (``KERAS_BACKEND=jax``). When one dies all start again from the last checkpoint.
        address: Of a Ray cluster whose nodes run the processes, as for ``ferkit.batch``; ``out`` and the data must be seen by all.
        max_failures: Deaths of processes that the run may cost.

    Returns:
        ``out``. If ``max_minutes`` stopped the run it holds a checkpoint but no weights yet.

    Raises:
        DataError, InputError: As the readers and fit.
        InputError: ``workers`` that cannot share a batch evenly, or a recipe or backend that several processes cannot have.
        FerkitError: Processes died more than ``max_failures`` times.

    Examples:
        >>> from ferkit import ExpressionClassifier
        >>> from ferkit.train import train
        >>> out = train("tiny.toml", "my_faces", "runs/tiny", settings=["lr=0.05"])
        >>> ExpressionClassifier(out).labels.classes
        ('happy', 'sad')
    """
    if isinstance(recipe, Recipe) and settings:
        raise InputError("settings are for a recipe by name or path; change a Recipe with dataclasses.replace.", arguments=["settings"])
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, settings)
    recipe = recipe if answers is None else recipe.for_labels(answers)
    out = expanded(out)
    ferplus = None if ferplus is None else expanded(ferplus)
    photos = None if photos is None else expanded(photos)
    _preflight(recipe, out, resume, max_minutes, [ferplus, None if photos is None else photos / "labels.csv"])
    found = None if detector is None else open_detector(detector)
    told: dict[str, Any] = {"ferplus": ferplus, "photos": photos, "detector": found, "relabel": relabel}
    if workers != 1 or address is not None:
        check_together(recipe, workers, max_failures)
        if not fit_together(
            {**told, "recipe": recipe, "data": data, "out": out, "max_minutes": max_minutes}, workers, address, max_failures, callbacks
        ):
            return out
        resume = True  # of what the group has finished: only what comes after the last epoch is left
    recipe, training, validation, portraits = read_run(recipe, data, **told)
    run = fit(recipe, training, out, validation=validation, resume=resume, max_minutes=max_minutes, photos=portraits, callbacks=callbacks)
    if run.finished:
        source = Path(data).resolve().name
        name, votes = out.resolve().name, " with FER+ votes" if training.votes is not None else ""
        description = f"{source}, Training{votes}"
        count = len(training)
        if portraits is not None and photos is not None:
            description, count = f"{description}; {len(portraits):,} portraits ({photos.resolve().name})", count + len(portraits)
        taught, validation = _taught(run.recipe, training, validation)
        origin = Origin(count, run.history, source, description, licence, taught)
        write_release(run.model, run.recipe, out, name, validation, origin)
        write_learnt(out, training.images)
        if validation is not None:
            report = measure(ExpressionClassifier(out), validation).report
            if "confusion" in report:
                write_bytes(out / "confusion.png", confusion_matrix(report["confusion"]["labels"], report["confusion"]["rows"]), sync=False)
    return out


def _taught(recipe: Recipe, training: Faces, validation: Faces | None) -> tuple[NDArray[np.bool_] | None, Faces | None]:
    """Return which raw columns ever had a target, and the validation faces whose labels had one; a teacher has one for everything."""
    if recipe.teacher or recipe.answers is not None:  # of labels and values those without a target were refused before
        return None, validation
    taught = np.concatenate([training.targets(head.labels).any(axis=0) for head in recipe.heads])
    known = np.asarray(training.targets(training.label_set.name).any(axis=0))
    if known.all():
        return taught, validation
    lacking = [name for name, there in zip(training.label_set, known, strict=True) if not there]
    print(f"No faces to learn {', '.join(lacking)} from: the weights do not answer these labels.", file=sys.stderr)
    kept = None if validation is None else validation.subset(known[validation.labels])
    return taught, kept if kept is not None and len(kept) else None


def _preflight(recipe: Recipe, out: Path, resume: bool, max_minutes: float | None, files: Sequence[Path | None]) -> None:
    """Look for what would end the run later: before the data are read, which takes its time."""
    check_minutes(max_minutes)
    check_folder(out, resume)
    check_exporter()
    for file in files:
        if file is not None and not file.is_file():
            raise DataError(
                f"{file} is not there, or is not a file; ferplus is a csv, photos a folder with labels.csv.",
                arguments=["ferplus", "photos"],
            )
    check_needs(recipe)
    to_onnx(build_from_recipe(recipe), recipe.head_names, recipe.window)


def check_needs(recipe: Recipe) -> None:
    """Find the weights that a recipe begins from and is taught by. Raises WeightsError: which are missing, where they are, and what makes them."""
    begun = [str(recipe.training["initial"])] if "initial" in recipe.training else []
    check_weights([*begun, *recipe.teacher.get("weights", ())], f"Recipe {recipe.name!r}", _made_by)


def _made_by(weights: str) -> str:
    """Say which recipe makes some weights of ferkit's own, if one does."""
    name = weights.rstrip("/").rpartition("/")[2]
    family = SAME_NETWORK.get(name, name).replace("fer2013-", "ferkit-", 1)
    recipe = next((known for known in (family, family.removesuffix("-v1")) if known in list_recipes()), None)
    if recipe is None:
        return ""
    return (
        f"A recipe makes them: ferkit train --recipe {recipe} --out runs/{name} with the same data; then name that folder, in the place of "
        f"{weights!r}, in a recipe of your own that begins with base = ..."
    )
