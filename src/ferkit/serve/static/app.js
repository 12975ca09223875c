// The page of `ferkit serve`. Plain modules, no build step. Styles are set through the CSSOM only: the policy allows no inline ones.

import { clipped, leader, place } from "./layout.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const UPLOADS_AT_ONCE = 2; // the service works on a few pictures at a time anyway
const FRAME_SIDE = 640; // webcam frames are sent no larger: detection time grows with the area
const UNSURE = 0.5; // an answer below it is more likely wrong than right; measured on photos, see benchmarks/README.md
const KEEP = 0.55; // smoothing: how much of the last frame's box and bars stays

const state = { offer: null, key: null, photos: [], queue: [], busy: 0 };

// ---------------------------------------------------------------- small helpers

function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function shape(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const percent = (p) => `${(100 * p).toFixed(p > 0.0995 ? 0 : 1)} %`;
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// ---------------------------------------------------------------- the service

async function call(path, options = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const headers = { ...options.headers };
    if (state.key) headers.Authorization = `Bearer ${state.key}`;
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    if (response.status === 401) askForKey();
    if (response.status === 503 && attempt < 8) {
      await wait(Math.min(10, Number(response.headers.get("Retry-After")) || 1));
      continue;
    }
    const problem = await response.json().catch(() => null);
    throw new Error(problem?.error?.message ?? `The service answered ${response.status}.`);
  }
}

function askForKey() {
  if ($("key-form").hidden) {
    $("key-form").hidden = false;
    $("key").focus();
  }
}

async function loadOffer() {
  const offer = await (await call("v1/weights")).json();
  state.offer = offer;
  $("weights").replaceChildren(...offer.weights.map((w) => new Option(w.name, w.name, w.default, w.default)));
  fillLabels();
  const { max_bytes: bytes, max_pixels: pixels } = offer.limits;
  $("limits").textContent = `JPEG, PNG, WebP, GIF or BMP, up to ${Math.round(bytes / 1e6)} MB and ${Math.round(pixels / 1e6)} megapixels.`;
  $("version").textContent = `Version ${offer.ferkit}, detector ${offer.detector}.`;
}

const chosenWeights = () => state.offer.weights.find((w) => w.name === $("weights").value);
const chosenLabels = () => chosenWeights().labels.find((l) => l.name === $("labels").value);

function fillLabels() {
  const options = chosenWeights().labels.map((l) => new Option(`${l.name} (${l.classes.length})`, l.name, l.default, l.default));
  $("labels").replaceChildren(...options);
}

function question(draw = false) {
  const parameters = new URLSearchParams({ weights: $("weights").value, labels: $("labels").value });
  if (draw) parameters.set("draw", "1");
  if (draw && $("blur").checked) parameters.set("blur", "1");
  return `v1/predict?${parameters}`;
}

// The name to show for a face: none where the service abstained, or where the page is to say so.
const nameOf = (face) => ($("unsure").checked && face.confidence < UNSURE ? null : face.label);

// ---------------------------------------------------------------- drawing

function ink(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
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
  const who = face.track_id ?? (count > 1 ? number + 1 : "");
  return `${who === "" ? "" : `${who} `}${nameOf(face) ?? "unsure"}${short ? "" : ` ${Math.round(100 * face.confidence)}%`}`;
}

// Every label as large and whole as there is room for: its text, its size and its place.
function tags(width, height, faces, boxes, scale) {
  const [largest, least] = [Math.min(17, Math.max(11, width / scale / 34)) * scale, 11 * scale];
  let best = null;
  for (const [size, short] of [[largest, false], [(largest + least) / 2, false], [least, false], [least, true]]) {
    const texts = faces.map((face, number) => tagText(face, number, faces.length, short));
    const plates = texts.map((text) => [Math.min(width, (textWidth(text) + 0.7) * size), Math.min(height, 1.4 * size)]);
    const [places, covered] = place(width, height, boxes, plates);
    if (!best || covered < best.covered - 1e-6) best = { size, texts, places, covered };
    if (covered < 0.02) break;
  }
  return best;
}

