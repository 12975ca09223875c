// The networks, in a worker of their own so that the page stays quick. Nothing is fetched here but ferkit's own files.

import { classified } from "./local-classifier.js";
import { Detector } from "./local-detector.js";
import { fromCanvas } from "./local-pixels.js";

let ready = null;
const sessions = new Map();

async function start(base) {
  const at = (name) => new URL(name, base).href;
  const config = await (await fetch(at("config.json"))).json();
  const ort = await import(at("ort.wasm.min.mjs"));
  ort.env.wasm.numThreads = 1; // more need headers that forbid other sites' pages, which not every server sends
  ort.env.wasm.wasmPaths = { mjs: at("ort-wasm-simd-threaded.mjs"), wasm: at("ort-wasm-simd-threaded.wasm") };
  const open = async (name, file) => sessions.set(name, await ort.InferenceSession.create(at(file), { executionProviders: ["wasm"] }));
  await open("detector", "detector.onnx");
  await open("points", "points.onnx");
  for (const { name } of config.weights) await open(name, `${name}.onnx`);
  const run = (name, values, dims) => {
    const session = sessions.get(name);
    return session.run({ [session.inputNames[0]]: new ort.Tensor("float32", values, dims) });
  };
  return { config, run, detector: new Detector(run, config.min_score) };
}

const rounded = (value, digits) => Number(value.toFixed(digits));

function plain(face) {
  return {
    ...face,
    box: face.box.map((v) => rounded(v, 2)),
    score: rounded(face.score, 4),
    landmarks: face.landmarks?.map((point) => point.map((v) => rounded(v, 2))) ?? null,
  };
}

async function answer({ bitmap, weights, labels }) {
  const { config, run, detector } = await ready;
  const { width, height } = bitmap;
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff"; // behind transparent pixels, as the package has it
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const image = fromCanvas(pen.getImageData(0, 0, width, height));
  const chosen = config.weights.find((one) => one.name === weights);
  const { mixing, classes } = chosen.labels.find((one) => one.name === labels);
  const set = { mixing, classes: classes.map((one) => one.name) };
  const began = performance.now();
  const faces = await classified(image, await detector.detect(image), chosen, set, run);
  return { width, height, faces: faces.map(plain), ms: performance.now() - began };
}

addEventListener("message", async ({ data: { id, kind, ...rest } }) => {
  try {
    if (kind === "start") ready ??= start(rest.base);
    const result = kind === "start" ? (await ready).config : await answer(rest);
    postMessage({ id, result });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
});
