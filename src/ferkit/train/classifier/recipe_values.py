"""The types, signs and ranges of a recipe's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ...errors import InputError
from ..common.values import MOST_EMA, check_number, check_pair, check_precision

__all__ = ["FILLS", "check_types", "check_values"]

# (least, most, whole) of each number; what has two is a pair of such, the smaller first.
_INF = float("inf")
_NUMBERS: dict[str, dict[str, tuple[float, float, bool]]] = {
    "data": {"size": (8, 4096, True), "window": (8, 4096, True)},
    "augment": {
        "crop": (8, 48, True),  # of FER2013's faces
        "rotation": (0, 3.15, False),
        **dict.fromkeys(("shear", "shift", "contrast", "blur", "noise"), (0, _INF, False)),
        **dict.fromkeys(("flip", "brightness", "erase", "degrade"), (0, 1, False)),
    },
    "mix": dict.fromkeys(("mixup", "cutmix"), (0, _INF, False)),
    "teacher": {"weight": (-_INF, _INF, False), "temperature": (1e-6, _INF, False)},
    "photos": dict.fromkeys(("share", "label_weight", "arguable", "temperature", "degrade", "balance", "weight"), (-_INF, _INF, False)),
    "training": dict.fromkeys(("batch_size", "validate_every", "faint_smiles"), (1, _INF, True)),
    "optimizer": {
        **dict.fromkeys(("learning_rate", "weight_decay", "warmup_epochs", "decay_epochs"), (0, _INF, False)),
        **dict.fromkeys(("ema", "momentum", "beta_1", "beta_2", "rho"), (0, MOST_EMA, False)),
        **{"epsilon": (0, _INF, False), "sam": (1e-6, _INF, False), "cycles": (1, _INF, True)},
    },
    "early_stopping": {"patience": (-_INF, _INF, True), "min_delta": (0, _INF, False)},
    "plateau": {
        **{"patience": (-_INF, _INF, True), "min_delta": (0, _INF, False)},
        **{"factor": (-_INF, _INF, False), "min_learning_rate": (0, _INF, False)},
    },
    "snapshots": {"keep": (1, _INF, True)},
}
_PAIRS: dict[str, tuple[float, float]] = {"scale": (1e-3, 100), "gain": (0, 100), "erase_area": (0, 1)}
_SWITCHES = (
    ("data", "standardise"),
    ("optimizer", "nesterov"),
    ("training", "settle"),
    ("photos", "joint"),
    ("early_stopping", "restore_best"),
)
FILLS = ("reflect", "nearest")


def check_types(recipe: Any) -> None:
    """Refuse entries that are not tables, text or numbers. Raises InputError."""
    for entry in fields(recipe):
        value = getattr(recipe, entry.name)
        if entry.name == "seed":
            check_number(f"seed of recipe {recipe.name!r}", value, 0, 2**31 - 1, whole=True)
        elif entry.name == "name" and not isinstance(value, str):
            raise InputError(f"name = {value!r} of a recipe; expected text.")
        elif entry.name not in ("seed", "name", "heads", "stages") and not isinstance(value, Mapping):
            raise InputError(f"{entry.name} = {value!r} in recipe {recipe.name!r}; expected a table, [{entry.name}].")


def check_values(recipe: Any) -> None:
    """Refuse values of another type or sign: in Keras they would be a traceback, or silently another training."""
    for table, numbers in _NUMBERS.items():
        given = getattr(recipe, table)
        for key, (low, high, whole) in numbers.items():
            if given.get(key) is not None:
                check_number(f"{key} in [{table}] of recipe {recipe.name!r}", given[key], low, high, whole=whole)
    _check_scale(recipe)
    _check_names(recipe)
    for key, (low, high) in _PAIRS.items():
        check_pair(f"{key} in [augment] of recipe {recipe.name!r}", recipe.augment.get(key, (low, high)), low, high)
    for table, key in _SWITCHES:
        if not isinstance(getattr(recipe, table).get(key, False), bool):
            raise InputError(f"{key} = {getattr(recipe, table)[key]!r} in [{table}] of recipe {recipe.name!r}; expected true or false.")
    check_precision(f"precision in [training] of recipe {recipe.name!r}", recipe.training.get("precision", "float32"))
    for label, count in recipe.balance.items():
        check_number(f"{label} in [balance] of recipe {recipe.name!r}", count, 0, whole=True)
    for head in recipe.heads:
        check_number(f"weight of the head {head.labels!r} in recipe {recipe.name!r}", head.weight, 0)
        check_number(f"label_smoothing of the head {head.labels!r} in recipe {recipe.name!r}", head.label_smoothing, 0, 1)
    for number, stage in enumerate(recipe.stages, 1):
        for key, whole in (("epochs", True), ("size", True), ("learning_rate", False), ("weight_decay", False)):
            if (value := getattr(stage, key)) is not None:
                check_number(f"{key} of stage {number} in recipe {recipe.name!r}", value, -_INF if whole else 0, whole=whole)


def _check_names(recipe: Any) -> None:
    """Refuse names that are no text, or that nothing answers to."""
    where = f"of recipe {recipe.name!r}"
    if not isinstance(recipe.model.get("name", ""), str):
        raise InputError(f"name = {recipe.model['name']!r} in [model] {where}; expected text.")
    if recipe.augment.get("fill", "reflect") not in FILLS:
        raise InputError(f"fill = {recipe.augment['fill']!r} in [augment] {where}; expected {' or '.join(FILLS)}.")
    for table in ("early_stopping", "plateau"):
        if not isinstance(monitor := getattr(recipe, table).get("monitor", ""), str):
            raise InputError(f"monitor = {monitor!r} in [{table}] {where}; expected text, the name of a figure.")
    if recipe.data.get("window", 8) > recipe.data.get("size", 48):
        raise InputError(
            f"A window of {recipe.data['window']} pixels in [data] {where}, of faces of {recipe.data.get('size', 48)}; expected at most those."
        )
    weights = recipe.teacher.get("weights", ["-"])
    if isinstance(weights, str) or not weights or not all(isinstance(name, str) for name in weights):
        raise InputError(f"weights = {weights!r} in [teacher] {where}; expected a list of names or folders, at least one.")
    heads = [head.labels for head in recipe.heads]
    if twice := [name for name in dict.fromkeys(heads) if heads.count(name) > 1]:
        raise InputError(f"The head {', '.join(twice)} {where} is there twice; expected one for each label set.")
    chosen = recipe.release.get("default_output", heads[0] if heads else "")
    if chosen not in (*heads, "photos", "mixed"):
        raise InputError(
            f"default_output = {chosen!r} in [release] {where}; expected one of {', '.join(heads)}, or of both heads photos, mixed."
        )
    known = {name for head in recipe.heads for name in head.label_set}
    if strange := [label for label in recipe.balance if label not in known]:
        raise InputError(f"[balance] {where}: unknown {', '.join(strange)}; expected labels of its heads, {', '.join(sorted(known))}.")
    if recipe.heads and not any(head.weight for head in recipe.heads):
        raise InputError(f"All heads {where} have the weight 0: nothing would be learnt; expected one above 0.")


def _check_scale(recipe: Any) -> None:
    """Refuse a mean and a standard deviation that are not numbers, or not one for each channel; colors where only grey is known."""
    channels = recipe.data.get("channels", 1)
    if channels not in (1, 3) or isinstance(channels, bool):
        raise InputError(f"channels = {channels!r} in [data] of recipe {recipe.name!r}; expected 1, grey faces, or 3, in color.")
    for key, low in (("mean", -_INF), ("std", 1e-6)):
        given = recipe.data.get(key, 1)
        values = given if isinstance(given, list | tuple) else (given,)
        if len(values) not in (1, channels):
            raise InputError(
                f"{key} = {given!r} in [data] of recipe {recipe.name!r}; expected a number, or one for each of {channels} channel(s)."
            )
        for value in values:
            check_number(f"{key} in [data] of recipe {recipe.name!r}", value, low)
    if channels == 3 and (recipe.teacher or recipe.photos):
        raise InputError(
            f"Recipe {recipe.name!r} learns from weights that see grey faces; leave [teacher] and [photos] out, or channels = 3."
        )
