"""Whose faces a release answers worse: error by what can be measured on a face without guessing who it is.

Two sets, the default output of each release: the photos where label and two blind readings agree, found and cut as ``Pipeline`` does, and the
faces of PublicTest whose FER2013 label is FER+'s majority too. By the size of the face in its photo, how far the head is tilted (roll) and
turned (yaw, by where the nose lies between the eyes), blur, and brightness and contrast of the skin between eyes and mouth. Groups
differ in their labels too; so each group's accuracy is also given with every label counted as often as in the whole set, and a permutation
test, within labels, says whether the groups differ beyond chance. Then the same faces mirrored, and with eyes or mouth covered by drawing.
Of pictures of people in face masks no expression is known: for them the answers are counted.

    python benchmarks/fairness.py --photos PHOTOS --data fer2013.csv --ferplus fer2013new.csv --faces FACES \
        --weights fer2013-n-v6 fer2013-s-v6 fer2013-b-v6 fer2013-ensemble-v6 --out benchmarks/results/fairness.json --page docs/fairness.md
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _record import record
from crop_geometry import measure as points_in_frames
from numpy.typing import NDArray
from photos import TRUTHS, cut, detected, read_photos

from ferkit import FaceDetector, load_image
from ferkit.classifiers.ensemble import open_classifier
from ferkit.crops import crop_face, resized
from ferkit.data import read_faces
from ferkit.evaluation.comparing import compare
from ferkit.evaluation.figures import wilson
from ferkit.geometry import iou
from ferkit.images import to_grey
from ferkit.labels import FER7

FRAME = 48
# Of FER2013's frame, in which eyes, nose and mouth lie where benchmarks/results/crop_geometry.json says.
SKIN = (slice(22, 34), slice(10, 38))
COVERED = {
    "eyes, as by dark glasses": (slice(12, 24), slice(5, 43), 40),
    "mouth and nose, as by a mask": (slice(27, 48), slice(5, 43), 190),
}
INNER_EDGES = {"roll, degrees": (-10.0, -4.0, 4.0, 10.0), "yaw, nose off the middle / eye distance": (-0.2, -0.08, 0.08, 0.2)}
GROUPS = {"photos": 3, "PublicTest": 5}  # of equal size, for what has no edges of its own
PERMUTATIONS = 2000
MASK_SIDE = 40.0  # px: a face with a mask below this shows little


@dataclass(frozen=True)
class FaceSet:
    """Faces to measure on: crops as the networks take them, uint8 ``(n, 48, 48)``, true columns, and properties, NaN where not known."""

    name: str
    crops: NDArray[np.uint8]
    truth: NDArray[np.int64]
    properties: dict[str, NDArray[np.float64]]


def of_points(points: NDArray[Any] | None) -> tuple[float, float]:
    """Return roll in degrees, clockwise, and by how much of the eyes' distance the nose lies off their middle, to the picture's right."""
    if points is None or not np.isfinite(points).all():
        return math.nan, math.nan
    right, left, nose = np.asarray(points, np.float64)[:3]
    along = left - right
    offset = float((nose - (right + left) / 2) @ along / (along @ along))
    return math.degrees(math.atan2(along[1], along[0])), offset


def of_crop(crop: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return sharpness (deviation of the Laplacian over that of the pixels), and mean and deviation of the skin's grey levels."""
    values, skin = crop.astype(np.float64), crop[SKIN].astype(np.float64)
    return float(cv2.Laplacian(values, cv2.CV_64F).std() / max(values.std(), 1.0)), float(skin.mean()), float(skin.std())


def properties(crops: NDArray[np.uint8], points: Sequence[NDArray[Any] | None]) -> dict[str, NDArray[np.float64]]:
    roll, yaw = np.array([of_points(p) for p in points]).T
    sharp, bright, contrast = np.array([of_crop(crop) for crop in crops]).T
    names = (*INNER_EDGES, "sharpness", "brightness of the skin", "contrast of the skin")
    return dict(zip(names, (roll, yaw, sharp, bright, contrast), strict=True))


