"""Model cards, written from the spec alone, so that no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluation.figures import told
from ...evaluation.measuring import AGREED
from ...files import write_bytes
from ...labels import CLASSES
from ...text import ESCAPES
from ...weights.records import Heads
from ...weights.releases import SUPERSEDED, TABLE, UNRELEASED
from ...weights.specs import EnsembleSpec, WeightsSpec

__all__ = ["PHOTOS_SPLIT", "write_card"]

PHOTOS_SPLIT = "photos"  # the ``split`` of a spec's figures on portrait photos, benchmarks/photos.py
_APPARENT = (
    "It reads the *apparent* expression of a face, as the annotators of {pictures} saw it. It does not read what a person feels, and it is "
    "no basis for decisions about people."
)
_FAIRNESS = (
    "Whose faces it answers worse, by size, tilt, turn, blur and light, mirrored and covered, and what is not measured: "
    "[fairness](../../docs/fairness.md) in ferkit's documentation."
)


def write_card(path: Path, spec: WeightsSpec | EnsembleSpec) -> None:
    """Write ``card.md``. Raises WeightsError if it cannot be written."""
    lines = _ensemble(spec) if isinstance(spec, EnsembleSpec) else _lines(spec)
    write_bytes(path, ("\n".join(lines) + "\n").encode("utf-8", ESCAPES))


def _lines(spec: WeightsSpec) -> list[str]:
    net, training = spec.architecture, spec.training
    default = spec.output(spec.default_output)
    lines = [
        f"# {spec.name}",
        "",
        f"Facial expression weights of ferkit: {net['parameters']:,} parameters, {net['macs'] / 1e6:.1f} M multiply-adds on a "
        f"{'grey face' if spec.channels == 1 else 'face in color'} of {spec.input['size']}x{spec.input['size']} pixels, of which it sees the middle {spec.window}x{spec.window}.",
        "",
        _apparent(spec),
        "",
        "## Label sets",
        "",
        f"| name | {default.kind} | temperature |",
        "|---|---|---|",
        *(f"| `{o.name}`{' (default)' if o is default else ''} | {', '.join(o.labels)} | {o.temperature} |" for o in spec.outputs),
        "",
    ]
    for o in spec.outputs:
        if len(o.columns) > 1:
            exponents = " and ".join(f"{w:g}" for w in o.weights)
            lines += [
                f"`{o.name}` multiplies what the network's heads answer for FER2013's labels; the exponents of the heads are {exponents}.",
                "",
            ]
    lines += ["## Measured", ""]
    if "base" in training:
        lines += _finetuned(spec)
    elif spec.metrics and default.kind != CLASSES:
        lines += _several(spec)
    elif spec.metrics:
        lines += _measured(spec)
    else:
        lines += ["Nothing was measured, as the run had no validation data.", ""]
    lines += [
        "## Trained",
        "",
        f"- Data: {training['data']}, {training['faces']:,} faces. The FER+ votes were given later and by other people than FER2013's own labels."
        if "FER+" in training["data"]
        else f"- Data: {training['data']}, {training['faces']:,} faces.",
        _recipe(spec),
        *([_heads(training["heads"])] if "heads" in training else []),
        f"- Crop of a detected face: {_crop(spec)}",
        *(
            ["- The files store float16, which halves their size; the network computes in float32."]
            if training["recipe"].get("release", {}).get("precision") == "float16"
            else []
        ),
        f"- Licence: {spec.licence}.",
        *data_and_licences(_sources(spec)),
    ]
    return lines


# What is known of the rights in what weights learnt from; docs/licences.md says it at length.
RIGHTS = {
    "fer2013": "FER2013's pictures were collected by a search engine, and their rights were never cleared.",
    "photos": "The portraits are press photos, and no licence of theirs is known.",
    "own": "The pictures that they learnt from keep the conditions under which they came.",
    "members": "The data of the members has conditions of its own, which their cards name.",
    "inherited": "The weights that they began from and the weights that taught them have conditions of their own, which their cards name.",
}


def data_and_licences(sources: Sequence[str]) -> list[str]:
    """Return the lines of a card's section on what the data's conditions mean for users; ``sources`` are keys of RIGHTS."""
    return [
        "",
        "## Data and licences",
        "",
        "The licence above is that of the weights. It does not cover the data that they learnt from, which does not come with them:",
        "",
        *(f"- {RIGHTS[source]}" for source in sources),
        "",
        "Research, teaching and private use are common practice. For a product you have to decide yourself, or train weights of your own on pictures whose rights "
        "you hold. `docs/licences.md` in ferkit's documentation says more. `docs/law.md` says where reading expressions is forbidden, for example at work and in "
        "schools in the European Union.",
    ]


def _sources(spec: WeightsSpec) -> list[str]:
    if "base" in spec.training:
        return ["own", "inherited"]
    recipe, data = spec.training["recipe"], spec.training["data"].lower()
    found = [name for name, word in (("fer2013", "fer2013"), ("photos", "photo")) if word in data]
    begun = recipe.get("training", {}).get("initial") or recipe.get("teacher")
    return [*(found or ["own"]), *(["inherited"] if begun else [])]


def _apparent(spec: WeightsSpec) -> str:
    web = "base" not in spec.training and "fer2013" in spec.training["data"].lower()
    return _APPARENT.format(pictures="small web pictures" if web else "the pictures that it learnt from")


def _measured(spec: WeightsSpec | EnsembleSpec, fitted: str = "the temperatures (one number for each label set)") -> list[str]:
    photos = [m for m in spec.metrics if m["split"] == PHOTOS_SPLIT]
    faces = [m for m in spec.metrics if m["split"] != PHOTOS_SPLIT]
    return [
        *(_on_photos(spec, photos) if photos else []),
        f"These rows were measured on {_selected_on(spec)}, which also served to fit {fitted}{' and to choose among recipes' if spec.name in (*TABLE, *SUPERSEDED) else ''}. "
        f"{'PrivateTest' if _is_fer2013(spec) else 'A test part'} was not used.",
        "",
        *_table(faces),
        f"One command measures each row{'; `fer2013new.csv` holds the FER+ votes' if any('FER+' in m['truth'] for m in faces) else ''}:",
        "",
        "```console",
        *(_command(spec, m) for m in faces),
        "```",
        "",
        *([_FAIRNESS, ""] if spec.name in TABLE else []),
    ]


def _several(spec: WeightsSpec | EnsembleSpec) -> list[str]:
    """Return the figures of several labels at once, or of values."""
    lines = [f"On {_selected_on(spec)}. Intervals are of 95 %, by bootstrap over the faces."]
    for m in spec.metrics:
        figures = [name for name in m["mean"] if name != "ci95"]
        lines += [
            "",
            f"Views: {m['tta']}, n = {m['n']:,}.",
            "",
            f"| set | n | {' | '.join(figures)} |",
            f"|---|---|{'---|' * len(figures)}",
        ]
        for name, row in (*m["per_output"].items(), ("mean", {"n": m["n"], **m["mean"]})):
            lines += [f"| {name} | {row['n']:,} | {' | '.join(_with_interval(row, figure) for figure in figures)} |"]
    source = spec.training["source"]
    return [
        *lines,
        "",
        "```console",
        f"ferkit evaluate --weights {spec.name} --data {source} --split {spec.metrics[0]['split']}",
        "```",
        "",
    ]


def _with_interval(row: Any, figure: str) -> str:
    interval = row["ci95"][figure]
    return "-" if row[figure] is None or interval is None else f"{row[figure]:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _is_fer2013(spec: WeightsSpec | EnsembleSpec) -> bool:
    return "fer2013" in str(spec.training.get("source", "")).lower()


def _selected_on(spec: WeightsSpec | EnsembleSpec) -> str:
    """Name the faces that temperatures were fitted on: PublicTest is a part of FER2013, and of nothing else."""
    return spec.selection if _is_fer2013(spec) else f"the validation part of {spec.training.get('source') or 'the data'}"


def _on_photos(spec: WeightsSpec | EnsembleSpec, rows: list[Any]) -> list[str]:
    return [
        f"These rows were measured on portrait photos, with the labels `{rows[0]['labels']}`. The largest face that is found is the one that counts, and a photo in which none is "
        "found is an error. The photos' own labels are noisy, so two readers labelled them again, without seeing the label or the answer. The exponents of "
        "the heads were chosen with these photos.",
        "",
        *_table(rows),
        "One command measures them all:",
        "",
        "```console",
        f"python benchmarks/photos.py --photos PHOTOS --weights {spec.name}",
        "```",
        "",
    ]


def _table(rows: list[Any]) -> list[str]:
    return [
        "| labels | truth | test-time augmentation | n | accuracy | 95 % interval | mean recall | macro-F1 | ECE |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_metric_row(m) for m in rows),
        "",
        "Recall of each label, without test-time augmentation:",
        "",
        *(f"- `{m['labels']}` ({m['truth']}): {_recall(m)}" for m in rows if "recall" in m),
        "",
    ]


def _ensemble(spec: EnsembleSpec) -> list[str]:
    net, names = spec.architecture, [member["name"] for member in spec.members]
    lines = [
        f"# {spec.name}",
        "",
        f"An ensemble: {len(names)} weights that answer as one, with {net['parameters']:,} parameters and {net['macs'] / 1e6:.1f} M multiply-adds "
        "together. It also says how much its members disagree.",
        "",
        _APPARENT.format(pictures="its members' pictures"),
        "",
        "## Members",
        "",
        f"The answer is the mean of their {'probabilities' if spec.combine == 'probability' else 'calibrated logits'}, weighted as follows:",
        "",
        f"| labels | {' | '.join(names)} | temperature |",
        f"|---|{'---|' * len(names)}---|",
        *(f"| `{o.name}` | {' | '.join(f'{w:.3f}' for w in o.weights)} | {o.temperature} |" for o in spec.outputs),
        "",
        "## Measured",
        "",
    ]
    if not spec.metrics:
        return [*lines, "Not measured, as it was made without data.", "", f"Licence: {spec.licence}.", *data_and_licences(["members"])]
    return [
        *lines,
        *_measured(spec, "the members' weights and the temperatures"),
        "The members' own cards say what they were trained on.",
        "",
        f"Licence: {spec.licence}.",
        *data_and_licences(["members"]),
    ]


def _recall(m: Any) -> str:
    """Return the recall of each label, with its n and interval where the spec has the counts."""
    if "per_label" in m:
        return "; ".join(f"{name} {told(row['right'], row['n'])}" for name, row in m["per_label"].items())
    return ", ".join(f"{k} {v:.1%}" for k, v in m["recall"].items())


def _finetuned(spec: WeightsSpec) -> list[str]:
    persons = ", no near copy and no person" if spec.training.get("persons") else " and no near copy"
    where = (
        "the held-out part of the data, which shares"
        if not spec.training.get("folds")
        else (
            f"all faces, each answered by a head that learnt from other ones, in {spec.training['folds']} folds. These weights then learnt from all of "
            "them, so no face is left to measure the weights themselves on. A fold shares"
        )
    )
    lines = [f"On {where} no picture{persons} with {'the others' if spec.training.get('folds') else 'the part that was learnt from'}:", ""]
    for m in spec.metrics:
        lines += [f"- accuracy {told(round(m['accuracy'] * m['n']), m['n'])}, ECE {m['ece']:.3f}."]
        lines += [f"- Recall per label: {_recall(m)}."]
        for title, paired in (("the same faces", m.get("before")), ("FER2013's PublicTest", m.get("publictest"))):
            if paired:
                low, high = paired["ci95"]
                lines += [
                    f"- The base, labels `{paired['against']}`, on {title}: {paired['before']:.1%}; these weights {paired['after']:.1%}. "
                    f"Difference {100 * paired['difference']:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}, n = {paired['n']:,}."
                ]
    return [*lines, ""]


def _recipe(spec: WeightsSpec) -> str:
    training = spec.training
    if "base" in training:
        base = training["base"]
        part = training.get("unfrozen")
        what = f"a new head, and the {part} trained on" if part else "a new head on a network that was not changed"
        return f"- Fine-tuned from `{base['name']}` (trained on {base['data']}): {what}; seed {training['seed']}, on {training['machine']}."
    recipe = training["recipe"]
    line = f"- Recipe: `{recipe['name']}`, seed {training['seed']}, {training['epochs']} epochs, {training['hours']} hours on {training['machine']}."
    if initial := recipe.get("training", {}).get("initial"):
        line += f" It began from {_begun_from(str(initial))}, whose epochs and hours are not counted here."
    if teacher := recipe.get("teacher"):
        line += f" Distilled from {', '.join(f'`{name}`' for name in teacher['weights'])}."
    return line


def _begun_from(initial: str) -> str:
    """Name what a run began from without its maker's folders, which nobody else has."""
    name = Path(initial).name
    if name in UNRELEASED:
        release = UNRELEASED[name]
        return f"a run that was not released, itself begun from {'nothing' if release is None else f'`{release}`'}"
    return f"the weights `{name}`"