// Boxes and tags as an SVG in the picture's own pixels, so that they scale with it. `shown` is its width on the screen.
function overlay(width, height, faces, classes, shown, mirrored = false) {
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const scale = width / (shown || 600);
  const boxes = faces.map(({ box: [x1, y1, x2, y2] }) => clipped(mirrored ? [width - x2, y1, width - x1, y2] : [x1, y1, x2, y2], width, height));
  if (faces.length === 0) return svg;
  const { size, texts, places } = tags(width, height, faces, boxes, scale);
  const unit = size / 3.8;
  for (const [number, face] of faces.entries()) {
    const look = classes.get(nameOf(face)) ?? { colour: "#6e6e6e", emoji: "" };
    const [[x1, y1, x2, y2], plate] = [boxes[number], places[number]];
    const group = shape("g", { class: "face-mark", "data-face": number });
    const rect = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rx: unit };
    group.append(shape("rect", { ...rect, class: "box-halo", "stroke-width": unit * 1.1 }));
    group.append(shape("rect", { ...rect, class: "box", stroke: look.colour, "stroke-width": unit * 0.6 }));
    const line = leader(boxes[number], plate, size);
    if (line) {
      const [[fromX, fromY], [toX, toY]] = line;
      group.append(shape("line", { x1: fromX, y1: fromY, x2: toX, y2: toY, stroke: look.colour, "stroke-width": unit * 0.4 }));
    }
    const [x, y, width_, height_] = [plate[0], plate[1], plate[2] - plate[0], plate[3] - plate[1]];
    group.append(shape("rect", { x, y, width: width_, height: height_, rx: unit * 0.8, fill: look.colour, class: "plate" }));
    const middle = { x: x + width_ / 2, y: y + size * 1.04, "text-anchor": "middle", "font-size": size, fill: ink(look.colour) };
    group.append(shape("text", { class: "tag", ...middle }, texts[number]));
    svg.append(group);
  }
  return svg;
}

function faceTitle(face, number, count, look) {
  // In a stream the service knows people again; in a photo faces are counted.
  const who = face.track_id ? ` person ${face.track_id}` : count > 1 ? ` face ${number + 1} of ${count}` : "";
  return [
    element("span", { className: "emoji", "aria-hidden": "true" }, look?.emoji ?? ""),
    element("span", {}, nameOf(face) ?? "unsure", element("small", {}, who)),
    element("span", { className: "confidence" }, percent(face.confidence)),
  ];
}

function facePanel(face, number, count, classes) {
  const panel = element("section", { className: "face", tabIndex: 0 });
  panel.setAttribute("aria-label", `Face ${number + 1}: ${nameOf(face) ?? "unsure"}, ${percent(face.confidence)}`);
  panel.append(element("h3", {}, ...faceTitle(face, number, count, classes.get(nameOf(face)))));
  const bars = element("ul", { className: "bars" });
  for (const [name, p] of Object.entries(face.probabilities)) {
    const look = classes.get(name) ?? { colour: "#6e6e6e", emoji: "" };
    const fill = element("span", { className: "fill" });
    fill.style.width = `${100 * p}%`;
    fill.style.background = look.colour;
    const top = name === nameOf(face) ? " top" : "";
    bars.append(
      element(
        "li",
        {},
        element("span", { className: "emoji", "aria-hidden": "true" }, look.emoji),
        element("span", { className: `name${top}` }, name),
        element("span", { className: "track", "aria-hidden": "true" }, fill),
        element("span", { className: `value${top}` }, percent(p)),
      ),
    );
  }
  panel.append(bars);
  return panel;
}

function classTable(labels) {
  return new Map(labels.classes.map((c) => [c.name, c]));
}

// ---------------------------------------------------------------- photos

