// Tags and notes of an experiment, which may change in every state.

import { complaint } from "./app.js";
import { fill, h } from "./dom.js";
import { send } from "./http.js";

export class Notes {
  constructor(id) {
    this.path = `/v1/experiments/${id}`;
    this.tags = h("ul", { class: "tags", "aria-label": "Tags" });
    this.text = h("textarea", { rows: 2, "aria-label": "Notes", placeholder: "Notes", maxlength: 10_000, onchange: () => this.#change({ notes: this.text.value || null }) });
    this.said = h("p", { role: "status", class: "dim said" });
    this.key = h("input", { placeholder: "tag", "aria-label": "Tag", required: true, size: 10 });
    this.value = h("input", { placeholder: "value", "aria-label": "Its value", size: 12 });
    const form = h("form", { class: "tagging", onsubmit: (event) => this.#add(event) }, this.key, this.value, h("button", {}, "Add"));
    this.node = h("div", { class: "notes" }, h("div", { class: "line" }, this.tags, form), this.text, this.said);
  }

  set({ tags, notes }) {
    const text = JSON.stringify(tags);
    if (text !== this.shown) fill(this.tags, Object.entries(tags).map((tag) => this.#chip(...tag)));
    this.shown = text;
    if (document.activeElement !== this.text) this.text.value = notes ?? "";
  }

  #chip(key, value) {
    const remove = () => this.#change({ tags: { [key]: null } });
    return h("li", {}, h("b", {}, key), ` ${value} `, h("button", { type: "button", "aria-label": `Remove tag ${key}`, title: "Remove", onclick: remove }, "×"));
  }

  async #add(event) {
    event.preventDefault();
    if (!(await this.#change({ tags: { [this.key.value.trim()]: this.value.value.trim() } }))) return;
    this.key.value = this.value.value = "";
    this.key.focus();
  }

  async #change(change) {
    try {
      this.set(await send("PATCH", this.path, change, { "Content-Type": "application/merge-patch+json" }));
      fill(this.said, "Saved.");
      return true;
    } catch (error) {
      fill(this.said, complaint(error));
      return false;
    }
  }
}
