// Talking to the service: progress of uploads, another try where that helps, and errors in plain words.

import { wait } from "./dom.js";

const TRIES = 8;
const REPEATED = new Set([429, 503]); // the service says: later. 502 and 504 may have done the work, so people decide

// What a proxy's or a service's bare status means to somebody who dropped a photo.
const WORDS = {
  0: "The service cannot be reached. Check the connection, then try again.",
  401: "This service needs an API key.",
  403: "This service does not answer this page.",
  404: "The service does not know this any more. It may have been restarted; send it again.",
  408: "The upload was too slow and was given up. Try again with a better connection.",
  413: "This is larger than the service takes. Choose a smaller one.",
  429: "Too many requests at once. Wait a few seconds, then try again.",
  500: "The service failed on this. Try another picture; whoever runs the service finds the reason in its log.",
  502: "The service does not answer at the moment; it may be starting anew. Try again in a few seconds.",
  503: "The service is busy. Wait a few seconds, then try again.",
  504: "The service took too long. Try again, with a smaller picture if it happens again.",
};

// A network's or a proxy's own page, though it says that all is well.
const FOREIGN = "Something else answered in the service's place, perhaps a page to sign in. Reload this page, then try again.";

export const service = { key: null, onKeyWanted: () => {} };

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function problem(status, body) {
  let told = null;
  try {
    told = JSON.parse(body)?.error?.message ?? null;
  } catch {
    told = null; // a proxy's own page: its status says enough
  }
  return new ServiceError(status, told ?? WORDS[status] ?? `The service answered ${status}. Try again later.`);
}

// What a request that is over was answered. Raises ServiceError.
async function answerOf(request, responseType) {
  const { status, response } = request;
  if (status < 200 || status >= 300) {
    const error = problem(status, await response.text());
    error.retryAfter = Number(request.getResponseHeader("Retry-After")) || 1;
    throw error;
  }
  if (responseType === "blob") return response;
  const text = await response.text();
  try {
    return JSON.parse(text || "null");
  } catch {
    throw new ServiceError(status, FOREIGN);
  }
}

// One request by XMLHttpRequest, since fetch does not tell how far an upload has come.
function once(path, { method = "GET", body = null, onProgress, signal, responseType = "json" }) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open(method, path);
    request.responseType = "blob";
    if (service.key) request.setRequestHeader("Authorization", `Bearer ${service.key}`);
    if (onProgress) request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    request.addEventListener("error", () => fail(problem(0, "")));
    request.addEventListener("abort", () => fail(new DOMException("Cancelled.", "AbortError")));
    request.addEventListener("loadend", () => signal?.removeEventListener("abort", stop));
    request.addEventListener("load", () => answerOf(request, responseType).then(done, fail));
    if (signal?.aborted) return fail(new DOMException("Cancelled.", "AbortError"));
    signal?.addEventListener("abort", stop);
    request.send(body);
    return undefined;
  });
}

// Ask the service. `onWait` is told the seconds until the next try where it is busy. Raises ServiceError, or AbortError.
export async function call(path, options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once(path, options);
    } catch (error) {
      if (error.status === 401) service.onKeyWanted();
      if (!REPEATED.has(error.status) || attempt >= TRIES) throw error;
      const seconds = Math.min(10, error.retryAfter);
      options.onWait?.(seconds);
      await wait(seconds);
      if (options.signal?.aborted) throw new DOMException("Cancelled.", "AbortError");
    }
  }
}

export const cancelled = (error) => error.name === "AbortError";
