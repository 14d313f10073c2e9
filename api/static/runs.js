// The runs as a table: place in the sweep, state, final score; sorted by any column.

import { badge, fill, h, percent } from "./dom.js";
import { get } from "./http.js";

export class Runs {
  constructor(id, signal) {
    [this.id, this.signal] = [id, signal];
    this.runs = [];
    this.by = [0, 1];
    this.head = h("thead");
    this.body = h("tbody");
    this.node = h("div", { class: "scroll runs", tabindex: 0, role: "region", "aria-label": "Table of runs" }, h("table", {}, this.head, this.body));
  }

  async load() {
    const found = [];
    let token = null;
    do {
      const page = await get(`/v1/experiments/${this.id}/runs`, { page_size: 200, page_token: token }, this.signal);
      found.push(...page.runs);
      token = page.next_page_token;
    } while (token);
    this.runs = found;
    this.#draw();
  }

  #columns() {
    const paths = [...new Set(this.runs.flatMap((run) => Object.keys(run.point)))];
    const variants = this.runs.some((run) => run.variant !== null);
    return [
      ["run", (run) => run.run],
      ...(variants ? [["variant", (run) => run.variant ?? "–"]] : []),
      ...paths.map((path) => [path, (run) => plain(run.point[path])]),
      ["seed", (run) => run.seed],
      ["epochs", (run) => run.epochs],
      ["state", (run) => run.state],
      ["score", (run) => run.score, (run) => (run.diverged ? `diverged in epoch ${run.diverged.epoch}` : percent(run.score))],
    ];
  }

  #draw() {
    const columns = this.#columns();
    const [by, way] = this.by;
    const value = columns[by]?.[1] ?? columns[0][1];
    const sorted = [...this.runs].sort((a, b) => way * compare(value(a), value(b)));
    fill(this.head, h("tr", {}, columns.map(([name], i) => this.#heading(name, i))));
    fill(this.body, sorted.map((run) => h("tr", {}, columns.map(([name, read, show]) => h("td", {}, name === "state" ? badge(run.state) : String((show ?? read)(run)))))));
  }

  #heading(name, i) {
    const sort = { "1": "ascending", "-1": "descending" }[i === this.by[0] ? this.by[1] : 0] ?? null;
    const choose = () => {
      this.by = [i, this.by[0] === i ? -this.by[1] : 1];
      this.#draw();
      this.head.querySelectorAll("button")[i].focus();
    };
    return h("th", { scope: "col", "aria-sort": sort }, h("button", { type: "button", onclick: choose }, name));
  }
}

const plain = (value) => (value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : value);

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}