def from_photos(folder: Path, geometry: Any) -> FaceSet:
    """Read the photos where all three agree; a photo without a face is not in the set, and there is none."""
    photos = read_photos(folder)
    faces = detected(photos, FaceDetector())
    truth = photos.truths[TRUTHS[0]]
    kept = [i for i, face in enumerate(faces) if face is not None and truth[i]]
    crops = [
        c for i, c in zip((i for i, f in enumerate(faces) if f is not None), cut(photos, faces, geometry), strict=True) if i in set(kept)
    ]
    grey = np.stack([resized(to_grey(crop), FRAME) for crop in crops])
    measured = properties(grey, [None if faces[i].landmarks is None else np.array(faces[i].landmarks) for i in kept])
    size = np.array([max(faces[i].width, faces[i].height) for i in kept])
    columns = np.array([FER7.index(str(truth[i])) for i in kept])
    return FaceSet("photos", grey, columns, {"size of the face, px": size, **measured})


def from_public_test(data: str, ferplus: str) -> FaceSet:
    """Read the faces on which FER2013's label and FER+'s majority agree; their points are looked for in the enlarged frame."""
    faces = read_faces(data, "PublicTest", ferplus).agreed()
    found, _, points = points_in_frames(FaceDetector(), faces.images)
    rows = iter(points)
    return FaceSet("PublicTest", faces.images, faces.labels, properties(faces.images, [next(rows) if f else None for f in found]))


def grouped(values: NDArray[np.float64], name: str, groups: int) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return a name and the members of each group; faces whose value is not known are in none."""
    known = np.isfinite(values)
    inner = INNER_EDGES.get(name) or tuple(np.quantile(values[known], np.arange(1, groups) / groups))
    edges = (-math.inf, *inner, math.inf)
    digits = 0 if abs(inner[-1]) >= 10 else 2
    names = [f"below {inner[0]:.{digits}f}", *(f"{a:.{digits}f} to {b:.{digits}f}" for a, b in itertools.pairwise(inner))]
    names.append(f"{inner[-1]:.{digits}f} and more")
    return [(n, known & (values >= low) & (values < high)) for n, low, high in zip(names, edges, edges[1:], strict=False)]


def adjusted(right: NDArray[np.bool_], truth: NDArray[np.int64], own: NDArray[np.bool_]) -> float:
    """Return a group's accuracy with every label that it has counted as often as in the whole set."""
    present = np.unique(truth[own])
    shares = np.array([(truth == label).mean() for label in present])
    return float(shares @ [right[own & (truth == label)].mean() for label in present] / shares.sum())


def by_property(right: NDArray[np.bool_], faces: FaceSet) -> dict[str, Any]:
    out = {}
    for name, values in faces.properties.items():
        groups = [(label, own) for label, own in grouped(values, name, GROUPS[faces.name]) if own.any()]
        rows = []
        for label, own in groups:
            count, n = int(right[own].sum()), int(own.sum())
            rows.append(
                {
                    "group": label,
                    "n": n,
                    "accuracy": round(count / n, 4),
                    "ci95": [round(v, 4) for v in wilson(count, n)],
                    "adjusted": round(adjusted(right, faces.truth, own), 4),
                }
            )
        out[name] = {"groups": rows, "p_value": round(permuted(right, faces.truth, [own for _, own in groups]), 4)}
    return out


def permuted(right: NDArray[np.bool_], truth: NDArray[np.int64], groups: list[NDArray[np.bool_]]) -> float:
    """Return how often groups drawn by chance, each label's faces among themselves, differ as much as these do."""
    members, known = np.array(groups, np.float64), np.any(groups, axis=0)
    recall = {label: right[known & (truth == label)].mean() for label in np.unique(truth[known])}
    surplus = np.where(known, right - np.array([recall.get(label, 0.0) for label in truth]), 0.0)
    sizes, rng = members.sum(axis=1), np.random.default_rng(0)
    spread = float(((members @ surplus) ** 2 / sizes).sum())
    of_label = [np.flatnonzero(known & (truth == label)) for label in recall]
    more = 0
    for _ in range(PERMUTATIONS):
        drawn = surplus.copy()
        for rows in of_label:
            drawn[rows] = surplus[rng.permutation(rows)]
        more += float(((members @ drawn) ** 2 / sizes).sum()) >= spread - 1e-9
    return (more + 1) / (PERMUTATIONS + 1)


def covered(crops: NDArray[np.uint8], rows: slice, columns: slice, grey: int) -> NDArray[np.uint8]:
    out = crops.copy()
    out[:, rows, columns] = grey
    return out


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {k: [round(x, 4) for x in v] if isinstance(v, list) else round(v, 4) for k, v in figures.items()}


