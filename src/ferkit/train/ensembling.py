"""Ensembles made here: weights fitted on PublicTest, figures and a card, and the snapshots of one run as members.

Only snapshots need Keras.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classifiers.ensemble import Ensemble, combined
from ..data.faces import Faces
from ..errors import DataError, WeightsError
from ..evaluation.calibration import fit_temperature
from ..evaluation.measuring import metric_rows
from ..files import write_json
from ..image_files import expanded
from ..labels import FERPLUS8, PHOTOS
from ..weights.records import Training
from ..weights.specs import SPEC_FILE, EnsembleSpec, WeightsSpec
from .classifier.recipe import Recipe
from .release.card import write_card

__all__ = ["fit_ensemble", "fit_weights", "make_ensemble", "snapshot_weights"]


def make_ensemble(
    names: Sequence[str | Path],
    out: str | Path,
    *,
    validation: Faces | None = None,
    source: str = "",
    labels: str | None = None,
    combine: str = "probability",
    weights: bool = True,
) -> Path:
    """Make an ensemble of some weights, one folder; with PublicTest also fitted, measured and with a card.

    Args:
        names: Of the members.
        out: A new folder, whose name is the ensemble's.
        validation: PublicTest. With its FER+ votes the FER+ labels are fitted and measured on their majority.
        source: Name of the data's file, for the card's commands.
        labels: The one label set to answer in. None: all that the members have in common, the first member's default first.
        combine: ``"probability"`` or ``"logit"``.
        weights: False lets every member count the same; only temperatures are fitted.

    Returns:
        ``out``.

    Raises:
        InputError, WeightsError, DataError: As Ensemble, its ``save`` and ``fit_ensemble``.

    Examples:
        >>> from ferkit.train import make_ensemble
        >>> make_ensemble(["fer2013-n-v6", "fer2013-s-v6"], "both-v1").name
        'both-v1'
    """
    first = Ensemble.from_pretrained(names, combine=combine, labels=labels)
    made = [first]
    if labels is None:
        sets = [{output.name: output.labels for output in member.spec.outputs} for member in first.members]
        shared = [name for name in sets[0] if name != first.labels.name and all(own.get(name) == sets[0][name] for own in sets)]
        made += [Ensemble.from_pretrained(names, combine=combine, labels=name) for name in shared]
    if validation is not None:
        if set(first.labels) < set(validation.label_set):
            validation = validation.restricted(first.labels)  # as the six-class systems are trained and measured
        fittable = [validation.votes is not None or ensemble.labels.name != FERPLUS8.name for ensemble in made]
        made = [fit_ensemble(e, validation, weights=weights) if fits else e for e, fits in zip(made, fittable, strict=True)]
    out = made[0].save(out, others=made[1:])
    spec = EnsembleSpec.load(out)
    if validation is not None:
        training: Training = {"source": source, "data": source}
        spec = replace(spec, selection="PublicTest", training=training, metrics=metric_rows(out, validation))
        write_json(out / SPEC_FILE, spec.to_dict())
    write_card(out / "card.md", spec)
    return out


def fit_ensemble(ensemble: Ensemble, faces: Faces, *, weights: bool = True) -> Ensemble:
    """Return the ensemble with weights and temperature that fit labelled faces.

    Args:
        ensemble: Its members are taken as they are.
        faces: PublicTest; the faces whose label the ensemble does not answer are left out. For FER+'s labels the votes'
            majority is the truth, if there are votes.
        weights: False keeps the weights and fits the temperature alone.

    For the labels ``photos`` only the faces count whose own label is the votes' majority too, if there are votes.

    Raises:
        DataError: No face has one of the ensemble's labels.
    """
    if ensemble.labels.name == FERPLUS8.name and faces.votes is not None:
        keep, winner = faces.majority()
        faces = Faces(faces.images[keep], winner[keep], FERPLUS8)
    if ensemble.labels.name == PHOTOS.name and faces.votes is not None:
        faces = faces.agreed()
    if faces.label_set.classes != ensemble.labels.classes:
        if not set(ensemble.labels) & set(faces.label_set):
            raise DataError(f"The faces' labels are {', '.join(faces.label_set)}; {ensemble.name} answers {', '.join(ensemble.labels)}.")
        faces = faces.restricted(ensemble.labels)
    p = ensemble.member_probabilities(ensemble.logits(faces.images))
    counts = fit_weights(p, faces.labels, ensemble.combine) if weights else ensemble.weights
    scores = np.log(np.maximum(combined(p, counts, ensemble.combine), 1e-30)).astype(np.float64)
    temperature = round(fit_temperature(scores, faces.labels), 4)
    return Ensemble(ensemble.members, weights=counts.tolist(), combine=ensemble.combine, temperature=temperature, name=ensemble.name)


def fit_weights(p: NDArray[np.float64], truth: NDArray[np.int64], combine: str = "probability", steps: int = 300) -> NDArray[np.float64]:
    """Return the members' weights, 0 or more and 1 in all, that minimise the negative log-likelihood.

    Both problems are convex, and both updates stay on the simplex by themselves, so that no solver is needed: expectation
    maximisation for the mixture (Dempster, Laird and Rubin, 1977), exponentiated gradient for the product (Kivinen and
    Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", 1997).

    Args:
        p: Members' probabilities ``(members, n, k)``.
        truth: True columns ``(n,)``.
        combine: ``"probability"`` or ``"logit"``.
        steps: Updates.
    """
    log = np.log(np.maximum(p, 1e-30))
    right = log[:, np.arange(len(truth)), truth]
    weights = np.full(len(p), 1 / len(p))
    for _ in range(steps):
        if combine == "probability":
            share = weights[:, None] * np.exp(right)
            weights = (share / np.maximum(share.sum(axis=0), 1e-300)).mean(axis=1)
        else:
            own = combined(p, weights, combine).astype(np.float64)
            gradient = (np.einsum("mnk,nk->mn", log, own) - right).mean(axis=1)
            weights = weights * np.exp(-(gradient - gradient.min()))
        weights = weights / weights.sum()
    return weights


def snapshot_weights(run: str | Path, validation: Faces) -> list[Path]:
    """Turn the snapshots of a finished run into weights, each calibrated and measured on PublicTest.

    Args:
        run: The folder of a run whose recipe has ``[snapshots]``.
        validation: PublicTest.

    Returns:
        Folders of weights ``run/snapshots/<run>-<step>``, in the order of the steps; those that are there already are kept.

    Raises:
        WeightsError: The run has not finished, or kept no snapshots.
    """
    from .classifier.inputs import matching
    from .classifier.loop import build_from_recipe
    from .classifier.release import Origin, write_release
    from .common.checkpoint import load_weights

    run = expanded(run)
    spec = WeightsSpec.load(run)
    files = sorted((run / "snapshots").glob("*.npz"))
    if not files:
        raise WeightsError(f"{run} has no snapshots; expected a run of a recipe with [snapshots], for example shallow.")
    stored = json.loads((run / "history.json").read_text(encoding="utf-8"))
    recipe = Recipe.from_dict(stored["recipe"], str(run))
    faces, folders = matching(validation, recipe), []
    for file in files:
        folder = file.with_name(f"{run.resolve().name}-{file.stem}")
        if not (folder / "card.md").exists():
            model = build_from_recipe(recipe)
            load_weights(file, model)
            trained = spec.training
            origin = Origin(int(trained["faces"]), stored["epochs"], trained["source"], trained["data"], spec.licence)
            write_release(model, recipe, folder, folder.name, faces, origin, views=(1,))  # ten views of nine nets take as long as an epoch
        folders.append(folder)
    return folders
