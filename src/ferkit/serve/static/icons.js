// Icons of our own for the labels: drawn, so that they look the same everywhere and need no font.

import { shape } from "./dom.js";

const EYES = "M8.5 10v.6M15.5 10v.6";
const DRAWN = {
  angry: ["M6.8 8l3 1.6M17.2 8l-3 1.6", "M8.8 11.4v.4M15.2 11.4v.4", "M8.5 17c1.8-1.9 5.2-1.9 7 0"],
  disgust: ["M7.2 9.4l2.6.9M16.8 9.4l-2.6.9", "M7.5 15.4c1.5-1.2 3 1.2 4.5 0s3 1.2 4.5 0", "M13.6 16.2v1.3a1.1 1.1 0 0 0 2.2 0v-1.6"],
  fear: ["M7 7.6l2.4-1M17 7.6l-2.4-1", "M8.5 10.3v1M15.5 10.3v1", "M8 16.6l1.3-1.4 1.4 1.4 1.3-1.4 1.3 1.4 1.4-1.4 1.3 1.4"],
  happy: [EYES, "M7.5 13.6c1.6 4.4 7.4 4.4 9 0z"],
  sad: ["M8.5 10.4v.6M15.5 10.4v.6", "M7 8.4l2.4-.9M17 8.4l-2.4-.9", "M8.5 16.8c1.6-2.4 5.4-2.4 7 0"],
  surprise: ["M7 7.2c.7-.6 1.7-.6 2.4 0M14.6 7.2c.7-.6 1.7-.6 2.4 0", EYES, "M12 13.6a1.9 2.3 0 1 0 .01 0z"],
  neutral: [EYES, "M8.3 15.5h7.4"],
  contempt: [EYES, "M8.3 16c2.6.4 5.2-.2 7.2-2"],
  unsure: ["M9.4 9.4a2.6 2.6 0 1 1 3.9 2.3c-.9.5-1.3 1-1.3 2", "M12 16.6v.4"],
};

// The icon for a label, in its color. Names that are not ours show their first letter.
export function icon(label, color, className = "icon") {
  const name = label ?? "unsure";
  const svg = shape("svg", { viewBox: "0 0 24 24", class: className, "aria-hidden": "true" });
  svg.append(shape("circle", { cx: 12, cy: 12, r: 10.4, fill: color, "fill-opacity": 0.28, stroke: color, "stroke-width": 1.6 }));
  if (name in DRAWN) {
    svg.append(...DRAWN[name].map((d) => shape("path", { d, class: "icon-line" })));
  } else {
    svg.append(shape("text", { x: 12, y: 16, "text-anchor": "middle", class: "icon-letter" }, [...name][0].toUpperCase()));
  }
  return svg;
}
