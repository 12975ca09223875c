"""Portraits as a second source of training: photos of people beside FER2013's own faces.

Their labels are noisier than FER2013's and mostly neutral or happy. So labels are drawn as evenly as their numbers allow, a
label counts only so much beside what the teacher says, and half of the faces are spoilt as FER2013's are: a network must not
tell the sources apart by their sharpness and then answer by source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...crops import centre
from ...data.portraits import Portraits
from ...errors import DataError
from ...labels import FER7, FERPLUS8, LabelSet
from ...logits import softmax
from ...resizing import resized_to

if TYPE_CHECKING:
    from .distilling import Teacher
    from .recipe import Recipe

__all__ = ["PhotoSource", "degraded", "expected_draws", "label_weights", "photo_targets", "teacher_product"]

FAINT = (0.05, 0.9)  # a smile that the teacher finds with a probability in between is a faint one
_MOST = 3  # times that one portrait is drawn an epoch
_MANY = 30  # portraits that a label needs to be drawn as often as the others
_BATCH = 256
_ORDER = 2**20  # beyond every step, so that no draw shares its numbers with a batch of FER2013


def expected_draws(labels: NDArray[np.str_], places: int, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Return how often each portrait is drawn for ``places`` places of an epoch, on average; float64 ``(n,)``.

    Labels with 30 portraits or more share the places equally, as far as no portrait comes more than three times: what a
    label cannot fill goes to the others. Rarer labels, contempt and portraits without a label come as often as they occur.

    Args:
        labels: ``(n,)``, ``""`` for none.
        places: To fill.
        weights: Of portraits beside others of their label, ``(n,)``; all the same by default.

    Raises:
        DataError: The portraits cannot fill the places.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    names, counts = np.unique(labels, return_counts=True)
    many = [str(name) for name, count in zip(names, counts, strict=True) if count >= _MANY and name in FER7.classes]
    draws = np.where(np.isin(labels, many), 0.0, min(1.0, places / len(labels)))
    left = places - draws.sum()
    room = {name: float(_MOST * (labels == name).sum()) for name in many}
    if left > sum(room.values()) + 1e-9:
        raise DataError(
            f"{len(labels)} portraits cannot fill {places} places an epoch, each at most {_MOST} times and rarer labels once; "
            "give more portraits, or a recipe with a smaller share in [photos]."
        )
    for number, name in enumerate(sorted(many, key=lambda name: room[name])):
        quota = min(room[name], left / (len(many) - number))
        left -= quota
        own = labels == name
        draws[own] = _filled(weights[own], quota)
    return draws


def label_weights(labels: NDArray[np.str_], draws: NDArray[np.float64], balance: float) -> NDArray[np.float64]:
    """Return what each portrait counts in the loss, ``(n,)``, 1 on average over the draws.

    Where three times an epoch are not enough to draw a label as often as the others, its portraits count more: with a
    ``balance`` of 1 all labels of 30 portraits and more count the same, with 0 each drawn portrait does.
    """
    weights = np.ones(len(labels))
    names, counts = np.unique(labels, return_counts=True)
    quotas = {str(n): draws[labels == n].sum() for n, c in zip(names, counts, strict=True) if c >= _MANY and n in FER7.classes}
    for name, quota in quotas.items():
        weights[labels == name] = (sum(quotas.values()) / len(quotas) / quota) ** balance
    return np.asarray(weights * draws.sum() / (weights * draws).sum())


def _filled(weights: NDArray[np.float64], quota: float) -> NDArray[np.float64]:
    """Share a quota by weight, nobody above the limit."""
    out = np.zeros(len(weights))
    open_ = np.ones(len(weights), bool)
    while open_.any():
        share = (quota - out[~open_].sum()) * weights[open_] / weights[open_].sum()
        over = share > _MOST
        out[open_] = np.minimum(share, _MOST)
        if not over.any():
            break
        open_[np.flatnonzero(open_)[over]] = False
    return out


def photo_targets(
    portraits: Portraits, product: NDArray[np.float64], contempt: NDArray[np.float64], recipe: Recipe
) -> dict[str, NDArray[np.float32]]:
    """Return what each head is taught about each portrait, ``{head: float32 (n, k)}``, rows that sum to 1.

    That is the label, as far as it is trusted, and for the rest the teacher's answer. Every head learns the same; the teacher's
    FER+ head alone says how much of a face is contempt.

    Args:
        portraits: To learn from.
        product: The teacher's answers, ``(n, 7)``, see ``teacher_product``.
        contempt: Its share of contempt, ``(n,)``.
        recipe: Its heads, and ``[photos]``: ``label_weight``, ``arguable`` and ``unchecked``.
    """
    known = np.isin(portraits.labels, FER7.classes)
    share = np.where(known, _trust(portraits, recipe.photo_settings), 0.0)[:, None]
    hard = np.zeros(product.shape)
    hard[np.flatnonzero(known), [FER7.index(str(label)) for label in portraits.labels[known]]] = 1.0
    mixed = share * hard + (1.0 - share) * product
    return {head.labels: _for_head(mixed, contempt[:, None], head.label_set) for head in recipe.heads}


def _trust(portraits: Portraits, settings: Mapping[str, Any]) -> NDArray[np.float64]:
    """How much each label counts beside the teacher."""
    trust = np.full(len(portraits), float(settings["label_weight"]))
    trust[portraits.checked == "arguable"] = float(settings["arguable"])
    for label, weight in settings["unchecked"].items():
        trust[(portraits.labels == label) & (portraits.checked == "")] = float(weight)
    return trust


def teacher_product(faces: NDArray[np.uint8], teacher: Teacher, recipe: Recipe) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the product of the teacher's heads, float64 ``(n, 7)``, and its FER+ head's share of contempt, ``(n,)``.

    On photos the product is right where FER2013's head alone calls neutral faces sad.

    Args:
        faces: uint8 ``(n, 48, 48)``, each shown as it is, and mirrored.
        teacher: Its mean logits count.
        recipe: Its heads, its window, and the ``temperature`` in ``[photos]``.
    """
    seen = centre(faces, recipe.window)[..., None].astype(np.float32)
    parts = [_mean_logits(teacher, seen[start : start + _BATCH]) for start in range(0, len(seen), _BATCH)]
    logits = {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}
    scores = sum(logits[head.labels][:, head.label_set.columns(FER7)] for head in recipe.heads)
    contempt = np.zeros(len(faces))
    if FERPLUS8.name in logits:
        contempt = softmax(logits[FERPLUS8.name])[:, FERPLUS8.index("contempt")]
    return softmax(np.asarray(scores) / recipe.photo_settings["temperature"]), contempt


