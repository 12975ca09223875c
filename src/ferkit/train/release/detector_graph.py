"""The face detector as one ONNX graph: a picture in, boxes, scores and landmarks out, as ``ferkit.detectors.ferkit_face`` finds them.

Its two looks, its rules for boxes within boxes and its landmarks are here as nodes of the graph; what is not is enlarging and reducing pictures
before the first look, and turned faces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...detectors import ferkit_face as rules
from ...detectors.ferkit_face_format import FACE, MEAN, MIRRORED, MULTIPLE, OUTPUTS, PADDING, POINTS_ROOM, POINTS_SIZE, STD, STRIDES
from .onnx_graph import Graph, resizing

__all__ = ["detector_graph"]

_MOST_KEPT = 2000  # faces after the suppression of overlapping boxes


def detector_graph(network: bytes, points: bytes | None) -> bytes:
    """Return one network that takes a picture, ``image``, uint8 RGB ``(H, W, 3)``, and the least score of a face, ``min_score``, float32 ``()``.

    Args:
        network: ONNX, as a detector's folder holds it, in float32, float16 or int8.
        points: The network for landmarks; None leaves the detector's rough ones.

    Returns:
        ONNX with the outputs ``boxes``, float32 ``(n, 4)``, xyxy in pixels, ``scores``, ``(n,)``, the surest first, and ``landmarks``,
        ``(n, 5, 2)``, x and y in pixels.
    """
    g = Builder()
    size = g("Cast", g("Shape", "image"), to=TensorProto.FLOAT)
    height, width = (g("Gather", size, g.constant(axis, np.int64), axis=0) for axis in (0, 1))
    pixels = g("Transpose", g("Cast", "image", to=TensorProto.FLOAT), perm=[2, 0, 1])
    rows = _look(g, network, pixels, 1, "min_score")
    rows = _with_second_look(g, network, rows, pixels, height, width)
    rows = g("Gather", rows, _suppressed(g, rows), axis=0)
    lone = g("Not", g("Or", _parts(g, rows), _echoes(g, rows, height, width)))
    rows = g("Compress", rows, lone, axis=0)
    if points is None:
        five = g("Reshape", g.part(rows, 5, 15), g.constant([-1, 5, 2], np.int64))
    else:
        five, added = _looked_at(g, points, pixels, rows)
        if added is not None:
            sure = g("GreaterOrEqual", g("Add", _logits(g, _column(g, rows, 0)), added), _logits(g, "min_score"))
            rows, five = (g("Compress", one, sure, axis=0) for one in (rows, five))
    g("Identity", g.part(rows, 1, 5), out="boxes")
    g("Squeeze", g.part(rows, 0, 1), g.constant([1], np.int64), out="scores")
    g("Identity", five, out="landmarks")
    return _serialised(g, network)


def _serialised(g: Builder, network: bytes) -> bytes:
    describe = helper.make_tensor_value_info
    given = [describe("image", TensorProto.UINT8, ["height", "width", 3]), describe("min_score", TensorProto.FLOAT, [])]
    made = [describe(name, TensorProto.FLOAT, ["n", *rest]) for name, rest in (("boxes", [4]), ("scores", []), ("landmarks", [5, 2]))]
    used = {name for node in g.nodes for name in node.input}
    graph = helper.make_graph(g.nodes, "ferkit_detector", given, made, [tensor for tensor in g.constants if tensor.name in used])
    source = onnx.load_from_string(network)
    opsets = [helper.make_opsetid(entry.domain, entry.version) for entry in source.opset_import]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = source.ir_version
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class Builder(Graph):
    """A graph in which arrays are cut into columns, and networks are used more than once with one set of weights."""

    def __init__(self) -> None:
        super().__init__()
        self._stored = set[str]()

    def store(self, tensor: Any) -> None:
        if tensor.name not in self._stored:
            self._stored.add(tensor.name)
            self.constants.append(tensor)

    def part(self, rows: str, first: int, last: int, axis: int = 1) -> str:
        bounds = (self.constant([value], np.int64) for value in (first, last, axis))
        return self("Slice", rows, *bounds)

    def scalar_shape(self, *names: str) -> str:
        """Return numbers, each of a name, as one int64 array."""
        return self(
            "Concat",
            *(self("Unsqueeze", self("Cast", name, to=TensorProto.INT64), self.constant([0], np.int64)) for name in names),
            axis=0,
        )

    def run(self, network: bytes, given: str, use: str, wanted: list[str]) -> list[str]:
        """Add a network's nodes, reading ``given``; return its outputs. ``use`` tells one use from another, and ``wanted`` whose weights."""
        graph = onnx.load_from_string(network).graph
        kind = "points" if "points" in wanted else "faces"
        fixed = {tensor.name: f"{kind}/{tensor.name}" for tensor in graph.initializer}
        for tensor in graph.initializer:
            tensor.name = fixed[tensor.name]
            self.store(tensor)
        names = {**fixed, graph.input[0].name: given, "": ""}
        for node in graph.node:
            for edges in (node.input, node.output):
                edges[:] = [names.get(edge, f"{use}/{edge}") for edge in edges]
            node.name = f"{use}/{node.name or node.output[0]}"
            self.nodes.append(node)
        return [names.get(name, f"{use}/{name}") for name in wanted]


