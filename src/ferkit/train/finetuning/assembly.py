"""Fine-tuning: one's own labelled photos in, weights that every command accepts out."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...classifiers.expression_classifier import ExpressionClassifier
from ...data.faces import Faces, read_csv
from ...data.label_names import columns_of
from ...data.learnt import digests_in, write_learnt
from ...detectors.face_detector import FaceDetector, open_detector
from ...errors import InputError
from ...evaluation.calibration import fit_temperature
from ...evaluation.measuring import Measurement
from ...evaluation.records import Report
from ...evaluation.report import write_report
from ...files import new_folder, writable, write_json
from ...image_files import expanded
from ...labels import CUSTOM, LabelSet, need_classes
from ...protocols import Detector
from ...weights.records import Paired
from ..common.loggers import to_stderr
from ..common.preflight import check_exporter
from ..common.values import check_number
from .linear_head import Choice, Head, Lesson, choose_head
from .measuring import Answers, Base, by_folds, measured, on_publictest
from .records import About, Finetuned, Measured, Settings
from .splitting import Parts, Table, check_parts, gather, list_parts

if TYPE_CHECKING:
    from .backbone import Backbone
    from .prepared import Prepared
    from .unfreezing import Tuned

__all__ = ["finetune", "format_finetuning", "versioned"]

# Keras takes seconds to import. What needs it is imported when it is needed: after the data were listed and told.


def finetune(
    data: str | Path | None,
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
    group: str | None = None,
    val: str | Path | None = None,
    folds: int | None = None,
    relabel: Mapping[str, str] | str | None = None,
    report: str | Path | None = None,
    prepared: str | os.PathLike[str] | None = None,
) -> Finetuned:
    """Adapt weights to one's own labels and pictures.

    The network is kept; a new linear head is fitted on its features by penalised logistic regression. Where the labels
    are the base's, or some of them, or other names for them (``happiness`` for ``happy``), the head starts from the
    base's own and moves as far as cross-validation on the training part finds useful. The temperature is fitted on the
    cross-validated answers. The held-out part is looked at once, at the end.

    Args:
        data: A folder per label, any names: ``data/<label>/*.jpg``, or a manifest. With the splits ``train`` and ``test`` (or ``validation``)
            in it the latter is the held-out part; else a part is held out here. Near copies, and a person, are never on both sides.
        out: Folder of the new weights; must not exist yet, or be empty. They take its name, with ``-v1`` if that has no version.
        base: Weights to start from, as ``ferkit.ExpressionClassifier`` takes them; they need a ``model.keras``.
        detector: Finds the faces; the largest of each photo, or the one in its box, is the labelled one. ``"none"`` for ready crops.
            None: the pictures tell.
        publictest: ``fer2013.csv``: PublicTest is measured before and after, on the labels that both have.
        holdout: Share of every label that is held out, 0.05 to 0.5.
        seed: Of the split.
        unfreeze: Then train more of the network at a low rate, and keep as much of that as cross-validation says helps.
        licence: Of the new weights, for their card: an SPDX name.
        progress: Show bars on standard error.
        log: Called with one line per step; standard error by default.
        group: Who is on a picture, where a manifest does not say: ``"folder"`` (the first below the label's), a regular expression on the path
            below ``data``, or a column of the manifest.
        val: A folder or a manifest that is held out instead of a part of ``data``.
        folds: Instead of holding out a part, answer every face by a head that learnt from the other folds, 2 to 20; the new weights then learn from all faces.
        relabel: New names for the data's labels, ``{"1": "surprise"}``; ``""`` leaves a label out.
        report: Folder for ``report.html``, a page with the figures and every held-out file. It shows pictures of the data.
        prepared: Where the faces were found before, and are not looked for again: the OUTPUT of ``ferkit.batch`` on the same files, or
            that of ``ferkit.data.prepare``. ``data`` may then be None: what that OUTPUT was made of.

    Returns:
        The report, also in ``out/finetune.json``: ``weights``, ``base``, ``labels``, ``data`` (what was read, ignored and mapped), ``training`` and ``held_out_faces``
        (faces per label), ``start``, ``penalty``, ``cross_validation``, ``temperature``, ``unfrozen``, ``held_out`` (as
        ``ferkit.train.evaluate`` reports), ``held_out_files`` (file, label, answer and confidence of each), ``folds``, ``before`` (accuracy of each of the base's label sets on the held-out
        part), ``paired`` (against the best of them, with the 95 % interval), ``publictest``, ``seconds``, ``skipped``.

    Raises:
        DataError: No label folders, fewer than two labels with two usable faces that are not copies of each other, a person on both sides, or
            faces of one person alone to learn from.
        InputError: ``out`` is in use, an argument out of range, the base has no ``model.keras``, or ``prepared`` is no finished OUTPUT.
        WeightsError: The base cannot be found, or is damaged.

    Examples:
        >>> from ferkit.train import finetune
        >>> report = finetune("my_faces", "runs/mine-v1", "fer2013-n-v6", detector="none")
        >>> report["weights"], report["labels"]
        ('mine-v1', ['happy', 'sad'])
    """
    begun, log = time.monotonic(), log or to_stderr
    out = expanded(out)
    _check(out, holdout, seed, unfreeze, folds, val, report)
    before = _prepared(prepared, detector)
    data = _source(data, before)
    parts = list_parts(data, None if val is None else expanded(val), relabel, group)
    parts = parts if before is None else before.parts(parts)
    for line in parts.lines:
        log(line)
    check_parts(parts)
    known = None if publictest is None else read_csv(publictest, "PublicTest")
    classifier = ExpressionClassifier(base)
    need_classes(classifier.labels, classifier.name, "Fine-tuning")
    learnt = digests_in(classifier.folder)  # now: a damaged list is to cost no run
    found = _finder(before, detector, classifier)
    backbone = _backbone(base, classifier)
    table = gather(parts, classifier, found, None if folds else holdout, seed, progress)
    kept = f"each held out once in {folds} folds" if folds else f"{len(table.held_out)} held out"
    log(f"{len(table.training)} faces to learn from, {kept}, {len(table.labels)} labels: {', '.join(table.labels)}.")

    lesson, starts, choice, tuned = _learn(backbone, table, seed, unfreeze, progress, log)
    temperature = tuned.temperature if tuned is not None else fit_temperature(choice.logits, table.training.labels)
    with _appearing(out) as folder:
        unfrozen = "" if tuned is None or tuned.model is None else tuned.report["kept"]
        about = replace(_about(out, data, licence, seed, table, folds), unfrozen=unfrozen)
        model = backbone.with_head(choice.head, table.labels.name) if tuned is None or tuned.model is None else tuned.model
        new, spec = _write(folder, model, backbone, table.labels, temperature, begun, about)
        if folds:
            answers = by_folds(table.training, lesson, starts, folds)
        else:
            answers = Answers(table.held_out, new.predict_proba(table.held_out.images))
        won = measured(answers, Base(base, classifier))
        on_known = None if known is None else on_publictest(new, Base(base, classifier), known)
        _finish(folder, spec, won, on_known)
        write_learnt(folder, table.training.images, learnt)
        done: Finetuned = {
            **_settings(about, classifier.name, parts, table, choice, tuned, spec.outputs[0].temperature),
            **won,
            "publictest": on_known,
            "seconds": round(time.monotonic() - begun, 1),
            "skipped": [list(entry) for entry in table.skipped],
        }
        write_json(folder / "finetune.json", done)
    if report is not None:
        log(f"Wrote {write_report(_measurement(done, answers), expanded(report))}")
    return done


def _source(data: str | Path | None, before: Prepared | None) -> Path:
    """Return what to learn from. Raises InputError."""
    if before is not None:
        return before.data(None if data is None else expanded(data))
    if data is None:
        raise InputError("No data; expected a folder per label, a manifest, or prepared.", arguments=["data", "prepared"])
    return expanded(data)


def _prepared(prepared: str | os.PathLike[str] | None, detector: Any) -> Prepared | None:
    """Open what was prepared. Raises InputError."""
    if prepared is None:
        return None
    if detector is not None:
        raise InputError(
            "detector beside prepared: faces are not looked for again. Leave out one of the two.", arguments=["detector", "prepared"]
        )
    from .prepared import Prepared

    return Prepared(prepared)


def _finder(before: Prepared | None, detector: Detector | str | None, classifier: ExpressionClassifier) -> Detector | None:
    if before is not None:
        return before.detector(classifier) or FaceDetector()
    return None if detector is None else open_detector(detector)


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Yield a new folder that takes the name ``out`` once all of it is there; nothing stays if something fails."""
    out = out.resolve()  # where a link leads that stands in its place
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp's are for the owner alone
        if out.is_dir():
            out.rmdir()  # it is empty, or not what it was at the beginning; Windows gives nobody a name that is taken
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check(
    out: Path, holdout: Any, seed: Any, unfreeze: bool, folds: int | None, val: str | Path | None, report: str | Path | None
) -> None:
    """Look for what would end the run later. Raises InputError, MissingExtraError and WeightsError."""
    check_number("holdout", holdout, 0.05, 0.5)
    check_number("seed", seed, 0, whole=True)
    if folds is not None:
        check_number("folds", folds, 2, 20, whole=True)
        if val is not None or unfreeze:
            other = "val" if val is not None else "unfreeze"
            raise InputError(
                f"folds beside {other}: in folds every face is held out once, by a head alone. Leave out one of the two.",
                arguments=["folds", other],
            )
    writable(new_folder(out, "the weights"))
    if report is not None:
        from ...plots import check_plots

        check_plots()
        writable(expanded(report), 20 << 20, "report")
    check_exporter()


def _backbone(base: str | os.PathLike[str] | None, classifier: ExpressionClassifier) -> Backbone:
    from .backbone import Backbone

    backbone = Backbone(base, classifier)
    backbone.check_export()
    return backbone


def _learn(
    backbone: Backbone, table: Table, seed: int, unfreeze: bool, progress: bool, log: Callable[[str], None]
) -> tuple[Lesson, dict[str, Head], Choice, Tuned | None]:
    """Fit a head, and train on from it if that is asked for."""
    training = table.training
    features = backbone.features(training.images, progress=progress)
    lesson = Lesson(features, training.labels, table.groups, training.soft, training.weights)
    starts = _starts(backbone, table.labels)
    choice = choose_head(lesson, starts)
    log(f"Cross-validated accuracy {choice.accuracy:.1%} (n = {len(training)}), starting from {choice.start}, penalty {choice.penalty:g}.")
    if not unfreeze:
        return lesson, starts, choice, None
    from .unfreezing import unfreeze_backbone

    return lesson, starts, choice, unfreeze_backbone(backbone, training, lesson, choice, seed, log, starts[choice.start])


def _write(folder: Path, model: Any, backbone: Backbone, labels: LabelSet, temperature: float, begun: float, about: About) -> Any:
    from .bundle import write_bundle

    spec = write_bundle(folder, model, backbone, labels, temperature, begun, about)
    return ExpressionClassifier(folder), spec


def _finish(folder: Path, spec: Any, report: Measured, publictest: Paired | None) -> None:
    from .bundle import finish_bundle

    finish_bundle(folder, spec, report, publictest)


def _about(out: Path, data: Path, licence: str, seed: int, table: Table, folds: int | None) -> About:
    source = data.resolve().name
    return About(
        name=versioned(out.resolve().name),
        data=f"{source}, {len(table.labels)} labels",
        source=source,
        licence=licence,
        seed=seed,
        faces=len(table.training),
        held_out=len(table.held_out),
        folds=folds,
        persons=len({person for person in (*table.training.persons, *table.held_out.persons) if person}),
    )


def _settings(about: About, base: str, parts: Parts, table: Table, choice: Choice, tuned: Tuned | None, temperature: float) -> Settings:
    training = table.training
    right = choice.logits.argmax(axis=1) == training.labels
    return {
        "weights": about.name,
        "base": base,
        "labels": list(table.labels),
        "data": list(parts.lines),
        "training": _counts(training, table.labels),
        "held_out_faces": _counts(table.held_out if len(table.held_out) else training, table.labels),
        "persons": about.persons,
        "start": choice.start,
        "penalty": choice.penalty,
        "cross_validation": {
            "accuracy": choice.accuracy,
            "loss": choice.loss,
            "n": len(training),
            "folds": [
                {"fold": int(k) + 1, "n": int((choice.folds == k).sum()), "accuracy": float(right[choice.folds == k].mean())}
                for k in np.unique(choice.folds)
            ],
        },
        "unfrozen": tuned.report if tuned is not None else None,
        "temperature": temperature,
    }


def _measurement(report: Finetuned, answers: Answers) -> Measurement:
    figures: Report = {
        **report["held_out"],
        "weights": report["weights"],
        "split": "held-out part" if report["folds"] is None else f"all faces, in {len(report['folds'])} folds",
        "labels": CUSTOM,
        "truth": "the data's labels",
        "tta": "none",
        "skipped": report["skipped"],
        "data": report["data"],
        "learnt": None,
    }
    return Measurement(figures, answers.faces.images, answers.probabilities, answers.faces.labels, answers.faces.files)


def versioned(name: str) -> str:
    """Return a name of weights that ends in a version: ``mine`` is ``mine-v1``, ``mine-v2`` stays."""
    return name if re.search(r"-v[1-9]\d*$", name) else f"{name}-v1"


def _starts(backbone: Backbone, labels: LabelSet) -> dict[str, Head]:
    """Return the base's answers that cover the labels as linear heads; a blank one where it has none."""
    starts = {}
    for output in backbone.classifier.spec.outputs:
        columns = columns_of(labels.classes, output.labels)
        if columns is not None:
            starts[output.name] = backbone.head(output, columns)
    if not starts:
        starts["blank"] = Head(np.zeros((backbone.head_inputs, len(labels))), np.zeros(len(labels)))
    return starts


def _counts(faces: Faces, labels: LabelSet) -> dict[str, int]:
    return dict(zip(labels, np.bincount(faces.labels, minlength=len(labels)).tolist(), strict=True))


def format_finetuning(report: Finetuned) -> str:
    """Return a report of ``finetune`` as text for people."""
    from ...evaluation.figures import told

    held = report["held_out"]
    right = round(held["accuracy"] * held["n"])
    where = "held out" if report["folds"] is None else f"{len(report['folds'])} folds"
    lines = [
        f"{report['weights']}: {', '.join(report['labels'])}",
        f"learnt from  {sum(report['training'].values()):,} faces, from {report['base']} ({report['start']}), in {report['seconds']:.0f} s",
        f"{where:<12} accuracy {told(right, held['n'])}   ECE {held['ece']:.3f}",
    ]
    lines += [f"  {name:<10} {told(row['right'], row['n'])}" for name, row in held["per_label"].items()]
    for row in report["folds"] or ():
        lines.append(f"  fold {row['fold']:<5} {told(round(row['accuracy'] * row['n']), row['n'])}")
    if report["before"]:
        lines.append(f"before       {', '.join(f'{name} {value:.1%}' for name, value in report['before'].items())}   n = {held['n']:,}")
    for title, paired in (("gain", report["paired"]), ("PublicTest", report["publictest"])):
        if paired is not None:
            low, high = (100 * value for value in paired["ci95"])
            lines.append(
                f"{title:<12} {100 * paired['difference']:+.1f} points over {paired['against']} ({paired['before']:.1%} to {paired['after']:.1%})   "
                f"95 % interval {low:+.1f} to {high:+.1f}   n = {paired['n']:,}   exact McNemar p = {paired['p_value']:.2g}"
            )
    if report["unfrozen"] is not None:
        lines.append(f"unfrozen     {report['unfrozen']['kept']} kept, by cross-validation on {report['unfrozen']['n']:,} faces")
    if report["skipped"]:
        lines.append(f"{len(report['skipped'])} picture(s) or folder(s) were not used.")
    return "\n".join(lines)
