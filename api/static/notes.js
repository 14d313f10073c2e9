// Tags and notes of an experiment, which may change in every state.

import { complaint } from "./app.js";
import { fill, h } from "./dom.js";
import { get, send } from "./http.js";

export class Notes {
  constructor(id) {
    this.path = `/v1/experiments/${id}`;
    this.tags = h("ul", { class: "tags", "aria-label": "Tags" });
    this.text = h("textarea", { rows: 2, "aria-label": "Notes", placeholder: "Notes", maxlength: 10_000, onchange: () => this.#save() });
    this.seen = ""; // the notes that what stands in the field was made of
    this.said = h("div", { role: "status", class: "dim said" });
    this.key = h("input", { placeholder: "tag", "aria-label": "Tag", required: true, size: 10 });
    this.value = h("input", { placeholder: "value", "aria-label": "Its value", size: 12 });
    const form = h("form", { class: "tagging", onsubmit: (event) => this.#add(event) }, this.key, this.value, h("button", {}, "Add"));
    this.node = h("div", { class: "notes" }, h("div", { class: "line" }, this.tags, form), this.text, this.said);
  }

  set({ tags, notes }) {
    const text = JSON.stringify(tags);
    if (text !== this.shown) fill(this.tags, Object.entries(tags).map((tag) => this.#chip(...tag)));
    this.shown = text;
    if (this.text.value === this.seen) this.text.value = this.seen = plain(notes); // or it is a draft
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

  // A draft is sent where it was made of what is stored. An API of several processes may show what
  // another one was told 2 s later.
  async #save() {
    const draft = this.text.value;
    try {
      const stored = plain((await get(this.path)).notes);
      if (stored !== this.seen && stored !== draft) return this.#differ(stored);
    } catch (error) {
      return fill(this.said, complaint(error));
    }
    if (await this.#change({ notes: draft || null })) this.seen = draft;
  }

  #differ(stored) {
    const button = (words, act) => h("button", { type: "button", onclick: act }, words);
    const mine = () => {
      this.seen = stored;
      this.#save();
    };
    const theirs = () => {
      this.text.value = this.seen = stored;
      fill(this.said);
    };
    const words = h("p", {}, "Not saved: these notes were changed elsewhere meanwhile, to");
    const choice = h("p", { class: "line" }, button("Save mine instead", mine), button("Take those", theirs));
    fill(this.said, h("div", { class: "complaint" }, words, h("pre", {}, stored || "nothing"), choice));
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

// As a field gives it back.
const plain = (notes) => (notes ?? "").replace(/\r\n?/g, "\n");
