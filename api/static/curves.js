// Live curves of an experiment: accuracy above the Fisher trace, one legend for both, which switches
// curves and shows the values at the cursor.

import { Chart, before, share } from "./chart.js";
import { fill, h, percent } from "./dom.js";
import { axes, changed, groupsOf } from "./groups.js";
import { METRICS, Series } from "./series.js";
import { s, short } from "./svg.js";

const MANY = 60; // runs, beyond which single seeds are not drawn unless asked for
const SPREAD = 50; // largest over smallest value, from which on an axis is logarithmic

export class Curves {
  constructor({ fisher }) {
    this.series = new Series();
    this.groups = [];
    this.hidden = new Set();
    this.lost = new Set();
    this.last = 1;
    this.metric = "test_accuracy";
    this.probe = null;
    this.strong = null;
    this.epoch = null;
    this.seeds = true;
    this.waiting = false;
    const moved = (epoch, key) => this.#move(epoch, key);
    this.accuracy = new Chart({ label: METRICS[this.metric], height: 300, moved });
    this.fisher = new Chart({ label: "Fisher trace", height: 220, moved });
    this.legend = h("tbody");
    this.head = h("thead");
    this.foot = h("p", { class: "foot dim" });
    this.lower = h("figure", { hidden: !fisher }, h("figcaption", {}, h("h3", {}, "Fisher trace"), this.#probes()), this.fisher.node);
    this.node = h(
      "div",
      { class: "curves" },
      h("div", { class: "plots" }, h("figure", {}, h("figcaption", {}, this.#metrics(), this.#singles()), this.accuracy.node), this.lower),
      h("div", { class: "legend" }, h("div", { class: "keys" }, h("table", {}, this.head, this.legend)), this.#switches(), this.foot),
    );
  }

  // --- what comes in ---

  plan({ runs, segments }) {
    this.groups = groupsOf(runs);
    this.last = Math.max(1, ...runs.map((run) => run.epochs));
    this.seeds = this.single.checked = runs.length <= MANY;
    this.states(segments);
    this.#list();
  }

  // Runs that have failed or were cancelled.
  states(segments) {
    const lost = segments.filter((one) => ["failed", "cancelled"].includes(one.state)).flatMap((one) => one.runs);
    this.lost = new Set(lost);
    this.#later();
  }

  // Of an experiment that has ended: epochs that were under way are no results.
  cut({ runs, segments }) {
    for (const { run, segments: path } of runs) {
      const open = path.find((index) => !["stored", "done"].includes(segments[index].state));
      if (open !== undefined) this.series.cut(run, segments[open].epoch);
    }
    this.#later();
  }

  add(event) {
    this.series.add(event);
    this.#later();
  }

  // The empirical Fisher, of the true labels, is no Fisher trace.
  addFisher(event) {
    if (event.estimator === "empirical") this.untold = "what was measured is the empirical Fisher, which is no Fisher trace: it is among the files";
    else this.series.addFisher(event);
    this.lower.hidden = false;
    this.#later();
  }

  // --- drawing: once a frame, however much has come ---

  #later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const shown = this.groups.filter((one) => !this.hidden.has(one.key));
    const isShare = this.metric.endsWith("accuracy");
    this.#nameProbes();
    this.upper = this.series.lines(shown, this.metric, this.seeds, this.lost);
    this.traces = this.probe === null ? [] : this.series.fisherLines(shown, this.probe, this.seeds, this.lost);
    const rest = { windows: this.#windows(shown), changes: this.#changes(shown), last: this.last, strong: this.strong };
    this.accuracy.set({ ...rest, lines: this.upper, log: false, format: isShare ? share : short, empty: "no epoch has been trained yet" });
    this.fisher.set({ ...rest, lines: this.traces, log: isWide(this.traces), format: short, empty: this.untold ?? "nothing has been measured yet" });
    this.#values();
    performance.mark("hubel:curves", { detail: { points: this.series.points, groups: this.groups.length } });
  }

  // Each window once, the darker the more curves are under it; that of the curve in hand in its colour.
  #windows(shown) {
    const found = new Map();
    for (const group of shown) {
      for (const { start, end } of group.windows) if (end > start) found.set(`${start} ${end}`, { start, end, colour: "var(--dim)", strong: false });
    }
    const hand = this.groups.find((one) => one.key === this.strong);
    const own = (hand?.windows ?? []).map(({ start, end }) => ({ start, end, colour: hand.colour, strong: true }));
    return hand ? own : [...found.values()];
  }

  // Each epoch at which one of the curves is trained otherwise; those of the curve in hand alone.
  #changes(shown) {
    const found = new Map();
    for (const group of shown) {
      if (this.strong !== null && group.key !== this.strong) continue;
      for (const one of group.changes) found.set(one.at, [...(found.get(one.at) ?? []), `${group.name} ${changed(one)}`]);
    }
    return [...found].map(([at, words]) => ({ at, words: words.join("; ") }));
  }

  #move(epoch, key) {
    this.epoch = epoch;
    if (key !== this.strong) {
      this.strong = key;
      this.#later();
    } else this.#values();
  }

  // --- the legend ---

  #list() {
    const { paths, variants } = axes(this.groups);
    const title = [variants ? "variant" : null, paths.join(", ") || null].filter(Boolean).join(" · ") || "curve";
    this.heads = [h("th", { scope: "col" }, "accuracy"), h("th", { scope: "col" }, "trace")];
    fill(this.head, h("tr", {}, h("th", { scope: "col", title }, title), this.heads));
    this.rows = new Map();
    fill(this.legend, this.groups.map((group) => this.#row(group)));
  }

  #row(group) {
    const line = s("line", { x1: 0, x2: 26, y1: 6, y2: 6, "stroke-dasharray": group.dash || null });
    const swatch = s("svg", { class: "stroke", width: 26, height: 12, style: `--ink: ${group.colour}`, "aria-hidden": "true" }, line);
    const button = h(
      "button",
      {
        type: "button", class: "key", "aria-pressed": String(!this.hidden.has(group.key)), title: about(group),
        onclick: (event) => this.#switch(group, event.shiftKey),
        onfocus: () => this.#move(this.epoch, group.key), onblur: () => this.#move(this.epoch, null),
      },
      swatch,
      h("span", {}, group.name),
    );
    const cells = [h("td"), h("td")];
    this.rows.set(group.key, { button, cells });
    return h(
      "tr",
      { onpointerenter: () => this.#move(this.epoch, group.key), onpointerleave: () => this.#move(this.epoch, null) },
      h("th", { scope: "row" }, button),
      cells,
    );
  }

  #switch(group, alone) {
    if (alone) this.hidden = new Set(this.groups.filter((one) => one !== group).map((one) => one.key));
    else if (!this.hidden.delete(group.key)) this.hidden.add(group.key);
    this.#pressed();
  }

  #pressed() {
    for (const [key, { button }] of this.rows) button.setAttribute("aria-pressed", String(!this.hidden.has(key)));
    this.#later();
  }

  #values() {
    if (!this.rows) return;
    const isShare = this.metric.endsWith("accuracy");
    const upper = readings(this.upper ?? [], this.epoch, (x) => x === this.epoch);
    const lower = readings(this.traces ?? [], this.epoch, (x, group) => this.epoch <= group.first.epochs);
    for (const [key, { cells }] of this.rows) {
      cells[0].textContent = told(upper.get(key), isShare ? percent : short);
      cells[1].textContent = told(lower.get(key), short);
    }
    this.heads[0].textContent = METRICS[this.metric].split(" ").at(-1);
    this.heads[1].hidden = this.lower.hidden;
    for (const { cells } of this.rows.values()) cells[1].hidden = this.lower.hidden;
    this.foot.textContent = this.#words(upper, isShare ? percent : short);
    this.accuracy.cursor(this.epoch, [...upper.values()], this.#spoken(upper, isShare ? percent : short));
    this.fisher.cursor(this.epoch, [...lower.values()], this.#spoken(lower, short));
  }

  #words(upper, format) {
    const epoch = this.epoch === null ? "Last values." : `Epoch ${this.epoch}.`;
    const hand = upper.get(this.strong);
    if (!hand || hand.all.length < 2) return `${epoch} Shift and click: that curve alone.`;
    const [low, high] = [Math.min(...hand.all), Math.max(...hand.all)];
    return `${epoch} ${hand.group.name}: ${hand.all.length} seeds from ${format(low)} to ${format(high)}.`;
  }

  #spoken(found, format) {
    const first = [...found.values()].slice(0, 8).map((one) => `${one.group.name}: ${format(one.y)}`);
    const more = found.size > 8 ? `, and ${found.size - 8} more in the legend` : "";
    const epoch = this.epoch === null ? "Last values" : `Epoch ${this.epoch}`;
    return first.length ? `${epoch}. ${first.join(", ")}${more}` : "Nothing to read yet";
  }

  // --- choices ---

  #metrics() {
    const options = Object.entries(METRICS).map(([value, text]) => h("option", { value }, text));
    const choose = (event) => {
      this.metric = event.target.value;
      this.accuracy.picture.setAttribute("aria-label", METRICS[this.metric]);
      this.#later();
    };
    return h("select", { "aria-label": "What is drawn", onchange: choose }, options);
  }

