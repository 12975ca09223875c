// The photos tab: every file has a card that says how far it is, can be cancelled and tried again, and shows what was found.

import { chosenNames, choices, classTable } from "./choices.js";
import { $, announce, button, calm, element, keepingFocus, save, say, several } from "./dom.js";
import { evidencePanel, overPhoto } from "./evidence.js";
import { facePanel, inWords, link, summaryBar } from "./faces.js";
import { predict } from "./local.js";
import { drawnOver, overlay } from "./overlay.js";
import { readingNumbers } from "./reading.js";
import { call, cancelled } from "./service.js";
import { shrunk, unshrunk } from "./shrink.js";

const AT_ONCE = 2; // the service works on a few pictures at a time anyway
const FULL_SIDE = 2000; // px; what services older than this page look at

let photos = [];
let working = 0;
let seen = true; // whether the first result of what was added last has been scrolled to

function question(draw = false) {
  const parameters = new URLSearchParams(chosenNames());
  if (draw) parameters.set("draw", "1");
  if (draw && $("blur").checked) parameters.set("blur", "1");
  return `v1/predict?${parameters}`;
}

async function body(photo) {
  photo.small ??= await shrunk(photo.file, choices.offer.limits.max_side ?? FULL_SIDE);
  const form = new FormData();
  form.append("image", photo.small.file, photo.name);
  return form;
}

export function addFiles(files) {
  const all = [...files];
  const pictures = all.filter((file) => file.type.startsWith("image/") || !file.type);
  say("");
  if (pictures.length < all.length) say(`${several(all.length - pictures.length, "file")} left out: not a picture.`, true);
  if (pictures.length === 0) return;
  seen = false;
  for (const file of pictures) {
    const card = element("article", { className: "card" });
    const photo = { file, name: file.name || "pasted picture", url: URL.createObjectURL(file), card, state: "waiting", turn: 0 };
    card.setAttribute("aria-label", photo.name);
    photos.push(photo);
    $("results").append(card);
    ask(photo);
  }
  $("photos").classList.add("has-results");
  showActions();
}

// What can be done with all photos: what there is nothing for is not offered.
function showActions() {
  const some = photos.some((photo) => photo.state === "done");
  $("actions").hidden = photos.length === 0;
  $("save-json").hidden = !some;
  $("blur").parentElement.hidden = !some || choices.local;
}

function ask(photo) {
  photo.abort?.abort();
  photo.turn += 1;
  photo.state = "waiting";
  photo.result = null;
  photo.reasons = null;
  showActions();
  showProgress(photo, "Waiting for its turn…");
  work();
}

function work() {
  while (working < AT_ONCE) {
    const photo = photos.find((p) => p.state === "waiting");
    if (!photo || !choices.offer) return;
    photo.state = "working";
    working += 1;
    answer(photo, photo.turn).finally(() => {
      working -= 1;
      work();
    });
  }
}

// In the browser alone: nothing leaves it.
function read(photo) {
  showProgress(photo, "Looking for faces, in this browser…");
  return predict(photo.file, chosenNames());
}

async function send(photo, stale) {
  const form = await body(photo);
  if (stale()) throw new DOMException("Cancelled.", "AbortError");
  showProgress(photo, "Sending…");
  return call(question(), {
    method: "POST",
    body: form,
    signal: photo.abort.signal,
    onProgress: (share) => !stale() && showProgress(photo, share < 1 ? `Sending, ${Math.floor(100 * share)} %` : "Looking for faces…", share),
    onWait: (seconds) => !stale() && showProgress(photo, `The service is busy; next try in ${seconds} s…`),
  });
}

async function answer(photo, turn) {
  const stale = () => photo.turn !== turn || photo.state === "gone";
  photo.abort = new AbortController();
  try {
    showProgress(photo, "Getting ready…");
    const classes = classTable();
    const local = choices.local;
    const response = local ? await read(photo) : await send(photo, stale);
    if (stale()) return;
    const { width, height, faces } = unshrunk(response.images[0], local ? { scale: 1 } : photo.small);
    photo.result = { schema: response.schema, image: photo.name, width, height, weights: response.weights, labels: response.labels, faces };
    photo.classes = classes;
    photo.state = "done";
    showResult(photo);
    showActions();
    tell(photo);
    if (explaining()) explain(photo);
  } catch (error) {
    if (stale()) return;
    photo.state = "failed";
    photo.again = worthAsking(error);
    showFailure(photo, cancelled(error) ? "Cancelled." : error.message);
  }
}