def _normalised(g: Builder, pixels: str) -> str:
    """Return a picture ``(3, h, w)`` as the networks take it, ``(1, 3, h, w)``."""
    scaled = g("Div", g("Sub", pixels, g.constant(MEAN)), g.constant(STD))
    return g("Unsqueeze", scaled, g.constant([0], np.int64))


def _look(g: Builder, network: bytes, pixels: str, number: int, min_score: str) -> str:
    """Return what one look at a picture ``(3, h, w)`` finds: rows of score, box and rough landmarks, float32 ``(n, 15)``."""
    sides = g("Slice", g("Shape", pixels), *(g.constant([value], np.int64) for value in (1, 3, 0)))
    many = g.constant(MULTIPLE, np.int64)
    whole = g("Mul", g("Div", g("Add", sides, g.constant(MULTIPLE - 1, np.int64)), many), many)
    more = g("Sub", g("Max", whole, g.constant(2 * MULTIPLE, np.int64)), sides)
    filled = g("Pad", pixels, g("Concat", g.constant([0, 0, 0, 0], np.int64), more, axis=0), g.constant(PADDING))
    maps = g.run(network, _normalised(g, filled), f"look{number}", OUTPUTS)
    rows = g("Concat", *(_decoded(g, level, stride) for level, stride in zip(maps, STRIDES, strict=True)), axis=0)
    return _from(g, rows, min_score)


def _from(g: Builder, rows: str, min_score: str) -> str:
    """Return the rows that are at least so sure."""
    return g("Compress", rows, g("GreaterOrEqual", _column(g, rows, 0), min_score), axis=0)


def _decoded(g: Builder, level: str, stride: int) -> str:
    """Turn a level's map ``(1, 15, h, w)`` into rows, as ``ferkit_face_format.decode`` does."""
    cells = g("Reshape", g("Transpose", level, perm=[0, 2, 3, 1]), g.constant([-1, 15], np.int64))
    shape = g("Cast", g("Shape", level), to=TensorProto.FLOAT)
    high, wide = (g("Gather", shape, g.constant(axis, np.int64), axis=0) for axis in (2, 3))
    zero, one = g.constant(0), g.constant(1)
    y = g("Unsqueeze", g("Range", zero, high, one), g.constant([1], np.int64))
    x = g("Unsqueeze", g("Range", zero, wide, one), g.constant([0], np.int64))
    both = g.scalar_shape(high, wide)
    column = g.constant([-1, 1], np.int64)
    grid = [g("Reshape", g("Expand", line, both), column) for line in (x, y)]
    centre = g("Add", g("Concat", *grid, axis=1), g.constant(0.5))
    reach = g("Exp", g("Clip", g.part(cells, 1, 5), g.constant(-4.0), g.constant(4.5)))
    box = [g("Sub", centre, g.part(reach, 0, 2)), g("Add", centre, g.part(reach, 2, 4))]
    five = g("Add", g.part(cells, 5, 15), g("Concat", *[centre] * 5, axis=1))
    placed = g("Mul", g("Concat", *box, five, axis=1), g.constant(stride))
    return g("Concat", g("Sigmoid", g.part(cells, 0, 1)), placed, axis=1)


