// Elements and the words for numbers.

export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(2)} %`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

export function size(bytes) {
  const units = ["kB", "MB", "GB", "TB"];
  const place = Math.min(units.length, Math.max(1, Math.floor(Math.log10(bytes) / 3)));
  return `${Number((bytes / 1000 ** place).toPrecision(3))} ${units[place - 1]}`;
}

export const when = (iso) => (iso ? new Date(iso).toLocaleString() : "–");

export const count = (number) => number.toLocaleString("en");

// A point in time, to the minute.
export function moment(iso) {
  if (!iso) return "–";
  const shown = new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: iso, title: iso }, shown);
}

const SIGNS = { preparing: "◌", queued: "○", running: "●", succeeded: "✓", failed: "✕", cancelled: "⊘" };

// A state as a sign, a word and a colour.
export const badge = (state) =>
  h("span", { class: `state ${state}` }, h("span", { "aria-hidden": "true" }, SIGNS[state] ?? "●"), " ", state);

export const bar = (done, planned, label) =>
  h("progress", { max: String(planned || 1), value: String(planned ? done : 1), "aria-label": label });

// Of an experiment, in order; the last three are its ends.
export const STATES = ["preparing", "queued", "running", "succeeded", "failed", "cancelled"];
export const isOver = ({ state }) => STATES.indexOf(state) >= 3;