function addFiles(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  if (pictures.length < files.length) say(`${files.length - pictures.length} of the files are no pictures.`, true);
  for (const file of pictures) {
    const photo = { file, url: URL.createObjectURL(file), result: null, card: element("article", { className: "card" }) };
    photo.name = file.name || "pasted picture";
    state.photos.push(photo);
    $("results").prepend(photo.card);
    showWaiting(photo);
    ask(photo);
  }
  $("actions").hidden = state.photos.length === 0;
}

function cardTitle(photo, ...buttons) {
  return element("div", { className: "title" }, element("h2", {}, photo.name), ...buttons);
}

function showWaiting(photo) {
  const stage = element("figure", { className: "stage" }, element("img", { src: photo.url, alt: photo.name }));
  photo.card.replaceChildren(cardTitle(photo), stage, element("p", { className: "muted" }, "Looking for faces…"));
}

function ask(photo) {
  photo.result = null;
  photo.turn = (photo.turn ?? 0) + 1;
  state.queue.push([photo, photo.turn]);
  work();
}

async function work() {
  while (state.busy < UPLOADS_AT_ONCE && state.queue.length > 0) {
    const [photo, turn] = state.queue.shift();
    if (photo.gone || photo.turn !== turn) continue;
    state.busy += 1;
    answer(photo, turn).finally(() => {
      state.busy -= 1;
      work();
    });
  }
}

async function answer(photo, turn) {
  try {
    const labels = chosenLabels();
    const body = new FormData();
    body.append("image", photo.file, photo.name);
    const response = await (await call(question(), { method: "POST", body })).json();
    if (photo.gone || photo.turn !== turn) return;
    const [image] = response.images;
    photo.result = { schema: response.schema, image: photo.name, width: image.width, height: image.height, weights: response.weights, labels: response.labels, faces: image.faces };
    photo.classes = classTable(labels);
    showResult(photo, photo.classes);
    const waiting = state.photos.filter((p) => !p.result && !p.failed).length;
    say(waiting > 0 ? `${waiting} still to come…` : "");
  } catch (error) {
    if (photo.gone || photo.turn !== turn) return;
    photo.failed = true;
    photo.card.replaceChildren(cardTitle(photo, removeButton(photo)), element("p", { className: "error" }, error.message));
  }
}

function removeButton(photo) {
  const button = element("button", { type: "button" }, "Remove");
  button.setAttribute("aria-label", `Remove ${photo.name}`);
  button.addEventListener("click", () => remove(photo));
  return button;
}

function showResult(photo, classes) {
  const { width, height, faces } = photo.result;
  const stage = element("figure", { className: "stage" }, element("img", { src: photo.url, alt: `${photo.name}, ${faces.length} face(s)` }));
  const list = element("div", { className: "faces" });
  if (faces.length === 0) list.append(element("p", { className: "muted" }, "No face found. Faces should be upright and look towards the camera."));
  const panels = faces.map((face, number) => facePanel(face, number, faces.length, classes));
  list.append(...panels);
  const picture = element("button", { type: "button", className: "save-picture" }, "Download picture");
  picture.addEventListener("click", () => savePicture(photo, picture));
  photo.card.classList.toggle("many", faces.length > 2);
  photo.card.replaceChildren(cardTitle(photo, element("span", { className: "buttons" }, picture, " ", removeButton(photo))), stage, list);
  const drawing = overlay(width, height, faces, classes, stage.clientWidth);
  stage.append(drawing);
  for (const [number, panel] of panels.entries()) {
    const light = (on) => {
      panel.classList.toggle("lit", on);
      for (const mark of drawing.children) mark.classList.toggle("dim", on && mark.dataset.face !== String(number));
    };
    for (const event of ["mouseenter", "focus"]) panel.addEventListener(event, () => light(true));
    for (const event of ["mouseleave", "blur"]) panel.addEventListener(event, () => light(false));
  }
}