def _with_second_look(g: Builder, network: bytes, first: str, pixels: str, height: str, width: str) -> str:
    """Join what the picture shows at a longer side of 256 pixels, where it is much larger: faces too large for the first look."""
    longer, small = g("Max", height, width), g.constant(rules.SMALL_SIDE)
    scale = g("Min", g("Div", small, longer), g.constant(1))
    sides = [g("Max", g("Round", g("Mul", side, scale)), g.constant(1)) for side in (height, width)]
    tall = g("MatMul", resizing(g, height, None, sides[0]), pixels)
    smaller = g("MatMul", tall, g("Transpose", resizing(g, width, None, sides[1]), perm=[1, 0]))
    least = g("Mul", "min_score", g.constant(rules.UNSEEN))
    seen = _look(g, network, g("Floor", g("Add", smaller, g.constant(0.5))), 2, least)
    across, down = (g("Unsqueeze", g("Div", a, b), g.constant([0], np.int64)) for a, b in ((width, sides[1]), (height, sides[0])))
    factors = g("Concat", g.constant([1]), *[across, down] * 7, axis=0)
    seen = g("Mul", seen, factors)
    counts = g("Greater", longer, g.constant(1.5 * rules.SMALL_SIDE))
    seen = g("Compress", seen, g("And", _at_all(g, seen), counts), axis=0)
    second = _from(g, seen, "min_score")
    large = g("Greater", _sizes(g, second), g.constant(rules.LARGE))
    unseen = g("And", _unseen(g, first, seen, g("Div", g.constant(rules.CLEAR), scale)), counts)
    kept = g("Compress", first, g("Not", g("Or", _outvoted(g, first, second), unseen)), axis=0)
    return g("Concat", kept, g("Compress", second, large, axis=0), axis=0)


def _at_all(g: Builder, rows: str) -> str:
    """Return True for every row."""
    return g("Greater", _column(g, rows, 0), g.constant(-1.0))


def _column(g: Builder, rows: str, number: int) -> str:
    return g("Squeeze", g.part(rows, number, number + 1), g.constant([1], np.int64))


def _areas(g: Builder, rows: str) -> str:
    x1, y1, x2, y2 = (_column(g, rows, number) for number in (1, 2, 3, 4))
    return g("Mul", g("Sub", x2, x1), g("Sub", y2, y1))


def _sizes(g: Builder, rows: str) -> str:
    return g("Sqrt", _areas(g, rows))


def _upright_pair(g: Builder, values: str, others: str) -> tuple[str, str]:
    """Return a column ``(n, 1)`` and a line ``(1, m)``, which meet in a table."""
    return g("Unsqueeze", values, g.constant([1], np.int64)), g("Unsqueeze", others, g.constant([0], np.int64))


def _shared(g: Builder, boxes: str, others: str) -> str:
    """Return the areas ``(n, m)`` in which boxes ``(n, 15)`` and ``(m, 15)`` overlap."""
    sides = []
    for low, high in ((1, 3), (2, 4)):
        begin = g("Max", *_upright_pair(g, _column(g, boxes, low), _column(g, others, low)))
        end = g("Min", *_upright_pair(g, _column(g, boxes, high), _column(g, others, high)))
        sides.append(g("Max", g("Sub", end, begin), g.constant(0)))
    return g("Mul", *sides)


def _any(g: Builder, table: str) -> str:
    """Return for each row of a table of truths ``(n, m)`` whether any holds; of no columns none does."""
    return g("Greater", g("ReduceSum", g("Cast", table, to=TensorProto.FLOAT), g.constant([1], np.int64), keepdims=0), g.constant(0.5))


