// Reads pictures with face-api or human on tfjs's WASM backend: benchmarks/peers.py starts it in the folder where npm installed
// them. The job and the answer are those of peers_worker.py. tfjs-node would be faster, but downloads a binary while installing.
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const here = createRequire(path.join(process.cwd(), 'package.json'));
const jpeg = here('jpeg-js');
const wasm = path.join(process.cwd(), 'node_modules/@tensorflow/tfjs-backend-wasm/dist/');
const fromDisk = async (address) => {
  const file = String(address).replace(/^file:\/\//, '');
  return new Response(fs.readFileSync(file));
};

function pixels(tf, file) {
  const { width, height, data } = jpeg.decode(fs.readFileSync(file), { useTArray: true, formatAsRGBA: false });
  return tf.tensor3d(data, [height, width, 3], 'int32');
}

const best = (scores) => Object.entries(scores).reduce((a, b) => (b[1] > a[1] ? b : a))[0];

async function faceApi(mode) {
  const tf = here('@tensorflow/tfjs');
  here('@tensorflow/tfjs-backend-wasm').setWasmPaths(wasm);
  await tf.setBackend('wasm');
  await tf.ready();
  const api = here('@vladmandic/face-api/dist/face-api.node-wasm.js');
  const models = path.join(process.cwd(), 'node_modules/@vladmandic/face-api/model');
  await api.nets.faceExpressionNet.loadFromDisk(models);
  const labels = { angry: 'angry', disgusted: 'disgust', fearful: 'fear', happy: 'happy', sad: 'sad', surprised: 'surprise', neutral: 'neutral' };
  if (mode !== 'photos') {
    return async (file) => {
      const image = pixels(tf, file);
      const answer = labels[best({ ...(await api.nets.faceExpressionNet.predictExpressions(image)) })];
      tf.dispose(image);
      return answer;
    };
  }
  await api.nets.ssdMobilenetv1.loadFromDisk(models);
  return async (file) => {
    const image = pixels(tf, file);
    const faces = await api.detectAllFaces(image, new api.SsdMobilenetv1Options()).withFaceExpressions();
    tf.dispose(image);
    if (!faces.length) return null;
    const area = (face) => face.detection.box.width * face.detection.box.height;
    return labels[best({ ...faces.reduce((a, b) => (area(b) > area(a) ? b : a)).expressions })];
  };
}

async function human(mode) {
  globalThis.fetch = fromDisk;
  const { Human } = require(path.join(process.cwd(), 'node_modules/@vladmandic/human/dist/human.node-wasm.js'));
  const reader = new Human({
    backend: 'wasm',
    wasmPath: wasm,
    modelBasePath: `file://${path.join(process.cwd(), 'node_modules/@vladmandic/human/models')}/`,
    cacheSensitivity: 0,
    skipAllowed: false,
    filter: { enabled: false },
    face: { enabled: true, emotion: { enabled: true, minConfidence: 0 }, iris: { enabled: false }, description: { enabled: false }, antispoof: { enabled: false }, liveness: { enabled: false } },
    body: { enabled: false }, hand: { enabled: false }, object: { enabled: false }, gesture: { enabled: false }, segmentation: { enabled: false },
  });
  await reader.load();
  const tf = reader.tf;
  if (mode !== 'photos') {
    const model = reader.models.models.emotion;
    const labels = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];
    return async (file) => {
      const scores = tf.tidy(() => {
        const image = tf.div(tf.cast(tf.expandDims(pixels(tf, file), 0), 'float32'), 255);
        const small = tf.image.resizeBilinear(image, [64, 64]);
        const grey = tf.sum(tf.mul(small, [0.2989, 0.587, 0.114]), 3, true);
        return model.execute(tf.mul(tf.sub(grey, 0.5), 2)).dataSync();
      });
      return labels[scores.indexOf(Math.max(...scores))];
    };
  }
  return async (file) => {
    const image = pixels(tf, file);
    const { face } = await reader.detect(image);
    tf.dispose(image);
    if (!face.length) return null;
    const largest = face.reduce((a, b) => (b.box[2] * b.box[3] > a.box[2] * a.box[3] ? b : a));
    return largest.emotion?.length ? largest.emotion.reduce((a, b) => (b.score > a.score ? b : a)).emotion : null;
  };
}

(async () => {
  const job = JSON.parse(fs.readFileSync(0, 'utf8'));
  const read = await (job.package === 'human' ? human : faceApi)(job.mode);
  const answers = [];
  for (const file of job.files) answers.push(await read(file));
  fs.writeFileSync(1, `\n${JSON.stringify({ answers })}\n`);
  process.exit(0);
})();
