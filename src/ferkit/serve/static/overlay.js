// Boxes and tags over a picture, as an SVG in the picture's own pixels, so that they scale with it.

import { nameOf } from "./choices.js";
import { element, shape } from "./dom.js";
import { clipped, leader, place } from "./layout.js";
import { readingNumbers } from "./reading.js";

const UNKNOWN = "#6e6e6e";
const MANY = 6; // faces from which tags hold numbers only, and the cards and the bar say the rest

export const colorOf = (label, classes) => classes.get(label)?.colour ?? UNKNOWN;
export const numberOf = (face, index) => face.track_id ?? index + 1;

export function ink(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

// The width of a tag's text, in units of its size: fonts differ between systems by a third.
function textWidth(text) {
  textWidth.pen ??= element("canvas").getContext("2d");
  textWidth.pen.font = `600 100px ${getComputedStyle(document.body).fontFamily}`;
  return textWidth.pen.measureText(text).width / 100;
}

// What is written at a face: its number where there are several, what it shows, and how sure that is.
function tagText(face, number, count, short) {
  const who = face.track_id ?? (count > 1 ? number : "");
  if (count > MANY) return String(who);
  return `${who === "" ? "" : `${who} `}${nameOf(face) ?? "unsure"}${short ? "" : ` ${Math.round(100 * face.confidence)}%`}`;
}

// Every tag as large and whole as there is room for: its text, its size and its place.
function tags(width, height, faces, boxes, scale) {
  const [largest, least] = [Math.min(17, Math.max(11, width / scale / 34)) * scale, 11 * scale];
  const numbers = readingNumbers(faces);
  let best = null;
  for (const [size, short] of [[largest, false], [(largest + least) / 2, false], [least, false], [least, true]]) {
    const texts = faces.map((face, index) => tagText(face, numbers[index], faces.length, short));
    const plates = texts.map((text) => [Math.min(width, (textWidth(text) + 0.7) * size), Math.min(height, 1.4 * size)]);
    const [places, covered] = place(width, height, boxes, plates);
    if (!best || covered < best.covered - 1e-6) best = { size, texts, places, covered };
    if (covered < 0.02) break;
  }
  return best;
}

function mark(box, plate, text, size, color) {
  const [unit, [x1, y1, x2, y2]] = [size / 3.8, box];
  const rect = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rx: unit, fill: "none" };
  const group = shape("g", { class: "face-mark" });
  group.append(shape("rect", { ...rect, stroke: "#000", "stroke-opacity": 0.45, "stroke-width": unit * 1.1 }));
  group.append(shape("rect", { ...rect, class: "box", stroke: color, "stroke-width": unit * 0.6 }));
  const line = leader(box, plate, size);
  if (line) {
    const [[fromX, fromY], [toX, toY]] = line;
    group.append(shape("line", { x1: fromX, y1: fromY, x2: toX, y2: toY, stroke: color, "stroke-width": unit * 0.4 }));
  }
  const [x, y, w, h] = [plate[0], plate[1], plate[2] - plate[0], plate[3] - plate[1]];
  group.append(shape("rect", { x, y, width: w, height: h, rx: unit * 0.8, fill: color }));
  const look = { "text-anchor": "middle", "font-size": size, "font-weight": 600, "font-family": "system-ui, sans-serif", fill: ink(color) };
  group.append(shape("text", { class: "tag", x: x + w / 2, y: y + size * 1.04, ...look }, text));
  return group;
}

// `shown` is the picture's width on the screen, in CSS pixels.
export function overlay(width, height, faces, classes, shown, mirrored = false) {
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "overlay", "aria-hidden": "true" });
  if (faces.length === 0) return svg;
  const boxes = faces.map(({ box: [x1, y1, x2, y2] }) => clipped(mirrored ? [width - x2, y1, width - x1, y2] : [x1, y1, x2, y2], width, height));
  const { size, texts, places } = tags(width, height, faces, boxes, width / (shown || 600));
  for (const [index, face] of faces.entries()) {
    const group = mark(boxes[index], places[index], texts[index], size, colorOf(nameOf(face), classes));
    group.dataset.face = index;
    svg.append(group);
  }
  return svg;
}

// A picture with its boxes and tags, as PNG.
export async function drawnOver(picture, drawing) {
  const canvas = element("canvas", { width: picture.width, height: picture.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const address = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(drawing)], { type: "image/svg+xml" }));
  const drawn = element("img", { src: address });
  await drawn.decode();
  pen.drawImage(drawn, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  return new Promise((done) => canvas.toBlob(done));
}
