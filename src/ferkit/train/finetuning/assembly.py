"""Fine-tuning: one's own labelled photos in, weights that every command accepts out."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces, read_csv
from ...data.folders import list_data
from ...data.label_names import columns_of
from ...detectors.face_detector import open_detector
from ...errors import InputError
from ...evaluation.calibration import fit_temperature
from ...evaluation.comparing import compare
from ...evaluation.figures import score
from ...files import writable, write_json
from ...image_files import expanded
from ...labels import FER7, LabelSet
from ...protocols import Detector
from ..common.loggers import to_stderr
from ..common.preflight import check_exporter
from ..common.values import check_number
from .backbone import Backbone
from .bundle import OUTPUT, finish_bundle, write_bundle
from .linear_head import Head, choose_head
from .splitting import check_labels, gather
from .unfreezing import unfreeze_backbone

__all__ = ["finetune", "format_finetuning", "versioned"]


def finetune(
    data: str | Path,
    out: str | Path,
    base: str | os.PathLike[str] | None = None,
    *,
    detector: Detector | str | None = None,
    publictest: str | Path | None = None,
    holdout: float = 0.2,
    seed: int = 0,
    unfreeze: bool = False,
    licence: str = "not stated",
    progress: bool = False,
    log: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Adapt weights to one's own labels and pictures.

    The network is kept; a new linear head is fitted on its features by penalised logistic regression. Where the labels
    are the base's, or some of them, or other names for them (``happiness`` for ``happy``), the head starts from the
    base's own and moves as far as cross-validation on the training part finds useful. The temperature is fitted on the
    cross-validated answers. The held-out part is looked at once, at the end.

    Args:
        data: A folder per label, any names: ``data/<label>/*.jpg``. With folders ``train`` and ``test`` (or ``validation``)
            in it the latter is the held-out part; else a part is held out here. Near copies are never on both sides.
        out: Folder of the new weights; must not exist yet, or be empty. They take its name, with ``-v1`` if that has no version.
        base: Weights to start from, as :class:`ferkit.ExpressionClassifier` takes them; they need a ``model.keras``.
        detector: Finds the faces; the largest of each photo is the labelled one. ``FaceDetector("none")`` for ready crops.
        publictest: ``fer2013.csv``: PublicTest is measured before and after, on the labels that both have.
        holdout: Share of every label that is held out, 0.05 to 0.5.
        seed: Of the split.
        unfreeze: Then train the whole network at a low rate, and keep that if it is better on a part of the training part.
        licence: Of the new weights, for their card: an SPDX name.
        progress: Show a bar on standard error.
        log: Called with one line per step; standard error by default.

    Returns:
        The report, also in ``out/finetune.json``: ``weights``, ``base``, ``labels``, ``training`` and ``held_out_faces``
        (faces per label), ``start``, ``penalty``, ``cross_validation``, ``temperature``, ``unfrozen``, ``held_out`` (as
        :func:`ferkit.train.evaluate` reports), ``before`` (accuracy of each of the base's label sets on the held-out
        part), ``paired`` (against the best of them, with the 95 % interval), ``publictest``, ``seconds``, ``skipped``.

    Raises:
        DataError: No label folders, fewer than two labels with two usable faces that are no copies of each other.
        InputError: ``out`` is in use, ``holdout`` out of range, or the base has no ``model.keras``.
        WeightsError: The base cannot be found, or is damaged.
    """
    begun, log = time.monotonic(), log or to_stderr
    out, data = expanded(out), expanded(data)
    if isinstance(holdout, bool) or not isinstance(holdout, int | float) or not 0.05 <= holdout <= 0.5:
        raise InputError(f"holdout={holdout!r}; expected a share from 0.05 to 0.5.")
    check_number("seed", seed, 0, whole=True)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} already exists; weights are never overwritten. Choose another out.", arguments=["out"])
    writable(out)
    check_exporter()
    known = None if publictest is None else read_csv(publictest, "PublicTest")
    check_labels(list_data(data))
    classifier = ExpressionClassifier(base)
    detector = open_detector(detector)
    backbone = Backbone(base, classifier)
    backbone.check_export()
    table = gather(data, classifier, detector, holdout, seed, progress)
    labels, training, test = table.labels, table.training, table.held_out
    log(f"{len(training)} faces to learn from, {len(test)} held out, {len(labels)} labels: {', '.join(labels)}.")

    starts = _starts(backbone, classifier, labels)
    choice = choose_head(backbone.features(training.images), training.labels, table.groups, starts)
    log(f"Cross-validated accuracy {choice.accuracy:.1%} (n = {len(training)}), starting from {choice.start}, penalty {choice.penalty:g}.")
    tuned = unfreeze_backbone(backbone, training, table.groups, choice, starts[choice.start], seed, log) if unfreeze else None
    temperature = tuned.temperature if tuned is not None else fit_temperature(choice.logits, training.labels)

    name = versioned(out.resolve().name)
    about = {
        "name": name,
        "data": f"{data.resolve().name}, {len(labels)} labels",
        "source": data.resolve().name,
        "licence": licence,
        "seed": seed,
        "faces": len(training),
        "held_out": len(test),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        model = backbone.with_head(choice.head, OUTPUT) if tuned is None else tuned.model
        spec = write_bundle(folder, model, backbone, LabelSet(OUTPUT, labels.classes), temperature, begun, about)
        new = ExpressionClassifier(folder)
        report = {
            "weights": name,
            "base": classifier.name,
            "labels": list(labels),
            "training": _counts(training, labels),
            "held_out_faces": _counts(test, labels),
            "start": choice.start,
            "penalty": choice.penalty,
            "cross_validation": {"accuracy": choice.accuracy, "loss": choice.loss, "n": len(training)},
            "unfrozen": tuned.report if tuned is not None else None,
            "temperature": spec.outputs[0].temperature,
            **_held_out(new, base, classifier, test),
            "publictest": _publictest(new, base, classifier, known) if known is not None else None,
        }
        finish_bundle(folder, spec, report)
        report |= {"seconds": round(time.monotonic() - begun, 1), "skipped": [list(entry) for entry in table.skipped]}
        write_json(folder / "finetune.json", report)
        folder.chmod(0o755)  # mkdtemp's are for the owner alone
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return report


def versioned(name: str) -> str:
    """Return a name of weights that ends in a version: ``mine`` is ``mine-v1``, ``mine-v2`` stays."""
    return name if re.search(r"-v[1-9]\d*$", name) else f"{name}-v1"


def _starts(backbone: Backbone, classifier: ExpressionClassifier, labels: LabelSet) -> dict[str, Head]:
    """Return the base's answers that cover the labels as linear heads; a blank one where it has none."""
    starts = {}
    for output in classifier.spec.outputs:
        columns = columns_of(labels.classes, output.labels)
        if columns is not None:
            starts[output.name] = backbone.head(output, columns)
    if not starts:
        starts["blank"] = Head(np.zeros((backbone.head_inputs, len(labels))), np.zeros(len(labels)))
    return starts


def _counts(faces: Faces, labels: LabelSet) -> dict[str, int]:
    return dict(zip(labels, np.bincount(faces.labels, minlength=len(labels)).tolist(), strict=True))


def _held_out(
    new: ExpressionClassifier, base: str | os.PathLike[str] | None, classifier: ExpressionClassifier, test: Faces
) -> dict[str, Any]:
    """Measure the new weights, and the old ones in each of their label sets, on the faces that neither has seen."""
    probabilities = new.predict_proba(test.images)
    measured: dict[str, Any] = {"held_out": score(probabilities, test.labels, list(new.labels)), "before": {}, "paired": None}
    best: NDArray[np.bool_] | None = None
    for output in classifier.spec.outputs:
        columns = columns_of(new.labels.classes, output.labels)
        if columns is None:
            continue
        right = ExpressionClassifier(base, labels=output.name).predict_proba(test.images)[:, columns].argmax(axis=1) == test.labels
        measured["before"][output.name] = float(right.mean())
        # Against the best of them on these very faces: to choose it here favours the old weights, which is fair play.
        if best is None or right.mean() > best.mean():
            best = right
            measured["paired"] = {"against": output.name, **compare(right, probabilities.argmax(axis=1) == test.labels)}
    return measured


def _publictest(
    new: ExpressionClassifier, base: str | os.PathLike[str] | None, classifier: ExpressionClassifier, faces: Faces
) -> dict[str, Any] | None:
    """Measure both on PublicTest by FER2013's labels: the base in the output for those labels, if it has one."""
    if any(output.name == FER7.name for output in classifier.spec.outputs):
        classifier = ExpressionClassifier(base, labels=FER7.name)
    truth_of, old = columns_of(new.labels.classes, FER7.classes), columns_of(new.labels.classes, classifier.labels.classes)
    if truth_of is None or old is None:
        return None
    keep = np.isin(faces.labels, truth_of)
    truth = np.array([truth_of.index(label) for label in faces.labels[keep]])
    before, after = (c.predict_proba(faces.images[keep]) for c in (classifier, new))
    return {"against": classifier.labels.name, **compare(before[:, old].argmax(axis=1) == truth, after.argmax(axis=1) == truth)}


def format_finetuning(report: dict[str, Any]) -> str:
    """Return a report of :func:`finetune` as text for people."""
    held = report["held_out"]
    low, high = held["ci95"]
    lines = [
        f"{report['weights']}: {', '.join(report['labels'])}",
        f"learnt from  {sum(report['training'].values()):,} faces, from {report['base']} ({report['start']}), in {report['seconds']:.0f} s",
        f"held out     accuracy {held['accuracy']:.1%}   95 % interval {low:.1%} to {high:.1%}   n = {held['n']:,}   ECE {held['ece']:.3f}",
    ]
    if report["before"]:
        lines.append(f"before       {', '.join(f'{name} {value:.1%}' for name, value in report['before'].items())}")
    for title, paired in (("gain", report["paired"]), ("PublicTest", report["publictest"])):
        if paired is not None:
            low, high = (100 * value for value in paired["ci95"])
            lines.append(
                f"{title:<12} {100 * paired['difference']:+.1f} points over {paired['against']} ({paired['before']:.1%} to {paired['after']:.1%})   "
                f"95 % interval {low:+.1f} to {high:+.1f}   n = {paired['n']:,}   exact McNemar p = {paired['p_value']:.2g}"
            )
    if report["skipped"]:
        lines.append(f"{len(report['skipped'])} picture(s) or folder(s) were not used.")
    return "\n".join(lines)
