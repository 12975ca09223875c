// The video tab: a film is sent, read by the service as a job, and comes back as a timeline, rows and an annotated copy.

import { chosenNames, choices, classTable } from "./choices.js";
import { $, announce, button, calm, element, keepingFocus, megabytes, save, say, several, wait } from "./dom.js";
import { answersOf, parseCsv } from "./rows.js";
import { call, cancelled, service } from "./service.js";
import { Timeline, clock, peopleTable } from "./timeline.js";

const ASK_S = 0.5; // between two questions how far a film is
const PATIENCE = 20; // failed questions in a row after which the service is given up

let film = null; // the one that is shown: {file, turn, abort, job, people, classes}
let turns = 0;

const address = (rest = "") => `v1/jobs/${film.job}${rest}`;

const NO_FILMS = "This service reads no films: that needs the extra video, and on Windows a single worker.";

const refused = (why) => {
  say(why, true);
  return false;
};

// Begin with a film. Returns false where it is not read, and says why.
export function takeFilm(file) {
  const { max_video_bytes: most } = choices.offer?.limits ?? {};
  if (choices.local) return refused("Films are read by the service. To send this one, clear “Do not send my picture” first.");
  if (choices.offer && !choices.offer.reads_films) return refused(NO_FILMS);
  if (most && file.size > most) return refused(`${file.name} has ${megabytes(file.size)}; films have at most ${megabytes(most)} here. Cut it, or make it smaller.`);
  forget();
  say("");
  film = { file, name: file.name || "film", turn: (turns += 1), abort: new AbortController(), job: null };
  $("video-panel").classList.add("has-results");
  run(film.turn);
  return true;
}

async function run(turn) {
  const stale = () => film?.turn !== turn;
  const card = $("film");
  card.hidden = false;
  progress("Sending…");
  card.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
  try {
    film.classes = classTable();
    const question = new URLSearchParams(chosenNames());
    if ($("film-blur").checked) question.set("blur", "1");
    const sent = await call(`v1/video?${question}`, {
      method: "POST",
      body: film.file,
      signal: film.abort.signal,
      onProgress: (share) => !stale() && progress(share < 1 ? `Sending, ${Math.floor(100 * share)} %` : "Sent.", share),
      onWait: (seconds) => !stale() && progress(`The service is busy; next try in ${seconds} s…`),
    });
    if (stale()) return;
    film.job = sent.id;
    const state = await ended(turn);
    if (stale()) return;
    if (state.state === "failed") throw new Error(state.error.message);
    progress("Loading the result…");
    const rows = parseCsv(await (await call(address("/rows"), { responseType: "blob" })).text());
    if (stale()) return;
    film.people = answersOf(rows, [...film.classes.keys()]);
    show(state);
  } catch (error) {
    if (!stale()) fail(cancelled(error) ? "Cancelled." : error.message);
  }
}

// Ask until the film has been read or given up; a service that is away for a moment is asked again.
async function ended(turn) {
  let missed = 0;
  while (film?.turn === turn) {
    try {
      const state = await call(address(), { signal: film.abort.signal });
      missed = 0;
      if (state.state === "done" || state.state === "failed") return state;
      const words = state.state === "waiting" ? "Waiting for its turn…" : `Reading, ${state.progress === null ? "" : `${Math.floor(100 * state.progress)} %, `}at ${clock(state.time_s)} of the film`;
      progress(words, state.progress ?? undefined);
    } catch (error) {
      if (cancelled(error) || error.status === 404 || error.status === 401 || (missed += 1) > PATIENCE) throw error;
    }
    await wait(ASK_S);
  }
  throw new DOMException("Cancelled.", "AbortError");
}

function title(...buttons) {
  return element("div", { className: "title" }, element("h2", {}, film.name), element("span", { className: "buttons" }, ...buttons));
}

function progress(text, share) {
  const card = $("film");
  if (!card.querySelector(".progress")) {
    const bar = element("progress", { max: 1 });
    bar.setAttribute("aria-label", "Progress of the film");
    const stop = button("Cancel", cancel, { "data-do": "cancel", className: "cancel" });
    keepingFocus(card, () => card.replaceChildren(title(stop), element("div", { className: "progress whole" }, element("p", { className: "muted" }), bar)));
  }
  card.querySelector(".progress p").textContent = text;
  const bar = card.querySelector("progress");
  if (share === undefined || share >= 1) bar.removeAttribute("value");
  else bar.value = share;
}

