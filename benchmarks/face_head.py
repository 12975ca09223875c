"""Give a detector's second network one more answer: whether the view of a face that it sees shows one at all.

The network that finds landmarks looks at every box from near. What it knows of the view there (the maps before its answer, averaged over
a ninth of the view each) and the detector's own score go into a logistic regression, fitted to boxes of the detector: those on marked
faces of the training photos, and those on anything else, on pictures that show nobody, and on drawn ones (``drawn_negatives.py``).
A box is dropped where both together are not as sure as the least score alone has to be. The detector's boxes, scores and landmarks stay.

    python benchmarks/face_head.py --faces FACES --start weights/superseded/ferkit-face-v3 --out runs/ferkit-face-v4

A second time with ``--boxes`` it takes the boxes that were kept there. Needs onnx and scikit-learn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from _portraits import scaled
from drawn_negatives import KINDS, drawn
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ferkit import Face
from ferkit.detectors.ferkit_face import FerkitFace
from ferkit.detectors.ferkit_face_format import FACE, POINTS_FILE, face_view, planes
from ferkit.evaluation.detection import LEAST_SCORE, read_annotated
from ferkit.files import write_json
from ferkit.geometry import area, intersection, iou
from ferkit.logits import logit
from ferkit.train.detector.photos import Augmentation, _cut, read_photos
from ferkit.train.detector.release import card_lines, detection_rows
from ferkit.weights.hashes import file_entry
from ferkit.weights.specs import DetectorSpec
from ferkit.weights.store import read_verified

LEAST = 0.4  # a box's score from which it is looked at: well below the detector's own least score
SIZES = (0, 640, 1280)  # px of a picture's longer side; 0: its own
EVERY = 2  # one photo in so many, half of these as they are; the others are cut off through a face
CUT = Augmentation(cut_face=(60.0, 300.0), kept=(0.3, 0.7), sideways=0.5)
MAPS = {"n37": 1, "n22": 2, "n13": 4, "n62": 4}  # of the landmarks' network, by the side of what is averaged
RIDGE = 0.003  # scikit-learn's C
SCORED = 3.0  # the scale at which the score enters, beside features of variance 1
MARGIN = 0.4  # logits of a score in favour of the box: with it no face of the 387 portraits and of the development pictures, as they are, is lost


class Boxes(NamedTuple):
    """What the detector took for faces: views uint8 ``(n, 48, 48, 3)``, whether they are, its scores, and which are of drawn pictures."""

    views: NDArray[np.uint8]
    right: NDArray[np.bool_]
    scores: NDArray[np.float64]
    drawn: NDArray[np.bool_]


def at(pixels: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """Return a picture with a longer side of so many pixels, and the factor."""
    factor = side / max(pixels.shape[:2]) if side else 1.0
    return scaled(pixels, factor), factor


def judged(found: list[Face], boxes: NDArray[np.float64], ignore: NDArray[np.bool_]) -> Iterator[tuple[Face, bool]]:
    """Yield boxes with whether they are on a face; those that nobody can tell are left out."""
    for face in found:
        mine = np.array([face.box])
        if not len(boxes):
            yield face, False
            continue
        overlaps = iou(mine, boxes)[0]
        best = int(overlaps.argmax())
        if overlaps[best] >= 0.5:
            if not ignore[best]:
                yield face, True
        elif overlaps[best] <= 0.2 and not (intersection(mine, boxes[ignore])[0] > 0.3 * area(mine)).any():
            yield face, False


def pictures(faces: Path, each: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_], bool]]:
    """Yield pictures with the faces marked in them, and whether they are drawn."""
    rng = np.random.default_rng(0)
    photos, negatives = read_photos(faces)
    nobody = np.zeros((0, 4)), np.zeros(0, bool)
    for number, photo in enumerate(photos[::EVERY]):
        pixels, factor = at(photo.pixels, 0 if number % 2 else int(rng.choice([900, 1280])))
        yield pixels, photo.boxes.astype(np.float64) * factor, photo.ignore, False
    for photo in photos[1::EVERY]:
        part, face = _cut(photo, CUT, rng)
        if face is not None:
            yield part.pixels, part.boxes.astype(np.float64), part.ignore, False
    for photo in negatives:
        yield at(photo.pixels, int(rng.choice(SIZES)))[0], *nobody, False
    for kind in KINDS:
        for number in range(each):
            yield at(drawn(kind, number), int(rng.choice(SIZES)))[0], *nobody, True


def gather(detector: FerkitFace, faces: Path, each: int) -> Boxes:
    rows: list[tuple[Any, ...]] = []
    for pixels, boxes, ignore, is_drawn in pictures(faces, each):
        for face, right in judged(detector.detect(pixels), boxes, ignore):
            rows.append((face_view(pixels, np.array(face.box))[1], right, face.score, is_drawn))
    return Boxes(*(np.array(column) for column in zip(*rows, strict=True)))


def features(points: bytes, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the network's maps, averaged as ``MAPS`` says, one row a view."""
    network = onnx.load_from_string(points)
    network.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in MAPS)
    session = onnxruntime.InferenceSession(network.SerializeToString())
    rows = []
    for start in range(0, len(views), 256):
        maps = session.run(list(MAPS), {"image": planes(views[start : start + 256])})
        rows.append(np.concatenate([averaged(one, side) for one, side in zip(maps, MAPS.values(), strict=True)], axis=1))
    return np.concatenate(rows)


