// The HTTP interface as the page sees it: JSON or an ApiError, and streams that go on by themselves.

import { h } from "./dom.js";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The service answered ${status}`);
    this.status = status;
    this.title = problem.title || "Error";
    this.detail = this.message;
    this.errors = problem.errors || [];
    this.type = problem.type;
  }
}

const TOKEN = "hubel-token";
export const AGAIN_MS = 2000;

const SILENT_MS = 20_000; // a stream sends a heartbeat every 15 s

let asking = null; // whoever asks for a token while one is being typed waits for that one

let open = 0; // answers and streams that are waited for
let heard = 0; // when something of them came last

// When that was, where it is too long ago.
export const silentSince = () => (open && !asking && Date.now() - heard > SILENT_MS ? heard : null);

async function awaited(work) {
  if (!open) heard = Date.now();
  open += 1;
  try {
    return await work();
  } finally {
    open -= 1;
  }
}

const token = () => sessionStorage.getItem(TOKEN);

function keep(text) {
  if (text) sessionStorage.setItem(TOKEN, text);
  else sessionStorage.removeItem(TOKEN);
  dispatchEvent(new Event("hubel-token"));
}

export const hasToken = () => token() !== null;
export const signOut = () => keep(null);
export const signIn = (why = "") => (asking ??= ask(why).finally(() => ([asking, heard] = [null, Date.now()])));

// Whether one was given.
function ask(why) {
  const field = h("input", { name: "token", type: "password", autocomplete: "off", required: true });
  if (why) field.setAttribute("aria-describedby", "why-a-token");
  const give = h("button", { value: "given", class: "main" }, "Sign in");
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const label = h("label", {}, "This service needs a token", field);
  const reason = why ? h("p", { id: "why-a-token", class: "fault" }, why) : null;
  const form = h("form", { method: "dialog" }, reason, label, h("p", {}, give, " ", cancel));
  const dialog = h("dialog", { "aria-label": "Token" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "given" && field.value.trim();
      if (given) keep(given);
      dialog.remove();
      resolve(Boolean(given));
    }),
  );
}

async function request(path, options = {}) {
  const sent = token();
  const headers = sent ? { ...options.headers, Authorization: `Bearer ${sent}` } : options.headers;
  const response = await awaited(() => fetch(path, { ...options, headers }));
  heard = Date.now();
  if (response.ok) return response;
  const error = new ApiError(response.status, await response.json().catch(() => ({})));
  if (response.status !== 401) throw error;
  if (token() !== sent) return request(path, options); // another request was first to ask
  if (sent) signOut();
  if (!(await signIn(sent ? error.message : ""))) throw error;
  return request(path, options);
}

function address(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") parameters.append(name, one);
    }
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

export async function get(path, query, signal) {
  return (await request(address(path, query), { signal })).json();
}

export async function blob(path, query) {
  return (await request(address(path, query))).blob();
}

export async function send(method, path, body, more = {}) {
  const options = { method, headers: { ...more } };
  if (body !== undefined && body !== null) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

// Also where a browser has no crypto.randomUUID: a service of the lab without TLS.
export const randomKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16)).join("");

// Whether the same request may be answered later.
export const isPassing = (error) => !(error instanceof ApiError) || error.status >= 500 || error.status === 429;

// Again and again until the user goes elsewhere; while nobody looks, not at all.
export async function repeat(milliseconds, work, signal) {
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    if (!document.hidden && !signal.aborted) await work();
  }
}

// Server-sent events over fetch: EventSource sends no token. Resolves after the last event.
export const stream = (path, onEvent, signal) => awaited(() => follow(path, onEvent, signal));

async function follow(path, onEvent, signal) {
  let last = null;
  while (!signal.aborted) {
    try {
      const response = await request(path, {
        signal,
        headers: { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) },
      });
      if (response.status === 204) return;
      for await (const event of events(response.body)) {
        if (event.id !== null) last = event.id;
        onEvent(event.event, JSON.parse(event.data));
        if (event.event === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isPassing(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard = Date.now();
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = { id: null, event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [name, rest] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)];
        if (name in event) event[name] = rest;
      }
      if (event.data) yield event;
    }
  }
}
