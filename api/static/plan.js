// The plan as a picture: a row for each branch of the tree, what runs share drawn once, the epochs
// under a deficit shaded, a mark where the training changes, the state of each stretch by pattern
// and colour.

import { fill, h } from "./dom.js";
import { changed, groupsOf } from "./groups.js";
import { s, ticks } from "./svg.js";

const STATES = {
  stored: "found in the store",
  done: "trained",
  running: "being trained",
  queued: "queued",
  waiting: "waits for the stretch before",
  failed: "failed",
  cancelled: "cancelled",
};
const [LEFT, RIGHT, TOP, BOTTOM] = [0, 12, 4, 34];
const MANY = 40; // rows, beyond which they are lower

export class Plan {
  constructor() {
    this.picture = s("svg", { class: "tree", role: "img" });
    this.caption = h("figcaption", { class: "dim" }, " ");
    this.key = h("p", { class: "states", "aria-hidden": "true" }, Object.entries(STATES).map(([state, words]) => swatch(state, words)), windowSwatch(), changeSwatch());
    this.scroll = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Picture of the plan" }, this.picture);
    this.node = h("figure", { class: "plan" }, this.caption, this.scroll, this.key);
    new ResizeObserver(() => this.shown && this.#draw()).observe(this.node);
  }

  set(plan, epochs) {
    [this.shown, this.epochs] = [plan, epochs ?? this.epochs];
    this.#draw();
  }

  #draw() {
    const { runs, segments } = this.shown;
    const rows = branches(runs, segments);
    const names = named(runs);
    const width = Math.max(260, Math.floor(this.scroll.clientWidth));
    const left = width < 500 ? LEFT + 84 : LEFT + 150;
    const step = rows.length > MANY ? 9 : 18;
    const last = Math.max(1, ...runs.map((run) => run.epochs));
    const x = (epoch) => left + (epoch / last) * (width - left - RIGHT);
    const y = (row) => TOP + row * step;
    const height = TOP + rows.length * step + BOTTOM;
    for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height })) this.picture.setAttribute(name, value);
    const foot = TOP + rows.length * step;
    fill(
      this.picture,
      patterns(),
      rows.flatMap((row, i) => this.#windows(row, i, x, y, step)),
      rows.map((row, i) => row.from === null ? null : s("path", { class: "join", d: `M${x(row.start)} ${y(row.from) + step / 2}V${y(i) + step / 3}` })),
      rows.flatMap((row, i) => row.segments.map((index) => stretch(segments[index], x, y(i), step))),
      rows.flatMap((row, i) => this.#changes(row, y(i), x, step)),
      step > 10 ? rows.map((row, i) => s("text", { class: "tick", x: left - 8, y: y(i) + step - 5, "text-anchor": "end" }, clipped(names.get(row.run), left))) : null,
      s("line", { class: "axis", x1: left, x2: x(last), y1: foot, y2: foot }),
      ticks(0, last, Math.max(2, width / 90), true).map((epoch) => s("text", { class: "tick", x: x(epoch), y: foot + 15, "text-anchor": "middle" }, String(epoch))),
      s("text", { class: "tick", x: (left + x(last)) / 2, y: foot + 30, "text-anchor": "middle" }, "epoch"),
    );
    const words = told(this.shown, this.epochs);
    this.caption.textContent = words;
    this.picture.setAttribute("aria-label", words);
  }

  #changes(row, top, x, step) {
    const run = this.shown.runs.find((one) => one.run === row.run);
    return (run.changes ?? [])
      .filter(({ at }) => at >= row.start && at < run.epochs)
      .map((one) => s("line", { class: "change", x1: x(one.at), x2: x(one.at), y1: top, y2: top + step }, s("title", {}, changed(one))));
  }

  #windows(row, i, x, y, step) {
    const run = this.shown.runs.find((one) => one.run === row.run);
    return run.windows
      .map(({ start, end, name }) => [Math.max(start, row.start), Math.min(end, run.epochs), name])
      .filter(([start, end]) => end > start)
      .map(([start, end, name]) => s("rect", { class: "deficit", x: x(start), y: y(i) + step * 0.64, width: x(end) - x(start), height: step * 0.26 }, s("title", {}, `${name ?? "deficit"}, epochs ${start} to ${end}`)));
  }
}