def _heads(heads: Heads) -> str:
    counted = "".join(f", {label} counting {count:g} times" for label, count in heads.get("count", {}).items())
    return (
        f"- Heads: fitted anew on the features of `{heads['base']}`, whose network this is otherwise; {heads['portraits']:,} portraits teach "
        f"the product of both heads, FER2013's faces each of them (`benchmarks/photo_heads.py`, setting {heads['settings']}{counted}). The setting was chosen "
        "with the photos above, in five folds by person."
    )


def _crop(spec: WeightsSpec) -> str:
    crop = spec.crop
    if crop.mode == "square":
        return f"a square of {crop.scale} times the box's height, its centre moved by {list(crop.centre)} heights."
    if crop.mode == "aligned":
        return f"turned and scaled so that its landmarks lie where those of the training faces lie (scale {crop.scale:g}); without landmarks a square on the box."
    return f"the box itself, stretched to a square (scale {crop.scale:g})."


def _metric_row(m: Any) -> str:
    low, high = m["ci95"]
    return (
        f"| {m['labels']} | {m['truth']} | {m['tta']} | {m['n']:,} | {m['accuracy']:.2%} | {low:.2%} to {high:.2%} "
        f"| {m['mean_recall']:.4f} | {m['macro_f1']:.4f} | {m['ece']:.4f} |"
    )


def _command(spec: WeightsSpec | EnsembleSpec, m: Any) -> str:
    plus = " --ferplus fer2013new.csv" if "FER+" in m["truth"] else ""
    plus += " --agreed" if m["truth"] == AGREED else ""
    tta = "" if m["tta"] == "none" else f" --tta {m['tta']}"
    return f"ferkit evaluate --weights {spec.name} --data {spec.training['source']} --split {m['split']} --labels {m['labels']}{plus}{tta}"
