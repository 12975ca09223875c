// From a picture and a face to probabilities, by the rules that the weights' spec names.

import { boxTurnedBack, clamp, cut, grey, pointTurnedBack, resize, rint, tensor, turnedBack, warp } from "./local-pixels.js";

// Rotation, scale and shift that best map points to points, by rows of a 2x3 matrix.
function similarity(from, to) {
  const mean = (points, k) => points.reduce((sum, point) => sum + point[k], 0) / points.length;
  const [fx, fy, tx, ty] = [mean(from, 0), mean(from, 1), mean(to, 0), mean(to, 1)];
  let [spread, re, im] = [0, 0, 0];
  for (const [n, [x, y]] of from.entries()) {
    const [sx, sy, dx, dy] = [x - fx, y - fy, to[n][0] - tx, to[n][1] - ty];
    spread += sx * sx + sy * sy;
    re += sx * dx + sy * dy;
    im += sx * dy - sy * dx;
  }
  [re, im] = [re / spread, im / spread];
  return [re, -im, tx - re * fx + im * fy, im, re, ty - im * fx - re * fy];
}

function aligned(image, points, { scale, template }) {
  const target = template.map((point) => point.map((v) => (v - 0.5) / scale + 0.5));
  const unit = similarity(points, target);
  const side = clamp(rint(1 / Math.hypot(unit[0], unit[3])), 1, 4096);
  const [a, b, tx, c, d, ty] = unit.map((v) => v * side);
  return warp(image, [a, b, tx - 0.5 + (a + b) * 0.5, c, d, ty - 0.5 + (c + d) * 0.5], side);
}

export function crop(image, { box, points }, geometry) {
  const [x1, y1, x2, y2] = box;
  if (geometry.mode === "aligned" && points) return aligned(image, points, geometry);
  if (geometry.mode === "box") return cut(image, rint(x1), rint(y1), Math.max(1, rint(x2 - x1)), Math.max(1, rint(y2 - y1)));
  const height = y2 - y1;
  const side = Math.max(1, rint(geometry.scale * height));
  const left = (x1 + x2) / 2 + geometry.centre[0] * height - side / 2;
  const top = (y1 + y2) / 2 + geometry.centre[1] * height - side / 2;
  return cut(image, rint(left), rint(top), side, side);
}

// A turned face is turned upright first, its points with it. Boxes tell edges, points pixel centres: their last is one less.
function upright(image, face) {
  if (!face.turn) return [image, face];
  const { width, height } = image;
  const points = face.points?.map((point) => pointTurnedBack(point, face.turn, width - 1, height - 1));
  return [turnedBack(image, face.turn), { ...face, box: boxTurnedBack(face.box, face.turn, width, height), points }];
}

function input(crops, spec) {
  const seen = spec.window ?? spec.size;
  const offset = Math.floor((spec.size - seen) / 2);
  const squares = crops.map((one) => {
    const plain = grey(one);
    return cut(resize(plain, spec.size, spec.size, Math.min(plain.width, plain.height) > spec.size), offset, offset, seen, seen);
  });
  const [values, dims] = tensor(squares, (value) => value / 255);
  const plane = seen * seen;
  for (let n = 0; n < squares.length; n += 1) {
    const face = values.subarray(n * plane, (n + 1) * plane);
    if (spec.standardise) {
      const mean = face.reduce((a, b) => a + b, 0) / plane;
      const deviation = Math.sqrt(face.reduce((sum, v) => sum + (v - mean) ** 2, 0) / plane);
      for (let p = 0; p < plane; p += 1) face[p] = (face[p] - mean) / Math.max(deviation, 1 / 255);
    }
    for (let p = 0; p < plane; p += 1) face[p] = (face[p] - spec.mean) / spec.std;
  }
  return [values, dims];
}

// `mixing`: rows of a matrix from the network's raw outputs to the labels' logits.
function probabilities(raw, mixing, classes) {
  const logits = classes.map((_, k) => mixing.reduce((sum, row, column) => sum + raw[column] * row[k], 0));
  const most = Math.max(...logits);
  const shares = logits.map((v) => Math.exp(v - most));
  const total = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / total);
}

// Why a face has no label: ferkit's words, in src/ferkit/turning.py.
const turned = (turn) =>
  `the face looks ${turn === 180 ? "upside down" : `turned by ${turn} degrees`} and such faces were not asked for; rotations=(0, ${turn}) reads it`;

// Faces with labels, as the service answers them.
export async function classified(image, faces, weights, { mixing, classes }, run) {
  if (faces.length === 0) return [];
  const crops = faces.map((face) => crop(...upright(image, face), weights.crop));
  const [values, dims] = input(crops, weights.input);
  const [output] = Object.values(await run(weights.name, values, dims));
  const columns = output.data.length / faces.length;
  return faces.map((face, n) => {
    const shares = probabilities(output.data.subarray(n * columns, (n + 1) * columns), mixing, classes);
    const best = shares.indexOf(Math.max(...shares));
    return {
      box: face.box,
      score: face.score,
      landmarks: face.points,
      ...(face.turn ? { turn: face.turn } : {}),
      label: face.turn ? null : classes[best],
      confidence: shares[best],
      probabilities: Object.fromEntries(classes.map((name, k) => [name, shares[k]])),
      ...(face.turn ? { reason: turned(face.turn) } : {}),
    };
  });
}