def measured(classifier: Any, faces: FaceSet) -> dict[str, Any]:
    """Measure one release on one set."""
    plain, mirrored = (classifier.predict_proba(np.ascontiguousarray(crops)) for crops in (faces.crops, faces.crops[:, :, ::-1]))
    right = plain.argmax(axis=1) == faces.truth
    count, n = int(right.sum()), len(right)
    drawn = {}
    for name, (rows, columns, grey) in COVERED.items():
        answers = classifier.predict_proba(covered(faces.crops, rows, columns, grey))
        drawn[name] = {
            **rounded(compare(right, answers.argmax(axis=1) == faces.truth)),
            "mean_confidence": round(float(answers.max(1).mean()), 4),
        }
    return {
        "n": n,
        "accuracy": round(count / n, 4),
        "ci95": [round(v, 4) for v in wilson(count, n)],
        "by_property": by_property(right, faces),
        "mirrored": {
            **rounded(compare(right, mirrored.argmax(axis=1) == faces.truth)),
            "answers_that_change": round(float((plain.argmax(axis=1) != mirrored.argmax(axis=1)).mean()), 4),
        },
        "covered": drawn,
    }


def masked_crops(folder: Path, geometry: Any) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return the crops of the faces that people marked in pictures of people with face masks, as far as the detector finds them."""
    detector, crops, marked = FaceDetector(), [], 0
    for picture in json.loads((folder / "train" / "labels.json").read_text(encoding="utf-8")):
        boxes = [f["box"] for f in picture["faces"] if f["use"] == "pos" and "human" in f["origin"]]
        boxes = [b for b in boxes if max(b[2] - b[0], b[3] - b[1]) >= MASK_SIDE]
        if picture["source"] != "mask" or not boxes:
            continue
        pixels = load_image(folder / "train" / picture["file"])
        faces = detector.detect_rgb(pixels)
        marked += len(boxes)
        overlap = iou(np.array(boxes, np.float64), np.array([f.box for f in faces], np.float64).reshape(-1, 4))
        for row in overlap:
            if len(faces) and row.max() >= 0.5:
                face = faces[int(row.argmax())]
                crops.append(resized(to_grey(crop_face(pixels, face.box, geometry, face.landmarks)), FRAME))
    return np.stack(crops), {"marked": marked, "found": len(crops)}


def on_masks(classifier: Any, crops: NDArray[np.uint8]) -> dict[str, Any]:
    answers = classifier.predict_proba(crops)
    shares = {label: round(float((answers.argmax(axis=1) == k).mean()), 4) for k, label in enumerate(classifier.labels)}
    confidence = answers.max(axis=1)
    return {
        "answers": shares,
        "mean_confidence": round(float(confidence.mean()), 4),
        "below_0.5": round(float((confidence < 0.5).mean()), 4),
    }


def plot(results: dict[str, dict[str, Any]], where: str, out: Path) -> None:
    """Draw accuracy by property, a color for each release."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    first = next(iter(results.values()))[where]
    names = list(first["by_property"])
    figure, axes = pyplot.subplots(2, 3, figsize=(13.5, 7.2), sharey=True, layout="constrained")
    for axis, name in zip(axes.flat, names, strict=False):
        for number, (weights, measured_there) in enumerate(results.items()):
            rows = measured_there[where]["by_property"][name]["groups"]
            at = np.arange(len(rows)) + (number - (len(results) - 1) / 2) * 0.12
            middle = np.array([row["accuracy"] for row in rows])
            spread = np.abs(np.array([row["ci95"] for row in rows]).T - middle)
            axis.errorbar(at, middle, spread, fmt="o", ms=4, capsize=2, lw=1, label=weights)
            axis.plot(at, [row["adjusted"] for row in rows], "_", ms=9, color="black", alpha=0.6)
        axis.set_xticks(range(len(rows)), [f"{row['group']}\nn {row['n']}" for row in rows], fontsize=8)
        axis.set_title(name, fontsize=11)
        axis.yaxis.set_major_locator(ticker.MaxNLocator(steps=[1, 2, 5, 10]))  # of whole per cent
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.grid(alpha=0.3, axis="y")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    legend_in = axes.flat[-1] if len(names) < axes.size else axes.flat[0]
    title = "accuracy, 95 % interval\nblack: labels as in the whole set"
    legend_in.legend(handles, labels, loc="upper left" if len(names) < axes.size else "lower right", title=title, fontsize=9)
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def chance(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def property_tables(results: dict[str, dict[str, Any]], where: str) -> list[str]:
    lines = []
    for name, first in next(iter(results.values()))[where]["by_property"].items():
        groups = first["groups"]
        lines += [
            f"| {name} | " + " | ".join(f"{row['group']} (n {row['n']})" for row in groups) + " | p |",
            "|---" * (len(groups) + 2) + "|",
        ]
        for weights, there in results.items():
            own = there[where]["by_property"][name]
            cells = [
                f"{percent(r['accuracy'])} ({percent(r['ci95'][0])} to {percent(r['ci95'][1])}), {percent(r['adjusted'])}"
                for r in own["groups"]
            ]
            lines.append(f"| `{weights}` | {' | '.join(cells)} | {chance(own['p_value'])} |")
        lines.append("")
    return lines


def pair_table(results: dict[str, dict[str, Any]], entry: Any, head: str) -> list[str]:
    lines = [f"| {head} | as it is | then | difference, 95 % interval | won, lost | p |", "|---|---|---|---|---|---|"]
    for weights, there in results.items():
        for where, measured_there in there.items():
            c = entry(measured_there)
            change = f"{100 * c['difference']:+.1f} ({100 * c['ci95'][0]:+.1f} to {100 * c['ci95'][1]:+.1f})"
            cells = [
                f"`{weights}`, {where} (n {c['n']:,})",
                percent(c["before"]),
                percent(c["after"]),
                change,
                f"{c['gained']}, {c['lost']}",
            ]
            lines.append(f"| {' | '.join(cells)} | {chance(c['p_value'])} |")
    return [*lines, ""]


METHOD = """# Fairness

<!-- written by benchmarks/fairness.py -->

Whose faces are answered worse? Measured by what can be seen on a face without guessing who it is: the default output (`photos`) of each release, single view.

In short: {short}

- **photos**: the {photos} photos of `agreed.csv` on which the set's label and two blind readings agree; faces found and cut as `Pipeline` does. Groups of a third each, or between fixed edges.
- **PublicTest**: the {public:,} faces of FER2013's PublicTest whose label is FER+'s majority too, in their own frame of 48 pixels. Groups of a fifth each, or between fixed edges.

Each cell has the accuracy with its 95 % interval (Wilson), and after the comma the accuracy with every label counted as often as in the whole set: groups differ in their labels, and labels differ in how hard
they are. `p` is from a permutation test within labels (2,000 draws): how often groups drawn by chance differ as much. There are {tests} such tests on this page, so about {chance:.0f} of them fall below 0.05 by chance alone; below {bonferroni:.4f}
(0.05 / {tests}, Bonferroni) lie: {beyond}.

Roll is the tilt of the line between the eyes, clockwise. Yaw is not an angle but what landmarks say of it: how far the nose lies off the middle between the eyes, along their line, over their distance; positive is to the picture's right.
Sharpness is the deviation of the Laplacian over that of the pixels, in the crop of 48 pixels. Skin is the part of the crop between eyes and mouth, in grey levels: its brightness is exposure and complexion together, and
says nothing about either alone.
"""

NOT_MEASURED = """## What is not measured

- **Age, gender, ethnicity and skin tone.** No set here has them labelled, and ferkit does not guess them. FER2013 and the photos are of people whom news and search engines showed in 2007 and 2013; whoever is rare there is answered with less practice. An equal error between groups of people is not shown by this page.
- **Small faces in photos.** The photos' faces are all about as large; what shrinking costs is in [robustness](robustness.md).
- **Glasses and beards.** Nobody labelled them here. The drawn bars stand for dark glasses and masks, and are cruder than both.
- **Expressions behind real masks.** The pictures of people in face masks have no expressions labelled, and not even which face wears one; only how the answers fall is counted.
- **Disgust and fear on photos.** Of the photos on which all agree, 3 and 4 show them.
- **Who labels.** Both sets say what annotators saw in a still face, not what a person felt.
- **Faces that are not found.** All photos here have their face found; whom the detector misses is in [the benchmarks](../benchmarks/README.md#face-detectors).
"""


def beyond_chance(results: dict[str, dict[str, Any]]) -> tuple[int, str]:
    """Return how many permutation tests there are, and which of them pass Bonferroni's bound, as a phrase."""
    tests = [
        (own["p_value"], f"{name.split(',')[0]} on {where} ({weights})")
        for weights, there in results.items()
        for where, there_measured in there.items()
        for name, own in there_measured["by_property"].items()
    ]
    found = [phrase for p, phrase in tests if p < 0.05 / len(tests)]
    return len(tests), "; ".join(found) or "none"


def in_short(results: dict[str, dict[str, Any]], beyond: str) -> str:
    """Say in three sentences what the tables show."""
    sets = [there for weights in results.values() for there in weights.values()]
    covers = [f"{name}: {span([-there['covered'][name]['difference'] for there in sets])} points" for name in COVERED]
    changed = span([there["mirrored"]["answers_that_change"] for there in sets])
    least, which = min(
        (own["p_value"], f"{name.split(',')[0]} on {where} (`{weights}`)")
        for weights, there in results.items()
        for where, measured_there in there.items()
        for name, own in measured_there["by_property"].items()
    )
    differing = "by none of these properties faces differ beyond chance" if beyond == "none" else f"beyond chance faces differ by {beyond}"
    return (
        f"{differing}, given how many tests there are and how few faces some groups have; the nearest to it is {which}, p {chance(least)}. "
        f"What is covered costs most ({'; '.join(covers)}). A face and its mirror image are answered differently in {changed} % of the cases."
    )


def span(shares: Sequence[float]) -> str:
    return f"{100 * min(shares):.1f} to {100 * max(shares):.1f}"


def mask_table(masks: dict[str, Any]) -> list[str]:
    labels = list(next(iter(masks["by_weights"].values()))["answers"])
    lines = [
        "## Pictures of people in face masks",
        "",
        f"{masks['marked']:,} faces of {MASK_SIDE:.0f} px and more that people marked (`faces`, source `mask`; most of them wear a mask, which ones is not labelled), {masks['found']:,} of them found. The answers, in per cent:",
        "",
        f"| weights | {' | '.join(labels)} | mean confidence | below 0.5 |",
        "|---" * (len(labels) + 3) + "|",
    ]
    for weights, own in masks["by_weights"].items():
        cells = [percent(own["answers"][label]) for label in labels]
        lines.append(f"| `{weights}` | {' | '.join(cells)} | {percent(own['mean_confidence'])} | {percent(own['below_0.5'])} |")
    return [*lines, ""]


def write_page(page: Path, results: dict[str, dict[str, Any]], masks: dict[str, Any], command: str) -> None:
    """Write the page and its plots."""
    sizes = {where: there["n"] for where, there in next(iter(results.values())).items()}
    tests, beyond = beyond_chance(results)
    text = METHOD.format(
        short=in_short(results, beyond),
        photos=sizes["photos"],
        public=sizes["PublicTest"],
        tests=tests,
        chance=0.05 * tests,
        bonferroni=0.05 / tests,
        beyond=beyond,
    )
    lines = text.splitlines()
    for where in sizes:
        picture = page.parent / "images" / f"fairness_{where.lower()}.png"
        plot(results, where, picture)
        lines += ["", f"## {where[0].upper()}{where[1:]}", "", f"![Accuracy by property, {where}](images/{picture.name})", ""]
        lines += property_tables(results, where)
    lines += ["## Mirrored", "", "The same crops, left and right exchanged.", ""]
    lines += pair_table(results, lambda there: there["mirrored"], "weights, set")
    lines += ["## Covered", "", "A plain bar drawn over the crop, of grey level 40 over the eyes, 190 over nose, mouth and chin.", ""]
    for name in COVERED:
        lines += pair_table(results, lambda there, name=name: there["covered"][name], name)
    lines += mask_table(masks) + NOT_MEASURED.splitlines()
    lines += [
        "",
        "All figures, in `benchmarks/results/fairness.json`, are from one command:",
        "",
        "```text",
        command.split(" --page", maxsplit=1)[0],
        "```",
    ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--ferplus", required=True)
    parser.add_argument("--faces", required=True, type=Path, help="with train/labels.json, for the pictures of people in masks")
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()

    opened = [open_classifier(weights, runtime=args.runtime) for weights in args.weights]
    classifiers = {classifier.name: classifier for classifier in opened}
    geometry = next(iter(classifiers.values())).crop
    sets = (from_photos(args.photos, geometry), from_public_test(args.data, args.ferplus))
    results = {weights: {faces.name: measured(classifier, faces) for faces in sets} for weights, classifier in classifiers.items()}
    crops, masks = masked_crops(args.faces, geometry)
    masks["by_weights"] = {weights: on_masks(classifier, crops) for weights, classifier in classifiers.items()}
    record(str(args.out), {"output": "photos", "by_weights": results, "masks": masks})
    if args.page:
        write_page(args.page, results, masks, json.loads(args.out.read_text(encoding="utf-8"))["command"])


if __name__ == "__main__":
    main()