// The tree in rows: a run goes on in the row of the first run that came that way, and has a row of
// its own from where it leaves that one.
export function branches(runs, segments) {
  const rows = [];
  const owner = new Map(); // segment -> row
  for (const run of inOrder(runs)) {
    const own = run.segments.filter((index) => !owner.has(index));
    if (!own.length) continue;
    const before = run.segments[run.segments.indexOf(own[0]) - 1];
    own.forEach((index) => owner.set(index, rows.length));
    rows.push({ run: run.run, segments: own, start: segments[own[0]].start, from: before === undefined ? null : owner.get(before) });
  }
  return rows;
}

// Runs that share most stand side by side.
function inOrder(runs) {
  const first = new Map();
  for (const run of runs) for (const index of run.segments) if (!first.has(index)) first.set(index, run.run);
  const path = (run) => run.segments.map((index) => first.get(index));
  return runs
    .map((run) => [path(run), run])
    .sort(([a], [b]) => {
      const i = a.findIndex((one, k) => one !== b[k]);
      return i < 0 ? a.length - b.length : (a[i] ?? -1) - (b[i] ?? -1);
    })
    .map(([, run]) => run);
}

function named(runs) {
  const names = new Map();
  for (const group of groupsOf(runs)) {
    for (const run of group.runs) {
      const { seed } = runs.find((one) => one.run === run);
      names.set(run, group.runs.length > 1 ? `${group.name} · seed ${seed}` : group.name);
    }
  }
  return names;
}

const clipped = (text, room) => (text.length * 6.4 > room - 8 ? `…${text.slice(-Math.floor((room - 14) / 6.4))}` : text);

function stretch({ segment, start, end, state, epoch, runs }, x, y, step) {
  const [from, to] = [x(start), x(Math.max(end, start))];
  const box = { y: y + step * 0.1, height: step * 0.46 };
  const part = state === "running" && epoch > start ? s("rect", { ...box, class: "done", x: from, width: Math.max(0, x(epoch) - from) }) : null;
  const words = `stretch ${segment}: epochs ${start} to ${end}, ${runs.length} ${runs.length === 1 ? "run" : "runs"}, ${STATES[state]}`;
  return s("g", {}, s("rect", { ...box, class: `stretch ${state}`, x: from, width: Math.max(1.5, to - from - 1) }), part, s("title", {}, words));
}

function patterns() {
  const lines = (id, d) => s("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" }, s("path", { d, class: "hatch" }));
  return s("defs", {}, lines("hatch", "M-1 1L1 -1M0 6L6 0M5 7L7 5"), lines("cross", "M0 6L6 0M0 0L6 6"), lines("dots", "M2 3H4"));
}

function swatch(state, words) {
  const box = s("svg", { width: 22, height: 12 }, s("rect", { class: `stretch ${state}`, x: 1, y: 1, width: 20, height: 10 }));
  return h("span", {}, box, " ", words);
}

function windowSwatch() {
  return h("span", {}, s("svg", { width: 22, height: 12 }, s("rect", { class: "deficit", y: 4, width: 22, height: 5 })), " ", "under a deficit");
}

function changeSwatch() {
  return h("span", {}, s("svg", { width: 22, height: 12 }, s("line", { class: "change", x1: 11, x2: 11, y1: 0, y2: 12 })), " ", "the training changes");
}

function told({ runs, segments, certain }, epochs) {
  const count = (state) => segments.filter((one) => one.state === state).length;
  const parts = Object.keys(STATES).map((state) => [count(state), STATES[state]]).filter(([n]) => n);
  const shared = epochs ? ` ${epochs.alone} epochs if each run were trained alone, ${epochs.shared} with what they share, ${epochs.stored} of these found in the store.` : "";
  const stretches = parts.map(([n, words]) => `${n} ${words}`).join(", ");
  return `${runs.length} ${runs.length === 1 ? "run" : "runs"} in ${segments.length} ${segments.length === 1 ? "stretch" : "stretches"}: ${stretches}.${shared}${certain ? "" : " Some of it is not certain yet."}`;
}