async function savePicture(photo, button) {
  button.disabled = true;
  try {
    const body = new FormData();
    body.append("image", photo.file, photo.name);
    const response = await call(question(true), { method: "POST", body });
    save(await response.blob(), `${photo.name.replace(/\.[^.]*$/, "")}-ferkit.png`);
  } catch (error) {
    say(error.message, true);
  }
  button.disabled = false;
}

function remove(photo) {
  photo.gone = true;
  photo.card.remove();
  URL.revokeObjectURL(photo.url);
  state.photos = state.photos.filter((p) => p !== photo);
  $("actions").hidden = state.photos.length === 0;
}

function askAgain() {
  for (const photo of state.photos) {
    photo.failed = false;
    showWaiting(photo);
    ask(photo);
  }
  camera.configure();
}

// ---------------------------------------------------------------- webcam

function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  const area = (r) => (r[2] - r[0]) * (r[3] - r[1]);
  return (w * h) / (area(a) + area(b) - w * h);
}

// Blend every face with the one it overlaps in the last frame, so that boxes and bars do not flicker.
function smoothed(faces, before) {
  const left = [...before];
  return faces.map((face) => {
    const nearest = left.reduce((found, old) => (overlap(old.box, face.box) > overlap(found?.box ?? [0, 0, 0, 0], face.box) ? old : found), null);
    // The service's number says who it is, even after a jump; a first sight has none yet.
    const best = left.find((old) => face.track_id && old.track_id === face.track_id) ?? nearest;
    const stranger = best?.track_id && face.track_id && best.track_id !== face.track_id;
    if (!best || stranger || (best === nearest && overlap(best.box, face.box) < 0.3)) return face;
    left.splice(left.indexOf(best), 1);
    const blend = (old, now) => KEEP * old + (1 - KEEP) * now;
    const probabilities = Object.fromEntries(Object.entries(face.probabilities).map(([name, p]) => [name, blend(best.probabilities[name] ?? p, p)]));
    const [label, confidence] = Object.entries(probabilities).reduce((top, entry) => (entry[1] > top[1] ? entry : top));
    return { ...face, box: face.box.map((v, i) => blend(best.box[i], v)), probabilities, label, confidence };
  });
}

const camera = {
  socket: null,
  media: null,
  faces: [],
  times: [],
  frames: 0,

  get running() {
    return this.media !== null;
  },

  async start() {
    if (!navigator.mediaDevices) throw new Error("This browser gives cameras to pages on https or localhost only.");
    this.media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" }, audio: false });
    $("video").srcObject = this.media;
    await $("video").play();
    $("video-hint").hidden = true;
    this.faces = [];
    this.frames = 0;
    const address = new URL("v1/stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.socket.addEventListener("open", () => {
      this.configure();
      this.send();
    });
    this.socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => {
      if (this.running) this.stop(event.reason || "The service closed the stream.");
      if (event.code === 1008) askForKey();
    });
  },

  configure() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify({ weights: $("weights").value, labels: $("labels").value, key: state.key }));
  },

  // The next frame goes out when the last one is answered: the service sets the pace.
  send() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const video = $("video");
    if (document.hidden || !video.videoWidth) {
      setTimeout(() => this.send(), 200);
      return;
    }
    const scale = Math.min(1, FRAME_SIDE / Math.max(video.videoWidth, video.videoHeight));
    this.canvas ??= element("canvas");
    this.canvas.width = Math.round(video.videoWidth * scale);
    this.canvas.height = Math.round(video.videoHeight * scale);
    this.canvas.getContext("2d").drawImage(video, 0, 0, this.canvas.width, this.canvas.height);
    this.sent = performance.now();
    this.canvas.toBlob((blob) => this.socket?.readyState === WebSocket.OPEN && this.socket.send(blob), "image/jpeg", 0.85);
  },

  receive(answer) {
    if (!this.running) return;
    if (answer.error) {
      say(answer.error.message, true);
      if (answer.frame >= 0) setTimeout(() => this.send(), 500);
      return;
    }
    this.frames += 1;
    say("");
    const classes = classTable(chosenLabels());
    // After a change of labels an answer or two still come in the old ones.
    if (answer.faces.every((face) => Object.keys(face.probabilities).every((name) => classes.has(name)))) {
      this.faces = $("smooth").checked ? smoothed(answer.faces, this.faces) : answer.faces;
      this.draw(answer.width, answer.height, classes);
    }
    const now = performance.now();
    this.times = [...this.times.filter((t) => now - t < 2000), now];
    const rate = this.times.length > 1 ? ((this.times.length - 1) * 1000) / (now - this.times[0]) : 0;
    $("rate").textContent = `${rate.toFixed(1)} frames/s, ${Math.round(now - this.sent)} ms`;
    requestAnimationFrame(() => this.send());
  },

  draw(width, height, classes) {
    const stage = $("video").parentElement;
    stage.querySelector("svg")?.remove();
    stage.append(overlay(width, height, this.faces, classes, stage.clientWidth, $("mirror").checked));
    const panels = this.faces.map((face, number) => facePanel(face, number, this.faces.length, classes));
    $("live-faces").replaceChildren(...(panels.length > 0 ? panels : [element("p", { className: "muted" }, "No face in view.")]));
  },

  stop(reason = "") {
    for (const track of this.media?.getTracks() ?? []) track.stop();
    this.media = null;
    this.socket?.close();
    this.socket = null;
    $("video").srcObject = null;
    $("video").parentElement.querySelector("svg")?.remove();
    $("video-hint").hidden = false;
    $("live-faces").replaceChildren();
    $("rate").textContent = "";
    $("camera").textContent = "Start webcam";
    say(reason, Boolean(reason));
  },
};