const explaining = () => $("explain").checked && !choices.local;

// Ask what the answers rest on: {text} while it is under way or where it failed, {faces, labels} once it is there.
async function explain(photo) {
  if ((photo.reasons && !photo.reasons.failed) || photo.state !== "done" || photo.result.faces.length === 0) return;
  const { turn } = photo;
  const stale = () => photo.turn !== turn || photo.state !== "done";
  const tellAll = (reasons) => {
    photo.reasons = reasons;
    showResult(photo);
  };
  tellAll({ text: "Asking the network what it looks at…" });
  try {
    const parameters = new URLSearchParams(chosenNames());
    const options = { method: "POST", body: await body(photo), signal: photo.abort.signal };
    const { faces } = await call(`v1/explain?${parameters}`, options);
    if (stale()) return;
    const { scale } = photo.small;
    for (const { evidence } of faces) evidence.corners = evidence.corners.map((point) => point.map((v) => v * scale));
    tellAll({ faces, labels: faces.map((face) => top(face.probabilities)) });
    announce(`${photo.name}: what the answers rest on is shown.`);
  } catch (error) {
    if (!stale() && !cancelled(error)) tellAll({ text: error.message, failed: true });
  }
}

const top = (probabilities) => Object.entries(probabilities).reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];

function showReasons(photo, panels, stage) {
  if (!explaining() || !photo.reasons) return;
  const { text, failed, faces, labels: looked } = photo.reasons;
  if (!faces) {
    panels[0]?.parentElement.prepend(element("p", { className: failed ? "error" : "muted" }, text));
    return;
  }
  const { width, height } = photo.result;
  const paint = () => {
    stage.querySelector(".evidence-photo")?.remove();
    stage.firstChild.after(overPhoto(width, height, faces, looked, stage.clientWidth));
  };
  if (faces.length < panels.length) {
    panels[0].parentElement.prepend(element("p", { className: "muted" }, `Only the ${several(faces.length, "largest face is", "largest faces are")} explained.`));
  }
  for (const [index, face] of faces.entries()) {
    panels[index]?.append(
      evidencePanel(face, index, looked[index], (label) => {
        looked[index] = label;
        paint();
      }),
    );
  }
  paint();
}

// Say what was found, and bring the first result of a batch into view.
function tell(photo) {
  const left = photos.filter((p) => p.state === "waiting" || p.state === "working").length;
  announce(`${photo.name}: ${inWords(photo.result.faces)}.${left > 0 ? ` ${left} still to come.` : ""}`);
  if (seen) return;
  seen = true;
  photo.card.scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
}

function named(text, photo, action, name) {
  const made = button(text, action, { "data-do": name, className: name });
  made.setAttribute("aria-label", `${text}: ${photo.name}`);
  return made;
}

function cardTitle(photo, ...buttons) {
  return element("div", { className: "title" }, element("h2", {}, photo.name), element("span", { className: "buttons" }, ...buttons));
}

function picture(photo) {
  const image = element("img", { src: photo.url, alt: photo.name });
  const stage = element("figure", { className: "stage" }, image);
  image.addEventListener("error", () => image.replaceWith(element("p", { className: "muted" }, "This browser cannot show this kind of picture.")), { once: true });
  return stage;
}

function showProgress(photo, text, share) {
  if (photo.progress?.isConnected) {
    photo.progress.querySelector("p").textContent = text;
    const bar = photo.progress.querySelector("progress");
    if (share === undefined || share >= 1) bar.removeAttribute("value");
    else bar.value = share;
    return;
  }
  const bar = element("progress", { max: 1 });
  bar.setAttribute("aria-label", `Progress of ${photo.name}`);
  photo.progress = element("div", { className: "progress" }, element("p", { className: "muted" }, text), bar);
  keepingFocus(photo.card, () => {
    photo.card.className = "card working";
    photo.card.replaceChildren(cardTitle(photo, named("Cancel", photo, () => cancel(photo), "cancel")), picture(photo), photo.progress);
  });
}

function cancel(photo) {
  const wasWaiting = photo.state === "waiting";
  photo.abort?.abort();
  if (!wasWaiting) return;
  photo.state = "failed";
  showFailure(photo, "Cancelled.");
}

