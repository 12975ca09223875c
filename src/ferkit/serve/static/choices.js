// What can be chosen: weights, what they answer, and from which probability a name is said. In words for people.

import { $ } from "./dom.js";

const OUTPUTS = {
  photos: "Seven expressions, for photos",
  fer2013: "Seven, as FER2013 names them",
  fer6: "Six, without disgust",
  ferplus: "Eight, with contempt (FER+)",
};
const SIZES = { n: "Small and quick", s: "Balanced", b: "Larger, slower" };

// `local`: pictures stay in this browser.
export const choices = { offer: null, local: false };

function wordsOfWeights(name) {
  const size = SIZES[name.match(/-([a-z])-v\d+$/)?.[1]];
  const words = name.includes("ensemble") ? "Several networks together, slowest" : size;
  return words ? `${words} (${name})` : name;
}

const wordsOfOutput = ({ name, classes }) => OUTPUTS[name] ?? `${classes.length} labels (${name})`;

export const weights = () => choices.offer.weights.find((w) => w.name === $("weights").value);
export const labels = () => weights().labels.find((l) => l.name === $("labels").value);
export const classTable = () => new Map(labels().classes.map((c) => [c.name, c]));
// What a question to the service, or to the networks in this browser, names.
export const chosenNames = () => ({ weights: weights().name, labels: labels().name });
export const threshold = () => Number($("threshold").value) / 100;

export function offer(found) {
  choices.offer = found;
  $("weights").replaceChildren(...found.weights.map((w) => new Option(wordsOfWeights(w.name), w.name, w.default, w.default)));
  fillLabels();
}

function fillLabels() {
  $("labels").replaceChildren(...weights().labels.map((l) => new Option(wordsOfOutput(l), l.name, l.default, l.default)));
}

// The name to show for a face: none where the service abstained, or where it is less sure than was asked for.
export const nameOf = (face) => (face.confidence < threshold() ? null : face.label);

function showThreshold() {
  const words = threshold() === 0 ? "never" : `below ${$("threshold").value} %`;
  $("threshold-value").textContent = words;
  $("threshold").setAttribute("aria-valuetext", words);
}

// `asked`: everything is asked anew, with other weights or labels. `shown`: what is known is only shown in another way.
export function wireChoices({ asked, shown }) {
  $("weights").addEventListener("change", () => {
    fillLabels();
    asked();
  });
  $("labels").addEventListener("change", asked);
  $("threshold").addEventListener("input", () => {
    showThreshold();
    shown();
  });
  showThreshold();
}
