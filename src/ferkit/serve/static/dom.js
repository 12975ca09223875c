// Small helpers for building the page. Styles are set through the CSSOM only: the policy allows no inline ones.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export function shape(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function button(text, action, properties = {}) {
  const node = element("button", { type: "button", ...properties }, text);
  node.addEventListener("click", action);
  return node;
}

// What is seen and heard: one line under the tabs. Errors stay until something else is said.
export function say(text, isError = false) {
  const line = $("status");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("error", isError);
}

// What is only heard: results, for those who cannot see them appear.
export function announce(text) {
  $("announcer").textContent = text;
}

// Replace a part of the page without losing the focus: what has the same data-do takes it, else the part itself.
export function keepingFocus(part, change) {
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  change();
  if (!held || held.isConnected) return;
  const same = held.dataset.do && part.querySelector(`[data-do="${held.dataset.do}"]`);
  if (!part.hasAttribute("tabindex")) part.tabIndex = -1;
  (same || part).focus({ preventScroll: true });
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function csvOf(rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((row) => row.map(cell).join(",")).join("\n")}\n`;
}

export const percent = (p) => `${(100 * p).toFixed(p > 0.0995 ? 0 : 1)} %`;
export const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
export const several = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
