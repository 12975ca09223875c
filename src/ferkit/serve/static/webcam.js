// The webcam tab: frames go out one after the other. Each is shown together with its own answer, so that boxes never
// lag behind the picture. What was seen is kept in memory until it is asked for.

import { chosenNames, choices, classTable, labels, nameOf } from "./choices.js";
import { $, announce, csvOf, element, save, say } from "./dom.js";
import { facePanel, updatePanel } from "./faces.js";
import { predict } from "./local.js";
import { drawnOver, overlay } from "./overlay.js";
import { Numbers, Record, Smoother } from "./people.js";
import { service } from "./service.js";
import { Timeline, peopleTable } from "./timeline.js";

const FRAME_SIDE = 640; // px; frames are sent no larger: detection time grows with the area
const SHOWN_S = 60; // of the timeline while the camera runs; afterwards all of it
const REDRAW_MS = 500;
const HEARD_MS = 4000; // between two announcements

export const camera = {
  socket: null,
  media: null,
  turn: 0,
  record: null,
  failed: false, // whether the last answer was an error

  get running() {
    return this.media !== null;
  },

  async start() {
    if (!navigator.mediaDevices) throw new Error("This browser gives cameras to pages on https or localhost only.");
    const turn = (this.turn += 1);
    const wanted = $("camera-choice").value;
    const which = wanted ? { deviceId: { exact: wanted } } : { facingMode: "user" };
    const media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, ...which }, audio: false });
    if (turn !== this.turn) {
      for (const track of media.getTracks()) track.stop(); // stopped while the browser was still asking
      return;
    }
    this.media = media;
    media.getVideoTracks()[0].addEventListener("ended", () => turn === this.turn && this.stop("The camera went away."));
    await this.listCameras(media);
    if (turn !== this.turn) return; // stopped meanwhile, as below
    $("video").srcObject = media;
    await $("video").play().catch((error) => {
      if (turn === this.turn) throw error;
    });
    if (turn !== this.turn) return;
    $("video-hint").hidden = true;
    this.begin();
    this.connect(turn);
  },

  // A new record: another camera or other labels would not fit the old one.
  begin() {
    this.record = new Record(labels().classes.map((c) => c.name));
    this.classes = classTable();
    [this.numbers, this.smoother, this.times, this.frames, this.since] = [new Numbers(choices.offer.tracks_people), new Smoother(), [], 0, performance.now()];
    this.panels = new Map();
    $("live-faces").replaceChildren();
    $("live-record").hidden = false;
    this.redraw(true);
  },

  async listCameras(media) {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    const chosen = media.getVideoTracks()[0].getSettings().deviceId;
    const options = cameras.map((device, n) => new Option(device.label || `Camera ${n + 1}`, device.deviceId, false, device.deviceId === chosen));
    if (options.length > 0) $("camera-choice").replaceChildren(...options);
  },

  connect(turn) {
    this.socket = null;
    if (choices.local) return this.send();
    const address = new URL("v1/stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address);
    this.socket.addEventListener("open", () => {
      this.configure();
      this.send();
    });
    this.socket.addEventListener("message", (event) => turn === this.turn && this.receive(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => {
      if (turn === this.turn && this.running) this.stop(event.reason || "The connection to the service ended. Press Start to go on.");
      if (event.code === 1008) service.onKeyWanted();
    });
    return undefined;
  },

  configure() {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ ...chosenNames(), key: service.key }));
    if (this.running && this.record && String([...classTable().keys()]) !== String(this.record.labels)) {
      say("A new record begins: the labels have changed.");
      this.begin();
    }
  },

  // The next frame goes out when the last one is answered: the service sets the pace.
  send() {
    if (!this.running || (!choices.local && this.socket?.readyState !== WebSocket.OPEN)) return;
    const video = $("video");
    if (document.hidden || !video.videoWidth) {
      setTimeout(() => this.send(), 200);
      return;
    }
    const scale = Math.min(1, FRAME_SIDE / Math.max(video.videoWidth, video.videoHeight));
    this.sent ??= element("canvas");
    this.sent.width = Math.round(video.videoWidth * scale);
    this.sent.height = Math.round(video.videoHeight * scale);
    this.sent.getContext("2d").drawImage(video, 0, 0, this.sent.width, this.sent.height);
    this.sentAt = performance.now();
    if (choices.local) {
      const turn = this.turn;
      predict(this.sent, chosenNames())
        .then((answer) => turn === this.turn && this.receive({ ...answer.images[0], frame: this.frames }))
        .catch((error) => turn === this.turn && this.stop(error.message));
      return;
    }
    this.sent.toBlob((blob) => this.socket?.readyState === WebSocket.OPEN && this.socket.send(blob), "image/jpeg", 0.85);
  },

  receive(answer) {
    if (answer.error) {
      say(answer.error.message, true);
      this.failed = true;
      if (answer.frame >= 0) setTimeout(() => this.send(), 500);
      return;
    }
    if (this.frames === 0 || this.failed) say(""); // it goes on
    this.failed = false;
    // After a change of labels an answer or two still come in the old ones.
    if (answer.faces.every((face) => String(Object.keys(face.probabilities)) === String(this.record.labels))) this.take(answer);
    const now = performance.now();
    this.times = [...this.times.filter((t) => now - t < 2000), now];
    const rate = this.times.length > 1 ? ((this.times.length - 1) * 1000) / (now - this.times[0]) : 0;
    $("rate").textContent = `${rate.toFixed(1)} frames/s, ${Math.round(now - this.sentAt)} ms`;
    requestAnimationFrame(() => this.send());
  },

  take({ width, height, faces }) {
    const time = (this.sentAt - this.since) / 1000;
    const seconds = Number($("smooth").value);
    const seen = this.numbers.number(faces, time).map((face) => {
      if (!face.track_id) return face;
      const probabilities = this.smoother.smooth(face.track_id, time, face.probabilities, seconds);
      const [label, confidence] = Object.entries(probabilities).reduce((top, entry) => (entry[1] > top[1] ? entry : top));
      return { ...face, probabilities, label, confidence };
    });
    this.record.add(this.frames, time, seen);
    this.frames += 1;
    this.show(width, height, seen);
    this.redraw();
  },

  show(width, height, faces) {
    const picture = $("live-picture");
    [picture.width, picture.height, picture.hidden] = [this.sent.width, this.sent.height, false];
    const pen = picture.getContext("2d");
    if ($("mirror").checked) {
      pen.translate(picture.width, 0);
      pen.scale(-1, 1);
    }
    pen.drawImage(this.sent, 0, 0);
    const stage = picture.parentElement;
    stage.querySelector("svg")?.remove();
    this.drawing = overlay(width, height, faces, this.classes, stage.clientWidth, $("mirror").checked);
    stage.append(this.drawing);
    this.showPanels([...faces].sort((a, b) => (a.track_id ?? Infinity) - (b.track_id ?? Infinity)));
    this.hear(faces);
  },

  // Panels stay the same elements from frame to frame, so that neither focus nor an open one is lost.
  showPanels(faces) {
    const before = this.panels;
    this.panels = new Map();
    for (const [index, face] of faces.entries()) {
      const key = `${face.track_id ?? `new ${index}`}, ${faces.length > 2}`;
      const panel = before.get(key) ?? facePanel(face, index, faces.length, this.classes);
      updatePanel(panel, face, index, faces.length, this.classes);
      before.delete(key);
      this.panels.set(key, panel);
    }
    const list = $("live-faces");
    if (before.size === 0 && [...this.panels.values()].every((panel, n) => list.children[n] === panel) && faces.length > 0) return;
    const empty = [element("p", { className: "muted" }, "No face in view.")];
    list.replaceChildren(...(faces.length > 0 ? this.panels.values() : empty));
  },

  hear(faces) {
    const words = faces.map((face) => `person ${face.track_id ?? "new"}: ${nameOf(face) ?? "unsure"}`).join(", ") || "no face in view";
    if (words === this.heard || performance.now() - (this.heardAt ?? 0) < HEARD_MS) return;
    [this.heard, this.heardAt] = [words, performance.now()];
    announce(words);
  },

  redraw(now = false) {
    if (!now && performance.now() - this.drawnAt < REDRAW_MS) return;
    this.drawnAt = performance.now();
    const people = [...this.record.people.values()];
    const end = this.record.end;
    const from = this.running ? Math.max(0, end - SHOWN_S) : this.record.rows[0]?.time ?? 0;
    const shown = this.running ? people.filter((person) => person.times.at(-1) >= from) : people;
    this.timeline.show(shown, from, this.running ? Math.max(end, from + SHOWN_S / 6) : end, this.classes);
    if (this.running) this.timeline.goTo(end);
    $("live-people").replaceChildren(peopleTable(people, this.classes));
  },

  stop(reason = "") {
    this.turn += 1;
    for (const track of this.media?.getTracks() ?? []) track.stop();
    this.media = null;
    this.socket?.close();
    this.socket = null;
    $("video").srcObject = null;
    $("video").parentElement.querySelector("svg")?.remove();
    $("live-picture").hidden = true;
    $("video-hint").hidden = false;
    $("live-faces").replaceChildren();
    $("rate").textContent = "";
    $("camera").textContent = "Start webcam";
    if (this.record) this.redraw(true);
    say(reason, Boolean(reason));
  },

  // With another threshold; while the camera runs, the next frame shows it by itself.
  showAgain() {
    if (this.record && !this.running) this.redraw(true);
  },

  forget() {
    if (this.running) this.begin();
    else {
      this.record = null;
      $("live-record").hidden = true;
      $("camera").focus();
    }
    announce("What was seen is forgotten.");
  },

  // The picture as it is shown, with its boxes, as PNG.
  async snapshot() {
    const picture = $("live-picture");
    if (picture.hidden || !this.drawing) return say("There is no picture yet; start the webcam first.", true);
    save(await drawnOver(picture, this.drawing), `webcam-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`);
    return undefined;
  },
};

async function toggle() {
  if (camera.running) {
    camera.stop();
    return;
  }
  try {
    $("camera").textContent = "Stop webcam";
    await camera.start();
  } catch (error) {
    const words = { NotAllowedError: "The browser was not allowed to use the camera.", NotFoundError: "There is no camera here.", NotReadableError: "The camera is in use by another program." };
    camera.stop(words[error.name] ?? error.message);
  }
}

export function wireWebcam() {
  camera.timeline = new Timeline($("live-timeline"));
  $("camera").addEventListener("click", toggle);
  $("camera-choice").addEventListener("change", async () => {
    if (!camera.running) return;
    camera.stop();
    await toggle();
  });
  const mirror = () => $("video").classList.toggle("mirrored", $("mirror").checked);
  $("mirror").addEventListener("change", mirror);
  mirror();
  $("snapshot").addEventListener("click", () => camera.snapshot());
  $("live-csv").addEventListener("click", () => camera.record && save(new Blob([csvOf(camera.record.csv())], { type: "text/csv" }), "webcam.csv"));
  $("forget").addEventListener("click", () => camera.forget());
}