function showFailure(photo, message) {
  keepingFocus(photo.card, () => {
    photo.card.className = "card failed";
    const buttons = [named("Try again", photo, () => ask(photo), "again"), removeButton(photo)];
    photo.card.replaceChildren(cardTitle(photo, ...buttons), picture(photo), element("p", { className: "error" }, message));
  });
  announce(`${photo.name}: ${message}`);
}

const removeButton = (photo) => named("Remove", photo, () => remove(photo), "remove");

function showResult(photo) {
  const { width, height, faces } = photo.result;
  const stage = picture(photo);
  stage.firstChild.alt = `${photo.name}: ${inWords(faces)}`;
  const list = element("div", { className: "faces" });
  if (faces.length === 0) list.append(element("p", { className: "muted" }, "No face found. Faces should be upright and look towards the camera."));
  const numbers = readingNumbers(faces);
  const panels = faces.map((face, index) => facePanel(face, numbers[index] - 1, faces.length, photo.classes));
  list.append(...[...panels.keys()].sort((a, b) => numbers[a] - numbers[b]).map((index) => panels[index]));
  const download = named("Download picture", photo, () => savePicture(photo, download), "save-picture");
  keepingFocus(photo.card, () => {
    photo.card.className = faces.length > 2 ? "card many" : "card";
    photo.card.replaceChildren(cardTitle(photo, download, removeButton(photo)), stage);
    if (faces.length > 2) photo.card.append(summaryBar(faces, photo.classes));
    photo.card.append(list);
  });
  const drawing = overlay(width, height, faces, photo.classes, stage.clientWidth);
  stage.append(drawing);
  link(panels, drawing);
  showReasons(photo, panels, stage);
}

const drawnName = (photo) => `${photo.name.replace(/\.[^.]*$/, "")}-ferkit.png`;

async function savePicture(photo, pressed) {
  pressed.setAttribute("aria-disabled", "true");
  say("Drawing the picture…");
  try {
    if (choices.local) {
      const { width, height, faces } = photo.result;
      const drawing = overlay(width, height, faces, photo.classes, 900);
      save(await drawnOver(await createImageBitmap(photo.file, { imageOrientation: "from-image" }), drawing), drawnName(photo));
      say("");
      return;
    }
    const drawn = await call(question(true), { method: "POST", body: await body(photo), responseType: "blob" });
    save(drawn, drawnName(photo));
    say("");
  } catch (error) {
    say(error.message, true);
  } finally {
    pressed.removeAttribute("aria-disabled");
  }
}

function remove(photo) {
  const next = photo.card.nextElementSibling ?? photo.card.previousElementSibling;
  photo.state = "gone";
  photo.abort?.abort();
  photo.card.remove();
  URL.revokeObjectURL(photo.url);
  photos = photos.filter((p) => p !== photo);
  showActions();
  $("photos").classList.toggle("has-results", photos.length > 0);
  const focus = next?.querySelector(".remove, .cancel") ?? $("files");
  focus.focus();
}

export function askAgain() {
  for (const photo of photos) ask(photo);
}

export function showAgain() {
  for (const photo of photos) if (photo.state === "done") showResult(photo);
}

// Not what was cancelled, nor what is no picture: asked again it fails again.
const worthAsking = ({ status }) => status === 0 || status === 401 || status === 429 || status >= 500;

// Whoever waited for a key, or for the service itself.
export function goOn() {
  for (const photo of photos) if (photo.state === "failed" && photo.again) ask(photo);
  work();
}

export function wirePhotos() {
  $("explain").addEventListener("change", () => {
    for (const photo of photos) {
      if (explaining()) explain(photo);
      if (photo.state === "done") showResult(photo);
    }
  });
  for (const id of ["files", "shot"]) {
    $(id).addEventListener("change", (event) => {
      addFiles(event.target.files);
      event.target.value = ""; // the same file may be chosen again
    });
  }
  $("clear").addEventListener("click", () => {
    for (const photo of [...photos]) remove(photo);
    announce("All photos are removed.");
  });
  $("save-json").addEventListener("click", () => {
    const results = photos.filter((photo) => photo.result).map((photo) => photo.result);
    save(new Blob([JSON.stringify(results, null, 1)], { type: "application/json" }), "ferkit.json");
  });
}
