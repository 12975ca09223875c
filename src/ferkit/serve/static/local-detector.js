// The package's own face detector, looked through in the browser. Follows the module that holds it in the package, number
// by number; a test compares their answers.

import { boxTurnedBack, clamp, cut, mirrored, picture, resize, rint, tensor, turnedBack, upsideDown } from "./local-pixels.js";

const STRIDES = [8, 16, 32];
const [MULTIPLE, MAX_SIDE, LEAST_SIDE, ENLARGED, SMALL_SIDE, LARGE] = [32, 1280, 640, 2, 256, 160];
const [OVERLAP, NESTED, LARGER, MUCH, WITHIN, GROWN, SAME, MOST] = [0.5, 0.85, 3, 0.5, 0.8, 1.3, 0.6, 2000];
const [ASTRAY, CLEAR, UNSEEN, MOSTLY, PLAINLY] = [0.4, 24, 0.35, 0.5, 1];
const [CLEARER, DOUBTFUL, ONE, CUT] = [0.1, -0.5, 0.5, 0.6];
const [POINTS_SIZE, POINTS_ROOM] = [48, 1.25];
const SIDES = [90, 180, 270];
const MIRRORED = [1, 0, 2, 4, 3];
const normalised = (value) => (value - 127.5) * (1 / 128);

const area = (b) => Math.max(b[2] - b[0], 0) * Math.max(b[3] - b[1], 0);
const size = ({ box: b }) => Math.sqrt((b[2] - b[0]) * (b[3] - b[1]));
const logit = (p) => Math.log(clamp(p, 1e-9, 1 - 1e-9) / (1 - clamp(p, 1e-9, 1 - 1e-9)));

function intersection(a, b) {
  return Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0) * Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
}

function iou(a, b) {
  const shared = intersection(a, b);
  const union = area(a) + area(b) - shared;
  return union > 0 ? shared / union : 0;
}

function filled(image) {
  const padded = (side) => Math.max(2 * MULTIPLE, Math.ceil(side / MULTIPLE) * MULTIPLE);
  const [width, height] = [padded(image.width), padded(image.height)];
  if (width === image.width && height === image.height) return image;
  const out = picture(width, height, 3);
  out.data.fill(114);
  for (let y = 0; y < image.height; y += 1) out.data.set(image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3), y * width * 3);
  return out;
}

function decode({ data, dims: [, , height, width] }, stride, least) {
  const found = [];
  const plane = height * width;
  for (let cell = 0; cell < plane; cell += 1) {
    if (data[cell] < least) continue;
    const [cx, cy] = [(cell % width) + 0.5, Math.floor(cell / width) + 0.5];
    const [l, t, r, b] = [1, 2, 3, 4].map((k) => Math.exp(clamp(data[k * plane + cell], -4, 4.5)));
    const points = [0, 1, 2, 3, 4].map((k) => [(data[(5 + 2 * k) * plane + cell] + cx) * stride, (data[(6 + 2 * k) * plane + cell] + cy) * stride]);
    found.push({ score: 1 / (1 + Math.exp(-data[cell])), box: [(cx - l) * stride, (cy - t) * stride, (cx + r) * stride, (cy + b) * stride], points });
  }
  return found;
}

function suppressed(faces) {
  const kept = [];
  for (const face of [...faces].sort((a, b) => b.score - a.score)) if (kept.every((other) => iou(other.box, face.box) <= OVERLAP)) kept.push(face);
  return kept;
}

// The middles of faces that were too large for the first look: the second one is surer of a larger box around them.
function outvoted(face, second, large) {
  if (size(face) <= large || second.some((other) => iou(face.box, other.box) >= SAME)) return false;
  const around = (other) => intersection(face.box, other.box) > WITHIN * area(face.box) && area(other.box) > GROWN * area(face.box);
  return second.some((other) => (around(other) || iou(face.box, other.box) > ASTRAY) && other.score > face.score);
}

