// Why runs failed: the reason of each, and what every attempt left in its log.

import { fill, h, when } from "./dom.js";
import { get } from "./http.js";

export class Failures {
  constructor(id, signal) {
    [this.id, this.signal] = [id, signal];
    this.shown = "[]";
    this.node = h("section", { hidden: true, "aria-labelledby": "failures" });
  }

  async set(failures) {
    const text = JSON.stringify(failures);
    if (text === this.shown) return;
    this.node.hidden = failures.length === 0;
    this.#draw(failures.map((one) => ({ ...one, attempts: null })));
    this.#draw((await get(`/v1/experiments/${this.id}/failures`, {}, this.signal)).failures);
    this.shown = text;
  }

  #draw(failures) {
    const one = (failure) => h("li", {}, h("strong", {}, failure.run === null ? "The data set" : `Run ${failure.run}`), ` ${failure.reason}`, (failure.attempts ?? []).map(attempt));
    fill(this.node, h("h2", { id: "failures" }, "Failures"), h("ul", { class: "failures" }, failures.map(one)));
  }
}

function attempt(one, i) {
  const how = [one.kind ?? "vanished", one.error].filter(Boolean).join(": ");
  return h(
    "details",
    {},
    h("summary", {}, `Attempt ${i + 1} on ${one.worker}, ${when(one.started)}: ${how}`),
    one.message ? h("p", {}, one.message) : null,
    one.log ? h("pre", { tabindex: 0 }, one.log) : h("p", { class: "dim" }, "It left no log."),
  );
}