function cancel() {
  film.abort.abort();
  remove(film.job);
  film.job = null;
  fail("Cancelled.");
}

function fail(message) {
  const card = $("film");
  film.turn = turns += 1; // nothing that is still under way is wanted
  remove(film.job);
  const again = button("Try again", () => takeFilm(film.file), { "data-do": "again", className: "again" });
  const away = button("Remove", removeFilm, { "data-do": "remove" });
  keepingFocus(card, () => card.replaceChildren(title(again, away), element("p", { className: "error whole" }, message)));
  announce(`${film.name}: ${message}`);
}

function remove(job) {
  if (job) call(`v1/jobs/${job}`, { method: "DELETE" }).catch(() => {}); // it goes by itself after a while
}

function forget() {
  if (!film) return;
  film.abort.abort();
  if (film.url) URL.revokeObjectURL(film.url);
  remove(film.job);
  film = null;
}

function removeFilm() {
  forget();
  $("film").hidden = true;
  $("film").replaceChildren();
  $("video-panel").classList.remove("has-results");
  $("film-file").focus();
}

function download(text, kind, name) {
  const pressed = button(text, async () => {
    try {
      save(await call(address(`/${kind}`), { responseType: "blob" }), `${film.name.replace(/\.[^.]*$/, "")}-${name}`);
    } catch (error) {
      say(error.message, true);
    }
  }, { "data-do": kind });
  return pressed;
}

function show(state) {
  const card = $("film");
  const copied = state.results.includes("copy"); // else the service left it out, and says why
  const buttons = [download("Rows (CSV)", "rows", "rows.csv"), download("Events (JSON)", "events", "events.json")];
  if (copied) buttons.push(download("Annotated film", "copy", "annotated.mp4"));
  const player = element("video", { controls: true, playsInline: true, muted: true });
  player.setAttribute("aria-label", `${film.name}, with boxes and labels`);
  const host = element("div", { className: "whole" });
  const table = element("div", { className: "whole", id: "film-people" });
  const notes = [state.cut && `The film is longer: only its first ${clock(choices.offer.limits.max_video_seconds)} were read.`, state.warning].filter(Boolean);
  const parts = [...(copied ? [element("figure", { className: "stage whole" }, player)] : []), ...notes.map((note) => element("p", { className: "whole" }, note)), host, table];
  keepingFocus(card, () => card.replaceChildren(title(...buttons, button("Remove", removeFilm, { "data-do": "remove" })), ...parts));
  film.timeline = new Timeline(host, (time) => {
    player.currentTime = time;
  });
  player.addEventListener("timeupdate", () => film?.timeline.goTo(player.currentTime));
  showFilmAgain();
  film.timeline.goTo(0);
  announce(`${film.name} is read: ${several(film.people.length, "person", "people")} in ${clock(state.time_s)}.`);
  card.scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
  if (copied) play(player, film.turn);
}

async function play(player, turn) {
  try {
    const copy = await call(address("/copy"), { responseType: "blob" });
    if (film?.turn !== turn) return;
    film.url = URL.createObjectURL(copy);
    player.src = film.url;
  } catch {
    player.replaceWith(element("p", { className: "muted" }, "The annotated film could not be loaded; the timeline is complete."));
  }
}

// With another threshold: the same answers, other names.
export function showFilmAgain() {
  if (!film?.timeline) return;
  const end = Math.max(0.1, ...film.people.map((person) => person.times.at(-1)));
  const { time } = film.timeline;
  film.timeline.show(film.people, 0, end, film.classes);
  film.timeline.goTo(time);
  $("film-people")?.replaceChildren(peopleTable(film.people, film.classes));
}

export function showVideoOffer({ limits, reads_films: reads }) {
  $("film-limits").textContent = reads
    ? `MP4, MOV, MKV, WebM, AVI and others, up to ${megabytes(limits.max_video_bytes)}; of longer films the first ${clock(limits.max_video_seconds)} are read.`
    : NO_FILMS;
}

export function wireVideo() {
  $("film-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (file) takeFilm(file);
  });
  // What the service holds of a film goes with the page.
  addEventListener("pagehide", () => {
    if (!film?.job) return;
    const headers = service.key ? { Authorization: `Bearer ${service.key}` } : {};
    fetch(address(), { method: "DELETE", keepalive: true, headers });
  });
}