def averaged(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    n, channels, height, width = maps.shape
    return maps.reshape(n, channels, height // side, side, width // side, side).mean((3, 5)).reshape(n, -1)


def fitted(points: bytes, boxes: Boxes, least: float) -> tuple[NDArray[np.float64], float]:
    """Return weights and bias with which a view's features give what is added to the logit of its score."""
    from sklearn.linear_model import LogisticRegression

    seen = np.concatenate([features(points, boxes.views), features(points, boxes.views[:, :, ::-1])]).astype(np.float64)
    mean, spread = seen.mean(0), seen.std(0) + 1e-9
    logits = np.tile(logit(boxes.scores), 2)[:, None]
    given = np.hstack([(seen - mean) / spread, SCORED * logits])
    model = LogisticRegression(C=RIDGE, max_iter=1000).fit(given, np.tile(boxes.right, 2))
    weights, score = model.coef_[0, :-1] / spread, model.coef_[0, -1] * SCORED
    bias = float(model.intercept_[0] - weights @ mean) / score + MARGIN
    # A box is kept where the logit of its score and this reach the logit of the least score.
    return weights / score, bias + float(logit(least))


def with_head(points: bytes, weights: NDArray[np.float64], bias: float) -> bytes:
    """Return the network with the answer ``face``: convolutions as large as the maps, which average them as they go."""
    network = onnx.load_from_string(points)
    graph, start, parts = network.graph, 0, list[str]()
    channels = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 4}
    makes = {node.output[0]: node for node in graph.node}
    for name, side in MAPS.items():
        count = channels[conv_before(name, makes).input[1]]
        kernel = weights[start : start + 9 * count].reshape(1, count, 3, 3)
        start += 9 * count
        kernel = np.repeat(np.repeat(kernel, side, axis=2), side, axis=3) / side**2
        values = {f"{FACE}.{name}.weight": kernel, f"{FACE}.{name}.bias": np.array([0.0 if parts else bias])}
        graph.initializer.extend(numpy_helper.from_array(value.astype(np.float32), key) for key, value in values.items())
        parts.append(f"{FACE}.{name}")
        graph.node.append(helper.make_node("Conv", [name, *values], [parts[-1]], name=parts[-1], kernel_shape=[3 * side] * 2))
    assert start == len(weights)
    total = parts[0]
    for number, part in enumerate(parts[1:], 2):
        out = FACE if number == len(parts) else f"{FACE}.{number}"
        graph.node.append(helper.make_node("Add", [total, part], [out], name=out))
        total = out
    graph.output.append(helper.make_tensor_value_info(FACE, TensorProto.FLOAT, ["n", 1, 1, 1]))
    onnx.checker.check_model(network)
    return bytes(network.SerializeToString())


def conv_before(name: str, makes: dict[str, Any]) -> Any:
    node = makes[name]
    while node.op_type != "Conv":
        node = makes[node.input[0]]
    return node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", required=True, type=Path, help="folder with train/, negatives/ and dev/")
    parser.add_argument("--start", required=True, type=Path, help="a detector's folder; its networks are kept")
    parser.add_argument("--out", required=True, type=Path, help="folder for the detector; its name becomes the detector's")
    parser.add_argument("--each", type=int, default=200, help="drawn pictures of each kind")
    parser.add_argument("--boxes", type=Path, help="a file for the boxes; where it is there, they are read from it")
    args = parser.parse_args()
    spec = DetectorSpec.load(args.start)
    network, points = read_verified(args.start, spec), read_verified(args.start, spec, POINTS_FILE)
    if args.boxes and args.boxes.exists():
        with np.load(args.boxes) as kept:
            boxes = Boxes(**kept)
    else:
        boxes = gather(FerkitFace.from_bytes(network, LEAST), args.faces, args.each)
        if args.boxes:
            np.savez(args.boxes, **boxes._asdict())
    weights, bias = fitted(points, boxes, spec.min_score)
    added = with_head(points, weights, bias)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "model.onnx").write_bytes(network)
    (args.out / POINTS_FILE).write_bytes(added)
    count = {"faces": int(boxes.right.sum()), "others": int((~boxes.right).sum()), "drawn": int(boxes.drawn.sum())}
    architecture = {**spec.architecture}
    architecture["points_parameters"] += len(weights) + 1
    architecture["points_macs"] += sum(
        np.prod(tensor.dims)
        for tensor in onnx.load_from_string(added).graph.initializer
        if tensor.name.startswith(f"{FACE}.") and len(tensor.dims) == 4
    ).item()
    metrics, _ = detection_rows(FerkitFace.from_bytes(network, LEAST_SCORE, added), read_annotated(args.faces / "dev"))
    spec = replace(
        spec,
        name=args.out.resolve().name,
        files={"model.onnx": file_entry(network), POINTS_FILE: file_entry(added)},
        training={**spec.training, "face_head": {"began_with": spec.name, **count}},
        metrics=tuple(metrics),
        architecture=architecture,
    )
    write_json(args.out / "spec.json", spec.to_dict())
    (args.out / "card.md").write_text("\n".join(card_lines(spec)) + "\n", encoding="utf-8")
    print(json.dumps({**count, "bias": bias, "files": spec.files, "metrics": metrics}, indent=1))


if __name__ == "__main__":
    main()
