// Where labels go on a picture: the same rules as the package's own drawing (drawing/layout.py); a test compares them.

const RINGS = [0, 1, 2.5, 5, 9]; // how far from the face a label may go, in its own heights
const [ON_LABEL, ON_FACE, ON_FEATURES, ON_OWN, AWAY] = [10, 4, 3, 0.6, 0.03];

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

export function overlap(a, b) {
  return Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
}

export function gap(a, b) {
  return Math.max(0, a[0] - b[2], b[0] - a[2]) + Math.max(0, a[1] - b[3], b[1] - a[3]);
}

export function clipped(box, width, height) {
  return [clamp(box[0], 0, width), clamp(box[1], 0, height), clamp(box[2], 0, width), clamp(box[3], 0, height)];
}

function candidates([x1, y1, x2, y2], w, h) {
  const across = [x1, x2 - w, (x1 + x2 - w) / 2];
  const down = [y1, y2 - h, (y1 + y2 - h) / 2];
  const found = [];
  for (const ring of RINGS) {
    const g = ring * h;
    for (const y of [y1 - h - g, y2 + g]) for (const x of across) found.push([x, y]);
    for (const x of [x2 + g, x1 - w - g]) for (const y of down) found.push([x, y]);
  }
  for (const y of [y1, y2 - h]) for (const x of across) found.push([x, y]);
  return found;
}

function features([x1, y1, x2, y2]) {
  const [w, h] = [x2 - x1, y2 - y1];
  return [x1 + 0.15 * w, y1 + 0.25 * h, x2 - 0.15 * w, y2 - 0.1 * h];
}

function covers(plate, own, faces, placed) {
  let cost = ON_FEATURES * overlap(plate, features(faces[own]));
  for (const other of placed) cost += ON_LABEL * overlap(plate, other);
  for (const [number, face] of faces.entries()) if (number !== own) cost += ON_FACE * overlap(plate, face);
  return cost;
}

// A place for every face's label, and what they cover: 0 where everything is free. `plates` are [width, height].
export function place(width, height, boxes, plates) {
  const faces = boxes.map((box) => clipped(box, width, height));
  const placed = [];
  let covered = 0;
  for (const [number, [w, h]] of plates.entries()) {
    let [best, least, worst] = [null, Infinity, 0];
    for (const [x0, y0] of candidates(faces[number], w, h)) {
      const [x, y] = [clamp(x0, 0, Math.max(0, width - w)), clamp(y0, 0, Math.max(0, height - h))];
      const plate = [x, y, x + w, y + h];
      const cost = covers(plate, number, faces, placed) / (w * h);
      const total = cost + (ON_OWN * overlap(plate, faces[number])) / (w * h) + (AWAY * gap(plate, faces[number])) / h;
      if (total < least - 1e-9) [best, least, worst] = [plate, total, cost];
    }
    placed.push(best);
    covered += worst;
  }
  return [placed, covered];
}

// The ends of the line from a face to a label that lies away from it; null for one that does not.
export function leader(face, plate, unit) {
  if (gap(face, plate) <= 0.5 * unit) return null;
  const nearest = (a, b) => [clamp((b[0] + b[2]) / 2, a[0], a[2]), clamp((b[1] + b[3]) / 2, a[1], a[3])];
  return [nearest(face, plate), nearest(plate, face)];
}
