// What was read in faces: a panel for each, and a bar that sums a group up.

import { nameOf } from "./choices.js";
import { element, percent, several } from "./dom.js";
import { icon } from "./icons.js";
import { colorOf, numberOf } from "./overlay.js";

const COMPACT = 2; // more faces than this have one line each, that opens

function bars(face, classes) {
  const list = element("ul", { className: "bars" });
  for (const name of Object.keys(face.probabilities)) {
    const fill = element("span", { className: "fill" });
    fill.style.background = colorOf(name, classes);
    const parts = [element("span", { className: "name" }, name), element("span", { className: "track", "aria-hidden": "true" }, fill), element("span", { className: "value" })];
    list.append(element("li", { "data-label": name }, icon(name, colorOf(name, classes)), ...parts));
  }
  return list;
}

function fillBars(list, face) {
  for (const item of list.children) {
    const [name, p] = [item.dataset.label, face.probabilities[item.dataset.label]];
    item.classList.toggle("top", name === nameOf(face));
    item.querySelector(".fill").style.width = `${100 * p}%`;
    item.querySelector(".value").textContent = percent(p);
  }
}

function title(face, index, count, classes) {
  const name = nameOf(face);
  const kind = element("span", { className: "only-heard" }, face.track_id ? "Person " : "Face ");
  const number = count > 1 || face.track_id ? [kind, element("span", { className: "number" }, String(numberOf(face, index)))] : [];
  const words = element("span", { className: "words" }, name ?? "unsure");
  if (name === null && face.label) words.append(element("small", {}, ` perhaps ${face.label}`));
  return [...number, icon(name, colorOf(name, classes)), words, element("span", { className: "confidence" }, percent(face.confidence))];
}

// Write a face into a panel that facePanel made: what has the focus stays where it is.
export function updatePanel(panel, face, index, count, classes) {
  panel.firstChild.replaceChildren(...title(face, index, count, classes));
  fillBars(panel.lastChild, face);
}

// One face: its name and its bars; of many faces one line, that opens.
export function facePanel(face, index, count, classes) {
  const compact = count > COMPACT;
  const panel = element(compact ? "details" : "section", { className: compact ? "face compact" : "face" });
  panel.append(element(compact ? "summary" : "h3", { "data-do": `face-${index}` }), bars(face, classes));
  updatePanel(panel, face, index, count, classes);
  return panel;
}

// How many faces show what, the most frequent first: [label or null, count].
export function counts(faces) {
  const found = new Map();
  for (const face of faces) found.set(nameOf(face), (found.get(nameOf(face)) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]);
}

export function inWords(faces) {
  if (faces.length === 0) return "no face found";
  const parts = counts(faces).map(([name, n]) => (faces.length === 1 ? name ?? "unsure" : `${n} ${name ?? "unsure"}`));
  return `${several(faces.length, "face")}: ${parts.join(", ")}`;
}

// A group in one bar, each part as wide as its share of the faces.
export function summaryBar(faces, classes) {
  const bar = element("div", { className: "summary-bar", "aria-hidden": "true" });
  const key = element("ul", { className: "summary-key" });
  for (const [name, n] of counts(faces)) {
    const part = element("span", {});
    part.style.flexGrow = n;
    part.style.background = colorOf(name, classes);
    bar.append(part);
    key.append(element("li", {}, icon(name, colorOf(name, classes)), `${n} ${name ?? "unsure"}`));
  }
  const whole = element("div", { className: "group-summary" }, bar, key);
  return whole;
}

// Panels and marks light each other up, by mouse and by keyboard.
export function link(panels, drawing) {
  const light = (index, on) => {
    panels[index]?.classList.toggle("lit", on);
    for (const mark of drawing.children) mark.classList.toggle("dim", on && mark.dataset.face !== String(index));
  };
  for (const [index, panel] of panels.entries()) {
    for (const event of ["mouseenter", "focusin"]) panel.addEventListener(event, () => light(index, true));
    for (const event of ["mouseleave", "focusout"]) panel.addEventListener(event, () => light(index, false));
  }
  for (const mark of drawing.children) {
    const index = Number(mark.dataset.face);
    mark.addEventListener("mouseenter", () => light(index, true));
    mark.addEventListener("mouseleave", () => light(index, false));
    mark.addEventListener("click", () => {
      panels[index].open = true;
      panels[index].scrollIntoView({ block: "nearest" });
    });
  }
}
