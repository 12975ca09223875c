// "Do not send my picture": the networks run here, in a worker of this page. Answers have the service's form.

let worker = null;
let next = 0;
const waiting = new Map();

const base = () => new URL("local/", document.baseURI).href;

function ask(kind, rest, transfer = []) {
  if (!worker) {
    worker = new Worker(new URL("./local-worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const [done, fail] = waiting.get(id);
      waiting.delete(id);
      if (error) fail(new Error(`The browser could not do this: ${error}`));
      else done(result);
    });
    worker.addEventListener("error", () => {
      for (const [, fail] of waiting.values()) fail(new Error("The networks could not be loaded into this browser."));
      waiting.clear();
      worker = null;
    });
  }
  const id = (next += 1);
  return new Promise((done, fail) => {
    waiting.set(id, [done, fail]);
    worker.postMessage({ id, kind, ...rest }, transfer);
  });
}

// Load everything that is needed; afterwards no network is. Returns what can be chosen, as /v1/weights does.
export async function load() {
  const { ferkit, detector, weights } = await ask("start", { base: base() });
  return { ferkit, detector, limits: { max_bytes: 1e8, max_pixels: 5e7, max_side: Infinity }, weights, tracks_people: false, reads_films: false };
}

// The answer to one picture: a file, or anything else that has pixels.
export async function predict(source, { weights, labels }) {
  const bitmap = await createImageBitmap(source, { imageOrientation: "from-image", premultiplyAlpha: "none" }).catch(() => null);
  if (!bitmap) throw new Error("This browser cannot open this kind of picture.");
  const image = await ask("predict", { bitmap, weights, labels }, [bitmap]);
  return { schema: 1, weights, labels, images: [{ ...image, error: null }] };
}
