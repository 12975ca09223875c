// What people's faces showed over time: a strip for each, a cursor for mouse and keyboard, and a table that sums it up.

import { nameOf } from "./choices.js";
import { element, percent } from "./dom.js";
import { icon } from "./icons.js";
import { colorOf } from "./overlay.js";
import { answerAt, shares } from "./people.js";

const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600];
const MARKS = 6; // on the axis

export function clock(seconds, precise = false) {
  const whole = Math.floor(seconds + 1e-6);
  const text = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  return precise ? `${text}.${Math.floor((seconds - whole + 1e-6) * 10)}` : text;
}

export class Timeline {
  #people = [];
  #span = [0, 1];
  #classes = new Map();
  #rows = new Map();

  // `onSeek` is told the time that the cursor was moved to by hand.
  constructor(host, onSeek = () => {}) {
    this.onSeek = onSeek;
    this.time = 0;
    this.strips = element("div", { className: "strips" });
    this.cursor = element("div", { className: "cursor", hidden: true });
    this.axis = element("div", { className: "axis", "aria-hidden": "true" });
    this.readout = element("p", { className: "readout" });
    this.key = element("ul", { className: "key" });
    this.root = element("div", { className: "timeline", tabIndex: 0, role: "slider" }, this.strips, this.axis);
    this.root.setAttribute("aria-label", "Time");
    this.strips.append(this.cursor);
    host.replaceChildren(this.root, this.readout, this.key);
    this.root.addEventListener("pointermove", (event) => this.#look(event));
    this.root.addEventListener("pointerdown", (event) => this.#look(event, true));
    this.root.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.#paint()).observe(this.root);
    this.show([], 0, 1, new Map());
  }

  show(people, from, to, classes) {
    [this.#people, this.#span, this.#classes] = [people, [from, Math.max(to, from + 0.1)], classes];
    this.key.replaceChildren(...[...classes.keys()].map((name) => element("li", {}, icon(name, colorOf(name, classes)), ` ${name}`)));
    for (const [id, row] of this.#rows) {
      if (people.some((person) => person.id === id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const { id } of people) {
      if (this.#rows.has(id)) continue;
      const row = element("div", { className: "strip" }, element("span", {}, `person ${id}`), element("canvas"));
      this.#rows.set(id, row);
      this.strips.append(row);
    }
    this.#marks();
    this.#paint();
    this.#tell();
  }

  // Move the cursor, as a film does while it plays.
  goTo(time) {
    this.time = Math.min(Math.max(time, this.#span[0]), this.#span[1]);
    this.#tell();
  }

  #paint() {
    for (const person of this.#people) {
      const canvas = this.#rows.get(person.id)?.lastChild;
      if (!canvas?.clientWidth) continue;
      const [width, height] = [Math.round(canvas.clientWidth * devicePixelRatio), Math.round(canvas.clientHeight * devicePixelRatio)];
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      this.#paintStrip(canvas, person);
    }
    this.#place();
  }

  // A column a pixel: the probabilities of its time, stacked; pale where the answer is unsure.
  #paintStrip(canvas, person) {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const [from, to] = this.#span;
    for (let x = 0; x < canvas.width; x += 1) {
      const answer = answerAt(person, from + ((x + 0.5) / canvas.width) * (to - from));
      if (!answer) continue;
      pen.globalAlpha = nameOf(answer) === null ? 0.35 : 1;
      let y = canvas.height;
      for (const [name, p] of Object.entries(answer.probabilities)) {
        pen.fillStyle = colorOf(name, this.#classes);
        pen.fillRect(x, y - p * canvas.height, 1, p * canvas.height + 0.5);
        y -= p * canvas.height;
      }
    }
  }

  #marks() {
    const [from, to] = this.#span;
    const step = STEPS_S.find((s) => (to - from) / s <= MARKS) ?? (to - from) / MARKS;
    const marks = [];
    for (let t = Math.ceil(from / step - 1e-6) * step; t <= to + 1e-6; t += step) {
      const mark = element("span", {}, clock(t, step < 1));
      mark.style.left = `${(100 * (t - from)) / (to - from)}%`;
      mark.classList.toggle("first", (t - from) / (to - from) < 0.03);
      mark.classList.toggle("last", (t - from) / (to - from) > 0.97);
      marks.push(mark);
    }
    this.axis.replaceChildren(...marks);
  }

  #place() {
    const strip = this.#rows.values().next().value?.lastChild;
    this.cursor.hidden = !strip;
    if (!strip) return;
    const [from, to] = this.#span;
    this.cursor.style.left = `${strip.offsetLeft + ((this.time - from) / (to - from)) * strip.clientWidth}px`;
  }

  #tell() {
    this.time = Math.min(Math.max(this.time, this.#span[0]), this.#span[1]);
    const seen = this.#people.map((person) => [person.id, answerAt(person, this.time)]).filter(([, answer]) => answer);
    const words = seen.map(([id, answer]) => `person ${id}: ${nameOf(answer) ?? "unsure"} ${percent(answer.confidence)}`).join("; ");
    const text = `${clock(this.time, true)}  ${words || "nobody in sight"}`;
    this.readout.textContent = text;
    const values = { min: this.#span[0].toFixed(1), max: this.#span[1].toFixed(1), now: this.time.toFixed(1), text };
    for (const [name, value] of Object.entries(values)) this.root.setAttribute(`aria-value${name}`, value);
    this.#place();
  }

  #look(event, pressed = false) {
    const strip = this.#rows.values().next().value?.lastChild.getBoundingClientRect();
    if (!strip || (!pressed && event.buttons === 0 && this.held)) return;
    const [from, to] = this.#span;
    this.goTo(from + ((event.clientX - strip.left) / strip.width) * (to - from));
    if (pressed || event.buttons > 0) this.onSeek(this.time);
  }

  #press(event) {
    const [from, to] = this.#span;
    const step = event.shiftKey ? 5 : 0.5;
    const moves = { ArrowLeft: this.time - step, ArrowRight: this.time + step, ArrowDown: this.time - step, ArrowUp: this.time + step };
    const wanted = { ...moves, Home: from, End: to, PageDown: this.time - 5, PageUp: this.time + 5 }[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    this.goTo(wanted);
    this.onSeek(this.time);
  }
}

// A table of everybody: how long in sight, and what their time was shared among.
export function peopleTable(people, classes) {
  const table = element("table", { className: "people" });
  const head = element("tr", {}, ...["Person", "In sight", "Shares of the time"].map((text) => element("th", { scope: "col" }, text)));
  table.append(element("caption", { className: "only-heard" }, "Summary per person"), element("thead", {}, head));
  const rows = element("tbody");
  for (const person of people) {
    const summed = shares(person);
    const bar = element("div", { className: "summary-bar", "aria-hidden": "true" });
    for (const [name, share] of summed.shares) {
      const part = element("span");
      part.style.flexGrow = share;
      part.style.background = colorOf(name, classes);
      bar.append(part);
    }
    const words = summed.shares.filter(([, share]) => share >= 0.01).map(([name, share]) => `${name ?? "unsure"} ${percent(share)}`);
    const cells = [element("td", {}, clock(summed.seconds, true)), element("td", {}, words.join(", "), bar)];
    rows.append(element("tr", {}, element("th", { scope: "row" }, `person ${person.id}`), ...cells));
  }
  table.append(rows);
  const wide = element("div", { className: "wide", tabIndex: 0, role: "region" }, table);
  wide.setAttribute("aria-label", "Summary per person");
  return wide;
}
