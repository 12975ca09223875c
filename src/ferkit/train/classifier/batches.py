"""Batches of augmented faces and their targets, each a pure function of the seed, the epoch and the step."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from ...data.faces import Faces
from ...labels import FER7
from ..common.ranks import ALONE, Ranks
from .answers import targets_of
from .augment import FaceAugmentation
from .distilling import Teacher
from .inputs import normalise
from .mixing import mix, partners
from .photos import PhotoSource
from .product import with_product_targets
from .recipe import Recipe

__all__ = ["Batches"]


class Batches:
    """Augmented batches of one epoch; each is a pure function of (seed, epoch, step), so a run can resume exactly."""

    def __init__(
        self,
        faces: Faces,
        recipe: Recipe,
        augment: FaceAugmentation,
        epoch: int,
        teacher: Teacher | None = None,
        photos: PhotoSource | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.faces, self.recipe, self.augment, self.epoch, self.teacher, self.photos = faces, recipe, augment, epoch, teacher, photos
        copies = np.where(faces.faint_smiles(), int(recipe.training.get("faint_smiles", 1)), 1)
        for label, count in recipe.balance.items():
            copies[faces.labels == faces.label_set.index(label)] *= count
        rows = np.repeat(np.arange(len(faces)), copies)
        self.order = rows[np.random.default_rng((recipe.seed, epoch)).permutation(len(rows))]
        self.targets = {head.labels: targets_of(faces, head) for head in recipe.heads}
        self.own = recipe.batch_size - recipe.photo_places  # faces of each batch that are the data's
        self.drawn = None if photos is None else photos.order(epoch, len(self))

    def __len__(self) -> int:
        # Whole batches only: a last batch of a few faces would unsettle batch normalisation.
        return max(1, len(self.order) // self.own)

    def __getitem__(self, step: int) -> tuple[Any, dict[str, NDArray[np.float32]]]:
        rows = self.order[step * self.own : (step + 1) * self.own]
        seed = int(np.random.SeedSequence((self.recipe.seed, self.epoch, step)).generate_state(1)[0] >> 1)
        faces, taught = self.faces.images[rows], dict[str, NDArray[np.float32]]()
        if self.photos is not None and self.drawn is not None:
            order, counts = self.drawn
            portraits, taught = self.photos.batch(order[step], self.epoch, step)
            # A distribution that sums to 2 costs twice as much.
            taught = {head: counts[order[step], None].astype(np.float32) * target for head, target in taught.items()}
            faces = np.concatenate([faces, portraits])
        x = self._augmented(faces, len(rows), step, seed)
        x, photographed = x[: len(rows)], x[len(rows) :]
        y = {head: target[rows] for head, target in self.targets.items()}
        if self.recipe.mix:
            x, y = mix(x, y, self._mixing(step), **self.recipe.mix)
        mine = self.ranks.rows(len(faces))
        own = slice(mine.start, min(mine.stop, len(rows)))
        shown = slice(max(0, mine.start - len(rows)), max(0, mine.stop - len(rows)))
        x, photographed = x[own], photographed[shown]
        y, taught = ({head: target[part] for head, target in all_.items()} for all_, part in ((y, own), (taught, shown)))
        if self.teacher is not None:
            y = self._taught(x, y)
        if taught:
            x = np.concatenate([x, photographed])
            y = self._with_portraits(y, taught)
        return normalise(x, self.recipe), y

    def _mixing(self, step: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.seed, self.epoch, step))

    def _augmented(self, faces: NDArray[np.uint8], own: int, step: int, seed: int) -> NDArray[np.float32]:
        """Return a batch of which this process's rows, and those that they are mixed with, are augmented; the others are zeros."""
        size = self.recipe.size_at(self.epoch)
        if self.ranks.count == 1:
            return np.asarray(ops.convert_to_numpy(self.augment(faces, size=size, seed=seed)))
        wanted = np.arange(len(faces))[self.ranks.rows(len(faces))]
        if self.recipe.mix:
            met = partners(own, self._mixing(step), **self.recipe.mix)
            wanted = np.union1d(wanted, met[wanted[wanted < own]])
        out = np.zeros((len(faces), size, size, 3 if faces.ndim == 4 and faces.shape[-1] == 3 else 1), np.float32)
        out[wanted] = ops.convert_to_numpy(self.augment(faces, size=size, seed=seed, rows=wanted))
        return out

    def _taught(self, x: NDArray[np.float32], y: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return targets with the teacher's answers beside them; a process whose rows are all portraits asks nothing."""
        assert self.teacher is not None
        if not len(x):
            return {head: np.zeros((0, 2 * target.shape[1]), np.float32) for head, target in y.items()}
        return {head: np.concatenate([y[head], soft], axis=1) for head, soft in self.teacher(x).items()}

    def _with_portraits(self, y: dict[str, NDArray[np.float32]], taught: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return targets of the data's faces and, behind them, of portraits, which teach each head apart or all together."""
        if self.recipe.joint:
            return with_product_targets(y, taught[FER7.name])
        return {head: np.concatenate([y[head], self._beside_teacher(taught[head])]) for head in y}

    def _beside_teacher(self, taught: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return targets for the loss with a teacher: what it says of a portrait is in them already, so they count in full."""
        return np.concatenate([taught / (1.0 - self.recipe.teaching["weight"]), np.zeros_like(taught)], axis=1)