def _surer(g: Builder, rows: str, by: float) -> str:
    """Return for each row which others ``(n, n)`` are surer by more than so many logits."""
    logits = _logits(g, _column(g, rows, 0))
    mine, theirs = _upright_pair(g, logits, logits)
    return g("Greater", theirs, g("Add", mine, g.constant(by)))


def _logits(g: Builder, scores: str) -> str:
    p = g("Clip", scores, g.constant(1e-6), g.constant(1 - 1e-6))
    return g("Log", g("Div", p, g("Sub", g.constant(1), p)))


def _overlaps(g: Builder, boxes: str, others: str) -> str:
    """Return the IoU ``(n, m)`` of boxes ``(n, 15)`` and ``(m, 15)``."""
    mine, theirs = _upright_pair(g, _areas(g, boxes), _areas(g, others))
    both = _shared(g, boxes, others)
    return g("Div", both, g("Sub", g("Add", mine, theirs), both))


def _unseen(g: Builder, first: str, seen: str, clear: str) -> str:
    mine, _ = _upright_pair(g, _areas(g, first), _areas(g, seen))
    score, scores = _upright_pair(g, _column(g, first, 0), _column(g, seen, 0))
    least = g("Mul", score, g.constant(rules.UNSEEN))
    same = g("And", g("Greater", _overlaps(g, first, seen), g.constant(rules.ASTRAY)), g("GreaterOrEqual", scores, least))
    before = g("Greater", _shared(g, first, seen), g("Mul", mine, g.constant(rules.MOSTLY)))
    before = g("And", before, g("Greater", scores, score))
    return g("And", g("Greater", _sizes(g, first), clear), g("Not", _any(g, g("Or", same, before))))


def _outvoted(g: Builder, first: str, second: str) -> str:
    mine, theirs = _upright_pair(g, _areas(g, first), _areas(g, second))
    both = _shared(g, first, second)
    overlap = _overlaps(g, first, second)
    around = g(
        "And",
        g("Greater", both, g("Mul", mine, g.constant(rules.WITHIN))),
        g("Greater", theirs, g("Mul", mine, g.constant(rules.GROWN))),
    )
    around = g("Or", around, g("Greater", overlap, g.constant(rules.ASTRAY)))
    weaker, surer = _upright_pair(g, _column(g, first, 0), _column(g, second, 0))
    around = g("And", around, g("Greater", surer, weaker))
    same = _any(g, g("GreaterOrEqual", overlap, g.constant(rules.SAME)))
    large = g("Greater", _sizes(g, first), g.constant(rules.LARGE))
    return g("And", g("And", large, _any(g, around)), g("Not", same))


def _suppressed(g: Builder, rows: str) -> str:
    """Return which rows non-maximum suppression keeps, the surest first."""
    boxes = g("Unsqueeze", g.part(rows, 1, 5), g.constant([0], np.int64))
    scores = g("Unsqueeze", _column(g, rows, 0), g.constant([0, 1], np.int64))
    chosen = g("NonMaxSuppression", boxes, scores, g.constant([_MOST_KEPT], np.int64), g.constant([rules.OVERLAP]))
    return g("Squeeze", g.part(chosen, 2, 3), g.constant([1], np.int64))


def _parts(g: Builder, rows: str) -> str:
    mine, theirs = _upright_pair(g, _areas(g, rows), _areas(g, rows))
    inside = g("Greater", _shared(g, rows, rows), g("Mul", mine, g.constant(rules.NESTED)))
    nested = g("And", inside, g("Greater", theirs, g("Mul", mine, g.constant(rules.LARGER))))
    return _any(g, g("And", nested, _surer(g, rows, rules.MUCH)))


