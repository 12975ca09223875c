// The page of `ferkit serve`: plain modules, no build step. This one puts them together.

import { choices, offer, wireChoices } from "./choices.js";
import { $, megabytes, say, several } from "./dom.js";
import { wireExamples } from "./examples.js";
import { load as loadLocal } from "./local.js";
import { addFiles, askAgain, goOn, showAgain, wirePhotos } from "./photos.js";
import { call, service } from "./service.js";
import { showFilmAgain, showVideoOffer, takeFilm, wireVideo } from "./video.js";
import { camera, wireWebcam } from "./webcam.js";

const alone = document.documentElement.hasAttribute("data-alone"); // a folder of files, without a service behind it
const TABS = ["photos", "video", "webcam"].filter((tab) => tab !== "video" || !alone);
const PANELS = { photos: "photos", video: "video-panel", webcam: "webcam" };

// Photos alone are explained, and by the service.
function showExplain() {
  $("explain-choice").hidden = $(PANELS.photos).hidden || choices.local || !choices.offer?.limits.max_explained;
}

function show(name) {
  for (const tab of TABS) {
    $(PANELS[tab]).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  showExplain();
  if (name !== "webcam" && camera.running) camera.stop();
  say("");
}

function wireTabs() {
  for (const [index, tab] of TABS.entries()) {
    $(`tab-${tab}`).addEventListener("click", () => show(tab));
    $(`tab-${tab}`).addEventListener("keydown", (event) => {
      const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: TABS.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const other = TABS[(to + TABS.length) % TABS.length];
      show(other);
      $(`tab-${other}`).focus();
    });
  }
}

// By the type, or by the name where the browser knows none: of .mkv, .ts and .mts many do not, or take them for something else.
const FILM_NAME = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|m2ts|ogv|flv|wmv)$/i;
const isFilm = ({ type, name }) => type.startsWith("video/") || (!type.startsWith("image/") && FILM_NAME.test(name));

function take(files) {
  const film = alone ? undefined : [...files].find(isFilm);
  if (files.length === 0) return;
  show(film ? "video" : "photos");
  if (!film) addFiles(files);
  else if (takeFilm(film) && files.length > 1) say(`${several(files.length - 1, "file")} left out: one film is read at a time.`, true);
}

function wireDropAndPaste() {
  const drops = document.querySelectorAll(".drop");
  const over = (on) => drops.forEach((drop) => drop.classList.toggle("over", on));
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault()); // a miss must not leave the page
  document.addEventListener("dragover", () => over(true));
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? over(false));
  document.addEventListener("drop", (event) => {
    over(false);
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  $("paste").hidden = !navigator.clipboard?.read;
  $("paste").addEventListener("click", async () => {
    try {
      const items = await navigator.clipboard.read();
      const kinds = items.map((item) => [item, item.types.find((type) => type.startsWith("image/"))]).filter(([, type]) => type);
      if (kinds.length === 0) say("The clipboard holds no picture. Copy one first.", true);
      take(await Promise.all(kinds.map(async ([item, type]) => new File([await item.getType(type)], "pasted picture", { type }))));
    } catch {
      say("The browser does not let this page read the clipboard. Press Ctrl-V (or Cmd-V) instead.", true);
    }
  });
}

function wireKey() {
  let from = null;
  service.onKeyWanted = () => {
    if (!$("key-form").hidden) return;
    from = document.activeElement;
    $("key-form").hidden = false;
    $("key").focus();
  };
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    service.key = $("key").value; // kept in this page's memory only
    $("key").value = "";
    $("key-form").hidden = true;
    (from?.isConnected && from !== document.body ? from : $("tab-photos")).focus();
    say("");
    load();
  });
}

const here = () => ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
let served = null;

function privacy() {
  if (choices.local) return "Privacy: nothing is sent. Detector and networks run in this browser, and results stay in this page until you close it.";
  const where = here() ? "ferkit on this computer" : location.host;
  return `Privacy: photos and webcam pictures go to ${where}, are looked at in memory and are not kept; a film lies in a temporary folder there while it is read, its results until you remove them or leave, at most an hour. Results stay in this page until you close it.`;
}

function showOffer(found) {
  offer(found);
  const { max_bytes: bytes, max_pixels: pixels } = found.limits;
  const sizes = `up to ${Math.round(pixels / 1e6)} megapixels`;
  $("limits").textContent = choices.local
    ? `Whatever pictures this browser opens, ${sizes}.`
    : `JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC, ${sizes} and ${megabytes(bytes)} each; larger photos are made smaller here first.`;
  $("version").textContent = `Version ${found.ferkit}, detector ${found.detector}.`;
  $("privacy").textContent = privacy();
  $("local-choice").hidden = !found.answers_in_browser && !choices.local;
  showExplain();
  $("tab-video").hidden = alone;
  if (!choices.local) showVideoOffer(found);
}

async function goLocal() {
  say("Loading the networks into this browser…");
  const found = await loadLocal();
  choices.local = true;
  showOffer(found);
  say("Pictures stay in this browser now; the network may be unplugged.");
}

async function load() {
  try {
    if (alone) await goLocal();
    else showOffer((served = await call("v1/weights")));
    goOn();
  } catch (error) {
    say(error.message, true);
  }
}

function wireLocal() {
  $("local").checked = alone;
  $("local").disabled = alone;
  $("local").addEventListener("change", async () => {
    if (camera.running) camera.stop();
    try {
      if ($("local").checked) await goLocal();
      else {
        choices.local = false;
        showOffer(served);
        say("");
      }
      askAgain();
    } catch (error) {
      $("local").checked = false;
      say(error.message, true);
    }
  });
}

wireTabs();
wireDropAndPaste();
wireKey();
wireLocal();
wireChoices({
  asked: () => {
    askAgain();
    camera.configure();
  },
  shown: () => {
    showAgain();
    showFilmAgain();
    camera.showAgain();
  },
});
wirePhotos();
wireExamples(take);
wireVideo();
wireWebcam();
load();