  #singles() {
    const choose = () => {
      this.seeds = this.single.checked;
      this.#later();
    };
    this.single = h("input", { type: "checkbox", checked: true, onchange: choose });
    return h("label", { class: "beside dim" }, this.single, "single seeds (thin) beside the mean");
  }

  #probes() {
    const choose = (event) => {
      [this.probe, this.picked] = [event.target.value, true];
      this.#later();
    };
    this.probeChoice = h("select", { "aria-label": "Which measurement", hidden: true, onchange: choose });
    return this.probeChoice;
  }

  #nameProbes() {
    const choices = this.series.choices();
    if (!choices.some(([probe]) => probe === this.probe)) this.probe = null;
    if (this.probe === null || !this.picked) this.probe = choices[0]?.[0] ?? null;
    if (choices.length === this.probeChoice.options.length) return;
    fill(this.probeChoice, choices.map(([value, text]) => h("option", { value, selected: value === this.probe }, text)));
    this.probeChoice.hidden = choices.length < 2;
  }

  #switches() {
    const all = (hidden) => () => {
      this.hidden = new Set(hidden ? this.groups.map((one) => one.key) : []);
      this.#pressed();
    };
    return h("p", { class: "switches" }, h("button", { type: "button", onclick: all(false) }, "All"), h("button", { type: "button", onclick: all(true) }, "None"));
  }
}