// ---------------------------------------------------------------- wiring

function show(name) {
  for (const tab of ["photos", "webcam"]) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  if (name !== "webcam" && camera.running) camera.stop();
  say("");
}

function wire() {
  for (const tab of ["photos", "webcam"]) {
    $(`tab-${tab}`).addEventListener("click", () => show(tab));
    $(`tab-${tab}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = tab === "photos" ? "webcam" : "photos";
      show(other);
      $(`tab-${other}`).focus();
    });
  }
  $("files").addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = ""; // the same file may be chosen again
  });
  const drop = $("drop");
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault()); // a miss must not leave the page
  drop.addEventListener("dragover", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (event.dataTransfer.files.length === 0) return;
    show("photos");
    addFiles(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length === 0) return;
    show("photos");
    addFiles(event.clipboardData.files);
  });
  $("weights").addEventListener("change", () => {
    fillLabels();
    askAgain();
  });
  $("labels").addEventListener("change", askAgain);
  $("unsure").addEventListener("change", () => {
    for (const photo of state.photos) if (photo.result) showResult(photo, photo.classes); // the webcam's next frame shows it by itself
  });
  $("clear").addEventListener("click", () => state.photos.forEach(remove));
  $("save-json").addEventListener("click", () => {
    const results = state.photos.filter((photo) => photo.result).map((photo) => photo.result);
    save(new Blob([JSON.stringify(results, null, 1)], { type: "application/json" }), "ferkit.json");
  });
  $("camera").addEventListener("click", async () => {
    if (camera.running) {
      camera.stop();
      return;
    }
    try {
      $("camera").textContent = "Stop webcam";
      await camera.start();
    } catch (error) {
      camera.stop(error.name === "NotAllowedError" ? "The browser was not allowed to use the camera." : error.message);
    }
  });
  const mirror = () => $("video").classList.toggle("mirrored", $("mirror").checked);
  $("mirror").addEventListener("change", mirror);
  mirror();
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state.key = $("key").value; // kept in this page's memory only
    $("key").value = "";
    $("key-form").hidden = true;
    say("");
    loadOffer().then(askAgain).catch((error) => say(error.message, true));
  });
  loadOffer().catch((error) => say(error.message, true));
}

wire();