def _mean_logits(teacher: Teacher, faces: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    both = [teacher.logits(faces), teacher.logits(np.ascontiguousarray(faces[:, :, ::-1]))]
    return {head: (both[0][head].astype(np.float64) + both[1][head]) / 2 for head in both[0]}


def _for_head(mixed: NDArray[np.float64], contempt: NDArray[np.float64], labels: LabelSet) -> NDArray[np.float32]:
    out = np.zeros((len(mixed), len(labels)))
    out[:, labels.columns(FER7)] = mixed
    if "contempt" in labels.classes:
        out *= 1.0 - contempt
        out[:, labels.index("contempt")] = contempt[:, 0]
    return np.asarray(out, np.float32)


def degraded(faces: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Spoil a share of faces ``(n, 48, 48)`` as FER2013's are: fewer pixels, blur, noise and JPEG, each face by a draw of its own."""
    import cv2

    out = faces.copy()
    draws = rng.random((len(faces), 5))
    for number in np.flatnonzero(draws[:, 0] < share):
        face, (_, small, blur, noise, quality) = faces[number], draws[number].tolist()
        side = face.shape[0]
        kept = round(side * (0.6 + 0.4 * small))
        face = resized_to(resized_to(face, kept, kept), side, side)
        face = cv2.GaussianBlur(face, (0, 0), 0.1 + 0.5 * blur)
        grain = rng.normal(0.0, 8.0 * noise, face.shape)
        face = np.clip(np.rint(face + grain), 0, 255).astype(np.uint8)
        _, coded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(40 + 55 * quality)])
        out[number] = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return out


class PhotoSource:
    """Portraits for the batches; what it draws is a pure function of (seed, epoch, step), as the batches are.

    Args:
        portraits: To draw from.
        recipe: With ``[photos]``.
        teacher: Whose answers are part of the targets.
    """

    def __init__(self, portraits: Portraits, recipe: Recipe, teacher: Teacher) -> None:
        self.portraits, self.recipe = portraits, recipe
        product, contempt = teacher_product(portraits.images, teacher, recipe)
        self.targets = photo_targets(portraits, product, contempt, recipe)
        happy = product[:, FER7.index("happy")]
        faint = (portraits.labels == "happy") & (happy > FAINT[0]) & (happy < FAINT[1])
        self.weights = np.where(faint, float(recipe.training.get("faint_smiles", 1)), 1.0)

    def order(self, epoch: int, steps: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the portraits of an epoch, ``(steps, places)``, and what each counts, ``(n,)``. Raises DataError if there are too few."""
        shape = (steps, self.recipe.photo_places)
        rng = np.random.default_rng((self.recipe.seed, epoch, _ORDER))
        mixed = rng.permutation(len(self.portraits))
        # Systematic sampling: everybody comes as often as expected, rounded down or up, and the sum is exact.
        draws = expected_draws(self.portraits.labels, shape[0] * shape[1], self.weights)
        edges = np.cumsum(draws[mixed])
        edges[-1] = shape[0] * shape[1]
        counts = np.diff(np.floor(np.concatenate([[0.0], edges]) + rng.random()).astype(int))
        order = rng.permutation(np.repeat(mixed, counts)).reshape(shape)
        return order, label_weights(self.portraits.labels, draws, float(self.recipe.photo_settings["balance"]))

    def batch(self, rows: NDArray[np.intp], epoch: int, step: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
        """Return portraits ``(places, 48, 48)``, some of them degraded, and their targets."""
        rng = np.random.default_rng((self.recipe.seed, epoch, step, _ORDER))
        faces = degraded(self.portraits.images[rows], float(self.recipe.photo_settings["degrade"]), rng)
        return faces, {head: target[rows] for head, target in self.targets.items()}
