// What an answer rests on: maps over the face as the network sees it, and over the photo. Orange speaks for a label, blue against it.

import { element } from "./dom.js";

const [FOR, AGAINST] = [[213, 94, 0], [0, 114, 178]]; // Okabe and Ito's vermilion and blue, as the package draws them
const MOST = 0.75; // of the color, where a map is strongest: the face stays visible

// A map as colors on nothing, one pixel a cell.
function painted(map) {
  const [height, width] = [map.length, map[0].length];
  const strongest = Math.max(1e-9, ...map.flat().map(Math.abs));
  const canvas = element("canvas", { width, height });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  for (const [y, row] of map.entries()) {
    for (const [x, value] of row.entries()) {
      const color = value > 0 ? FOR : AGAINST;
      image.data.set([...color, Math.round((255 * MOST * Math.abs(value)) / strongest)], 4 * (y * width + x));
    }
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

// The maps of some labels, one for each explained face, where the faces lie in the photo.
export function overPhoto(width, height, explained, labels, shown) {
  const scale = Math.min(1, (2 * (shown || 600)) / width);
  const canvas = element("canvas", { width: Math.round(width * scale), height: Math.round(height * scale), className: "evidence-photo" });
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  for (const [n, { evidence }] of explained.entries()) {
    const map = painted(evidence.maps[labels[n]]);
    const [[x, y], [right, down], , [left, below]] = evidence.corners.map((point) => point.map((v) => v * scale));
    pen.setTransform((right - x) / map.width, (down - y) / map.width, (left - x) / map.height, (below - y) / map.height, x, y);
    pen.drawImage(map, 0, 0);
  }
  return canvas;
}

// Where in the face the evidence is, in words, for those who do not see it.
function inWords(map) {
  const [rows, columns] = [map.length, map[0].length];
  const parts = { "the brows and eyes": [0.15, 0.5], "the nose and cheeks": [0.45, 0.7], "the mouth and chin": [0.65, 1] };
  const sums = Object.entries(parts).map(([name, [from, to]]) => {
    const part = map.slice(Math.round(from * rows), Math.round(to * rows)).flat();
    return [name, part.reduce((sum, v) => sum + v, 0) / (part.length || columns)];
  });
  const [name, most] = sums.reduce((top, entry) => (entry[1] > top[1] ? entry : top));
  return most > 0 ? `most of it around ${name}` : "nothing in this face speaks for it";
}

// One face with its map, and a choice of labels. `onLabel` is told which one is looked at.
export function evidencePanel(face, index, label, onLabel) {
  const { maps, crop } = face.evidence;
  const canvas = element("canvas", { width: 192, height: 192 });
  const choice = element("select", { "data-do": `evidence-${index}` }, ...Object.keys(maps).map((name) => new Option(name, name, false, name === label)));
  const words = element("small", {});
  const picture = element("img", { alt: "" });
  const paint = () => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    if (picture.complete) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    pen.drawImage(painted(maps[choice.value]), 0, 0, canvas.width, canvas.height);
    words.textContent = `Orange speaks for it, blue against it; ${inWords(maps[choice.value])}.`;
  };
  picture.addEventListener("load", paint);
  choice.addEventListener("change", () => {
    paint();
    onLabel(choice.value);
  });
  paint();
  const bytes = Uint8Array.from(atob(crop), (c) => c.charCodeAt(0));
  picture.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
  return element("div", { className: "evidence" }, canvas, element("div", {}, element("label", { className: "field" }, "Evidence for ", choice), words));
}