// Faces to the first look alone, though the second one sees all above `clear` pixels well: smooth places in enlarged pictures.
// Of two faces in one place, one before the other, it sees one.
function unseen(face, seen, clear) {
  const before = (other) => intersection(face.box, other.box) > MOSTLY * area(face.box) && other.score > face.score;
  const same = (other) => iou(face.box, other.box) > ASTRAY && other.score >= UNSEEN * face.score;
  return size(face) > clear && !seen.some((other) => same(other) || before(other));
}

// Eyes and mouths of others: close-ups look like faces in faces.
function isPart(face, faces) {
  const holds = (other) => intersection(face.box, other.box) > NESTED * area(face.box) && area(other.box) > LARGER * area(face.box);
  return faces.some((other) => holds(other) && logit(other.score) > logit(face.score) + MUCH);
}

const within = (box, image) => box.map((v, k) => clamp(v, 0, k % 2 ? image.height : image.width));
const shownShare = ({ box }, image) => area(within(box, image)) / Math.max(area(box), 1e-9);

// Weak answers beside the middle of a large face, of which they show the half that the picture has of them.
function isEcho(face, faces, large, image) {
  const shown = within(face.box, image);
  const holds = (other) => size(other) > large && area(other.box) > area(face.box) && intersection(shown, other.box) > MOSTLY * area(shown);
  return faces.some((other) => holds(other) && logit(other.score) > logit(face.score) + PLAINLY);
}

function view(image, box) {
  const side = Math.max(2, rint(POINTS_ROOM * Math.max(box[2] - box[0], box[3] - box[1])));
  const [left, top] = [rint((box[0] + box[2] - side + 1) / 2), rint((box[1] + box[3] - side + 1) / 2)];
  return { left, top, side, pixels: resize(cut(image, left, top, side, side), POINTS_SIZE, POINTS_SIZE, side > POINTS_SIZE) };
}

const scaled = (image, scale) => resize(image, Math.max(1, rint(image.width * scale)), Math.max(1, rint(image.height * scale)), scale < 1);

// Of each heat map its softmax's mean, from the centre in units of the side, and its entropy.
function readMaps({ data, dims: [count, kinds, side] }) {
  const plane = side * side;
  return Array.from({ length: count }, (_, n) => {
    const points = [];
    let entropy = 0;
    for (let k = 0; k < kinds; k += 1) {
      const map = data.subarray((n * kinds + k) * plane, (n * kinds + k + 1) * plane);
      const most = map.reduce((a, b) => Math.max(a, b), -Infinity);
      let [total, x, y, weighted] = [0, 0, 0, 0];
      for (const [p, value] of map.entries()) {
        const share = Math.exp(value - most);
        total += share;
        weighted += share * (value - most);
        x += share * (((p % side) + 0.5) / side - 0.5);
        y += share * ((Math.floor(p / side) + 0.5) / side - 0.5);
      }
      points.push([x / total, y / total]);
      entropy += (Math.log(total) - weighted / total) / kinds;
    }
    return { points, entropy };
  });
}

export class Detector {
  // `run`: (which network, values, dimensions) to its outputs by name.
  constructor(run, minScore) {
    this.run = run;
    this.minScore = minScore;
  }