def _echoes(g: Builder, rows: str, height: str, width: str) -> str:
    zero = g.constant(0)
    cut = [g("Max", g("Min", g.part(rows, n, n + 1), side), zero) for n, side in ((1, width), (2, height), (3, width), (4, height))]
    shown = g("Concat", g.part(rows, 0, 1), *cut, axis=1)
    seen, _ = _upright_pair(g, _areas(g, shown), _areas(g, shown))
    mine, theirs = _upright_pair(g, _areas(g, rows), _areas(g, rows))
    within = g("Greater", _shared(g, shown, rows), g("Mul", seen, g.constant(rules.MOSTLY)))
    _, large = _upright_pair(g, _sizes(g, rows), _sizes(g, rows))
    within = g("And", g("And", within, g("Greater", theirs, mine)), g("Greater", large, g.constant(rules.LARGE)))
    return _any(g, g("And", within, _surer(g, rows, rules.PLAINLY)))


def _looked_at(g: Builder, points: bytes, pixels: str, rows: str) -> tuple[str, str | None]:
    """Return the five points of every face, the mean of those of a face and of its mirror image, and what its view adds to its score's logit.

    None for a network that does not answer the latter.
    """
    aside = g.constant([[1, 0, 0, 16, 16, *[0] * 10]])  # so that there is always a face to look at; it is left out at the end
    boxes = g.part(g("Concat", rows, aside, axis=0), 1, 5)
    low, high = g.part(boxes, 0, 2), g.part(boxes, 2, 4)
    longer = g("ReduceMax", g("Sub", high, low), axes=[1], keepdims=1)
    side = g("Max", g("Round", g("Mul", longer, g.constant(POINTS_ROOM))), g.constant(2))
    corner = g("Round", g("Div", g("Add", g("Sub", g("Add", low, high), side), g.constant(1)), g.constant(2)))
    squares = g("Sub", g("Concat", corner, g("Add", corner, side), axis=1), g.constant(0.5))  # RoiAlign tells pixels by their centres
    count = g("Slice", g("Shape", squares), *(g.constant([value], np.int64) for value in (0, 1, 0)))
    first = g("Expand", g.constant([0], np.int64), count)
    views = g("RoiAlign", _normalised(g, pixels), squares, first, output_height=POINTS_SIZE, output_width=POINTS_SIZE, sampling_ratio=0)
    around = g.constant(np.arange(POINTS_SIZE)[::-1], np.int64)
    mirrored = g("Gather", views, around, axis=3)
    wanted = [output.name for output in onnx.load_from_string(points).graph.output if output.name in ("points", FACE)]
    ways = (
        (views, mirrored, g("Gather", mirrored, around, axis=2), g("Gather", views, around, axis=2))
        if FACE in wanted
        else (views, mirrored)
    )
    answers = [dict(zip(wanted, g.run(points, value, f"points{n}", wanted), strict=True)) for n, value in enumerate(ways)]
    plain, other = (answer["points"] for answer in answers[:2])
    back = g("Mul", g("Gather", _middles(g, other), g.constant(MIRRORED, np.int64), axis=1), g.constant([-1, 1]))
    found = g("Add", g("Div", g("Add", _middles(g, plain), back), g.constant(2)), g.constant(0.5))
    second = g.constant([1], np.int64)
    placed = g("Add", g("Unsqueeze", corner, second), g("Mul", found, g("Unsqueeze", side, second)))
    bounds = [g.constant([value], np.int64) for value in (0, -1, 0)]
    five = g("Slice", g("Sub", placed, g.constant(0.5)), *bounds)
    if FACE not in wanted:
        return five, None
    flat = [g("Reshape", answer[FACE], g.constant([-1], np.int64)) for answer in answers]
    up, over = (g("Div", g("Add", *pair), g.constant(2)) for pair in (flat[:2], flat[2:]))
    return five, g("Slice", g("Max", up, over), *bounds)


def _middles(g: Builder, maps: str) -> str:
    """Return where each map of ``(n, 5, s, s)`` has its softmax's mean, ``(n, 5, 2)``: from the centre, in units of the side."""
    side = POINTS_SIZE // 4
    line = (np.arange(side) + 0.5) / side - 0.5
    places = np.stack([np.tile(line, side), np.repeat(line, side)], axis=1)
    return g("MatMul", g("Softmax", g("Reshape", maps, g.constant([0, 5, side * side], np.int64)), axis=-1), g.constant(places))