function about(group) {
  const where = Object.entries(group.first.point).map(([path, value]) => `${path} = ${JSON.stringify(value)}`);
  const windows = group.windows.map((one) => `${one.name ?? "deficit"} in epochs ${one.start} to ${one.end}`);
  return [...where, `${group.runs.length} seeds`, ...windows, ...group.changes.map(changed)].join("; ");
}

function isWide(lines) {
  const all = lines.flatMap((one) => one.ys).filter((y) => y !== null && Number.isFinite(y));
  return all.length > 1 && Math.min(...all) > 0 && Math.max(...all) / Math.min(...all) > SPREAD;
}

// Of each curve the value at an epoch, with those of its seeds: the last one up to there that `fits`;
// without an epoch the last of all.
function readings(lines, epoch, fits) {
  const found = new Map();
  for (const { group, xs, ys, seed, all } of lines) {
    const i = seed ? -1 : before(xs, epoch ?? Infinity);
    if (i < 0 || (epoch !== null && !fits(xs[i], group))) continue;
    const each = all.map(([x, y]) => y[before(x, xs[i])]).filter((y) => y !== undefined && y !== null);
    found.set(group.key, { group, x: xs[i], y: ys[i], colour: group.colour, all: each });
  }
  return found;
}

const told = (reading, format) => (reading ? format(reading.y) : "–");