  // Faces in a picture at the scale at which it is shown, in pixels of one of that width and height.
  async #look(shown, width, height, minScore = this.minScore) {
    const outputs = await this.run("detector", ...tensor([filled(shown)], normalised));
    let faces = STRIDES.flatMap((stride) => decode(outputs[`stride${stride}`], stride, logit(minScore)));
    if (faces.length > MOST) faces = faces.sort((a, b) => b.score - a.score).slice(0, MOST);
    const [sx, sy] = [width / shown.width, height / shown.height];
    return faces.map(({ score, box, points }) => ({ score, box: box.map((v, k) => v * (k % 2 ? sy : sx)), points: points.map(([x, y]) => [x * sx, y * sy]) }));
  }

  // Faces of an RGB picture, the largest first: box xyxy, score, five points, and the degrees by which it is turned clockwise.
  async detect(image) {
    const { width, height } = image;
    const long = Math.max(width, height);
    const first = long < LEAST_SIDE ? Math.min(ENLARGED, LEAST_SIDE / long) : Math.min(1, MAX_SIDE / long);
    let faces = await this.#look(scaled(image, first), width, height);
    const [large, small] = [LARGE / first, scaled(image, SMALL_SIDE / long)];
    const looks = new Map();
    const fromSide = async (turn) => {
      const size = turn === 180 ? [width, height] : [height, width];
      if (!looks.has(turn)) looks.set(turn, await this.#look(turnedBack(small, turn), ...size));
      return looks.get(turn);
    };
    if (long * first > 1.5 * SMALL_SIDE) {
      const seen = await this.#look(small, width, height, UNSEEN * this.minScore);
      const second = seen.filter((face) => face.score >= this.minScore);
      const clear = (CLEAR * long) / SMALL_SIDE;
      let ghosts = faces.filter((face) => unseen(face, seen, clear));
      for (const turn of ghosts.length ? SIDES : []) { // a turned face that look sees from another side
        const there = await fromSide(turn);
        ghosts = ghosts.filter((face) => unseen({ score: face.score, box: boxTurnedBack(face.box, turn, width, height) }, there, clear));
      }
      faces = [...faces.filter((face) => !ghosts.includes(face) && !outvoted(face, second, large)), ...second.filter((face) => size(face) > large)];
    }
    faces = suppressed(faces);
    faces = faces.filter((face) => !isPart(face, faces) && !isEcho(face, faces, large, image));
    for (const face of faces) await this.#landmarks(image, face);
    await this.#lookAround(fromSide, faces, width, height);
    const again = (face) => faces.some((other) => other.whose && other.whose === face.whose && other.alike > face.alike);
    // From near a face lying on its side looks like nothing.
    const isSure = (face) => face.turn % 180 || logit(face.score) + face.added >= logit(this.minScore);
    const stays = (face) => isSure(face) && (!face.turn || (!again(face) && shownShare(face, image) > CUT));
    return faces.filter(stays).sort((a, b) => area(b.box) - area(a.box));
  }

  // The mean of a face's answer and its mirror image's; turned over, a face that is upside down is the clearer one.
  async #landmarks(image, face) {
    const { left, top, side, pixels } = view(image, face.box);
    const over = upsideDown(pixels);
    const outputs = await this.run("points", ...tensor([pixels, mirrored(pixels), over, mirrored(over)], normalised));
    const [plain, mirror, ...turned] = readMaps(outputs.points);
    face.points = plain.points.map(([x, y], k) => {
      const [mx, my] = mirror.points[MIRRORED[k]];
      return [left + ((x - mx) / 2 + 0.5) * side - 0.5, top + ((y + my) / 2 + 0.5) * side - 0.5];
    });
    // What the views add to the logit of the score, of the two ways up; detectors before ferkit-face-v4 say nothing of it.
    const added = outputs.face?.data;
    face.added = added ? Math.max(added[0] + added[1], added[2] + added[3]) / 2 : 0;
    face.clearer = (plain.entropy + mirror.entropy - turned[0].entropy - turned[1].entropy) / 2;
    face.turn = face.clearer > CLEARER ? 180 : 0;
  }

  // Where a face might be turned, from the other sides: what one of them sees as one face is one, and how much of it each part has.
  async #lookAround(fromSide, faces, width, height) {
    const scale = SMALL_SIDE / Math.max(width, height);
    const doubtful = faces.filter((face) => face.clearer > DOUBTFUL && size(face) * scale > CLEAR);
    const best = new Map(doubtful.map((face) => [face, face.score]));
    for (const turn of doubtful.length ? SIDES : []) {
      const seen = await fromSide(turn);
      for (const face of doubtful) {
        const box = boxTurnedBack(face.box, turn, width, height);
        const shared = (other) => intersection(box, other.box) / Math.max(Math.min(area(box), area(other.box)), 1e-9);
        for (const other of seen) {
          if (other.score <= best.get(face) || shared(other) <= ONE) continue;
          Object.assign(face, { turn, whose: other, alike: iou(box, other.box) });
          best.set(face, other.score);
        }
      }
    }
  }
}
