// Who was seen when, and what their faces showed: smoothing in seconds, rows, shares of time. All in memory.

import { nameOf } from "./choices.js";

const FLOOR = 1e-6; // of a probability, before its logarithm
const SAME = 0.3; // IoU from which a face is the one of the frame before, where the service gives no numbers
const LOST_S = 1; // after so long out of sight a face without the service's number is somebody new
const FRAME_S = 1; // a frame stands for the time until the person's next one, at most so long
const MOST = 200_000; // rows that are kept

export function iou(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  const area = (r) => (r[2] - r[0]) * (r[3] - r[1]);
  return (w * h) / (area(a) + area(b) - w * h);
}

function softmax(logits) {
  const most = Math.max(...logits);
  const shares = logits.map((v) => Math.exp(v - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((v) => v / sum);
}

// Exponential smoothing of logarithms, as ferkit video does it: after `seconds` a change has arrived by 63 %.
export class Smoother {
  #state = new Map();

  smooth(id, time, probabilities, seconds) {
    let logits = Object.values(probabilities).map((p) => Math.log(Math.max(p, FLOOR)));
    const last = this.#state.get(id);
    if (last && seconds > 0) {
      const weight = 1 - Math.exp(-Math.max(0, time - last.time) / seconds);
      logits = logits.map((v, k) => last.logits[k] + weight * (v - last.logits[k]));
    }
    this.#state.set(id, { time, logits });
    return Object.fromEntries(softmax(logits).map((p, k) => [Object.keys(probabilities)[k], p]));
  }
}

// Numbers for faces: the service's own; where it gives none, by where they were in the frame before.
export class Numbers {
  #before = [];
  #next = 1;
  #given;

  // `given`: the service numbers people. A first sight has no number yet: the second one will.
  constructor(given) {
    this.#given = given;
  }

  number(faces, time) {
    if (this.#given) return faces;
    const known = this.#before.filter((old) => time - old.time < LOST_S);
    const numbered = faces.map((face) => {
      const best = known.reduce((found, old) => (iou(old.box, face.box) > (found ? iou(found.box, face.box) : SAME) ? old : found), null);
      if (best) known.splice(known.indexOf(best), 1);
      return { ...face, track_id: best?.id ?? this.#next++ };
    });
    this.#before = [...known, ...numbered.map((face) => ({ box: face.box, id: face.track_id, time }))];
    return numbered;
  }
}

// Everything that was seen: `people` by number, each with times, probabilities and labels, in order.
export class Record {
  constructor(labels) {
    this.labels = labels;
    this.rows = [];
    this.people = new Map();
    this.end = 0;
    this.dropped = false;
  }

  add(frame, time, faces) {
    this.end = Math.max(this.end, time);
    for (const face of faces) {
      if (!face.track_id) continue;
      if (!this.people.has(face.track_id)) this.people.set(face.track_id, { id: face.track_id, times: [], answers: [] });
      const person = this.people.get(face.track_id);
      person.times.push(time);
      person.answers.push(face);
      this.rows.push({ frame, time, face });
    }
    if (this.rows.length > MOST) this.#forgetOldest();
  }

  #forgetOldest() {
    this.dropped = true;
    const since = this.rows[Math.floor(MOST / 10)].time;
    this.rows = this.rows.filter((row) => row.time >= since);
    for (const [id, person] of this.people) {
      const first = person.times.findIndex((time) => time >= since);
      if (first < 0) this.people.delete(id);
      else for (const list of [person.times, person.answers]) list.splice(0, first);
    }
  }

  // The columns of `ferkit video --table rows.csv`; the label is the most probable one, whatever the page calls unsure.
  csv() {
    const head = ["frame", "time_s", "track_id", "x1", "y1", "x2", "y2", "score", "label", "confidence", ...this.labels];
    const cells = ({ frame, time, face }) => [
      ...[frame, time.toFixed(3), face.track_id, ...face.box.map((v) => v.toFixed(2)), face.score, face.label, face.confidence.toFixed(4)],
      ...this.labels.map((name) => face.probabilities[name]?.toFixed(4)),
    ];
    return [head, ...this.rows.map(cells)];
  }
}

// The answer of a person at a time, or null where nobody was there.
export function answerAt(person, time) {
  let [low, high] = [0, person.times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (person.times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time - person.times[low - 1] <= FRAME_S ? person.answers[low - 1] : null;
}

// Seconds in sight, and the share of them per answer, null being unsure: [[label, share], ...], the largest first.
export function shares({ times, answers }) {
  const seconds = new Map();
  let step = FRAME_S;
  let all = 0;
  for (const [n, answer] of answers.entries()) {
    if (n + 1 < times.length) step = Math.min(FRAME_S, times[n + 1] - times[n]);
    const name = nameOf(answer);
    seconds.set(name, (seconds.get(name) ?? 0) + step);
    all += step;
  }
  return { seconds: all, shares: [...seconds].map(([name, s]) => [name, s / (all || 1)]).sort((a, b) => b[1] - a[1]) };
}
