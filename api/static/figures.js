// The figures of an experiment, drawn by Vega when one comes into view: 0.9 MB that the rest of the
// page does not wait for.

import { complaint } from "./app.js";
import { file } from "./downloads.js";
import { fill, h } from "./dom.js";
import { AGAIN_MS, ApiError, get, isPassing } from "./http.js";

const ALWAYS = { critical_period: "Critical period", relative_accuracy: "Relative accuracy", sensitivity: "Sensitivity" };
const MEASURED = {
  fisher: { fisher_trace: "Fisher trace", fisher_layers: "Layers", fisher_sensitivity: "Fisher and sensitivity", plasticity: "Plasticity" },
  filters: { filters: "First-layer filters" },
  gradients: { gradients: "Gradients" },
  second_order: { second_order: "Second order" },
  information_plane: { information_plane: "Information plane" },
  linear_path: { bottleneck: "Bottleneck" },
  pruning: { pruning: "Pruning" },
};
const FORMATS = ["svg", "png", "pdf", "csv", "json"];
const NORMALISATIONS = { raw: "as measured", share: "share of the total", per_parameter: "for each parameter", panel_max: "over the run's largest" };

// Of what is measured by the spec, or was by a later job.
export function named(measured) {
  const more = Object.keys(MEASURED).filter((part) => measured.has(part)).map((part) => MEASURED[part]);
  return Object.assign({}, ALWAYS, ...more);
}

export class Figures {
  constructor(id, names, signal) {
    [this.id, this.names, this.signal] = [id, names, signal];
    this.chosen = Object.keys(names)[0];
    this.drawn = null; // what stands in the box, to redraw only what has changed
    this.latest = 0;
    this.seen = false;
    this.tabs = new Map(Object.entries(names).map(([name, words]) => [name, this.#tab(name, words)]));
    this.box = h("div", { class: "drawing", tabindex: 0 });
    this.options = h("span");
    this.files = h("p", { class: "files" });
    this.panel = h("div", { id: "figure", role: "tabpanel", class: "figure" }, this.options, this.box, this.files);
    const tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Figures", onkeydown: (e) => this.#key(e) }, [...this.tabs.values()]);
    this.node = h("div", {}, tabs, this.panel);
    this.#mark();
    this.#watch();
  }

  // What was trained since may have changed the figure.
  refresh() {
    if (this.seen) this.#draw();
  }

  #watch() {
    const watcher = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      watcher.disconnect();
      this.seen = true;
      this.#draw();
    }, { rootMargin: "100px" });
    watcher.observe(this.panel);
    this.signal.addEventListener("abort", () => watcher.disconnect());
  }

  #tab(name, words) {
    return h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "figure", onclick: () => this.#choose(name) }, words);
  }

  #choose(name) {
    this.chosen = name;
    this.seen = true;
    this.#mark();
    this.#draw();
  }

  #key(event) {
    const names = [...this.tabs.keys()];
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -names.indexOf(this.chosen), End: names.length - 1 - names.indexOf(this.chosen) };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.#choose(names[(names.indexOf(this.chosen) + steps[event.key] + names.length) % names.length]);
    this.tabs.get(this.chosen).focus();
  }

  #mark() {
    for (const [name, tab] of this.tabs) {
      tab.setAttribute("aria-selected", String(name === this.chosen));
      tab.tabIndex = name === this.chosen ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", `tab-${this.chosen}`);
    fill(this.options, this.chosen === "fisher_layers" ? this.#normalisation() : null);
    this.drawn = null;
    this.box.classList.add("stale");
  }

  #normalisation() {
    const options = Object.entries(NORMALISATIONS).map(([value, words]) => h("option", { value, selected: value === this.normalisation }, words));
    const choose = (event) => {
      this.normalisation = event.target.value;
      this.#draw();
    };
    return h("label", { class: "beside" }, "Traces", h("select", { onchange: choose }, options));
  }

  async #draw() {
    const [name, mine] = [this.chosen, ++this.latest];
    const isLast = () => mine === this.latest && !this.signal.aborted;
    const query = name === "fisher_layers" && this.normalisation ? { normalisation: this.normalisation } : {};
    const path = `/v1/experiments/${this.id}/figures/${name}`;
    if (!this.box.childElementCount) fill(this.box, h("p", { class: "dim" }, "Drawing …"));
    try {
      const spec = await get(path, { ...query, format: "vegalite" }, this.signal);
      const text = JSON.stringify(spec);
      if (!isLast() || text === this.drawn) return;
      if (!(await drawInto(this.box, spec, this.names[name], isLast))) return;
      this.drawn = text;
      const said = (error) => this.files.append(complaint(error));
      const address = (format) => `${path}?${new URLSearchParams({ ...query, format })}`;
      fill(this.files, FORMATS.map((format) => file(format.toUpperCase(), address(format), `${this.id}-${name}.${format}`, said)));
    } catch (error) {
      if (!isLast()) return;
      this.drawn = null;
      const isEarly = error instanceof ApiError && error.status === 409;
      fill(this.box, isEarly ? h("p", { class: "dim" }, error.message) : complaint(error));
      fill(this.files);
      if (isPassing(error)) setTimeout(() => isLast() && this.#draw(), AGAIN_MS);
    }
    this.box.classList.remove("stale");
  }
}

// `ast`: expressions are interpreted, because this page may not evaluate text as a program. Drawn
// aside and then put in place, so that the box never stands empty. False where another figure is
// wanted by then.
export async function drawInto(box, spec, label, isLast) {
  const { embed } = await import("/static/vega.js");
  const fresh = h("div");
  box.append(fresh);
  try {
    await embed(fresh, spec, { actions: false, ast: true, logLevel: 1, renderer: "svg", mode: "vega-lite", tooltip: { theme: "custom" } });
  } catch (error) {
    fresh.remove();
    throw error;
  }
  if (!isLast()) {
    fresh.remove();
    return false;
  }
  const picture = fresh.querySelector("svg");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${label}. ${[spec.title?.text, spec.title?.subtitle].flat(2).filter(Boolean).join(" ")}`);
  fill(box, fresh);
  return true;
}
