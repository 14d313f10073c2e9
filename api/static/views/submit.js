// A new experiment: from a preset, or a spec of one's own; planned first, then submitted once.

import { navigate } from "../app.js";
import { costOf } from "../cost.js";
import { fill, h } from "../dom.js";
import { changes, fieldAt, fieldsOf, isObject, joined, merged, rest } from "../fields.js";
import { get, randomKey, send } from "../http.js";
import { DEMO } from "./list.js";

const SCALES = ["mini", "half", "paper"];
const FIRST = "fig1a";
const OWN = "";

export async function show(main, { query, signal }) {
  const form = new Form(query.get("preset") ?? FIRST, signal);
  const given = query.get("set");
  const demo = h("p", {}, h("a", { href: DEMO }, "Run the demo"), ": Figure 1 A in small, 24 trainings without their controls.");
  fill(main, h("h1", {}, "New experiment"), query.size ? null : demo);
  if (query.has("experiment")) {
    form.own(await get(`/v1/experiments/${query.get("experiment")}/spec`, {}, signal));
  } else {
    await form.begin(query.get("preset") ?? FIRST, query.get("scale") ?? SCALES[0], given ? JSON.parse(given) : {});
  }
  main.append(form.node);
  // Last: a service that has just started plans every preset first.
  form.offer((await get("/v1/presets", {}, signal)).presets);
}

class Form {
  #fields = []; // of the preset, as in fields.js
  #inputs = [];
  #spec = {};
  #planned = null; // {body, key}: what was planned last and is still what the form says

  constructor(preset, signal) {
    this.signal = signal;
    this.preset = h("select", { id: "preset", onchange: () => this.#chosen() });
    this.offer([{ name: preset, title: preset }]);
    this.scale = h("select", { id: "scale", onchange: () => this.#chosen() }, SCALES.map((one) => h("option", {}, one)));
    this.json = h("textarea", { id: "json", rows: 5, spellcheck: "false", autocapitalize: "off" });
    this.jsonLabel = h("span");
    this.about = h("div");
    this.grid = h("div", { class: "fields" });
    this.faults = h("div", { tabindex: "-1" });
    this.plan = h("div", { "aria-live": "polite" });
    this.planButton = h("button", { class: "main" }, "Plan");
    this.submitButton = h("button", { type: "button", class: "main", disabled: true, onclick: () => this.#submit() }, "Submit");
    this.scaleLabel = labelled("Scale", this.scale);
    this.node = h(
      "form",
      { class: "halves", novalidate: true, onsubmit: (event) => this.#plan(event), oninput: (event) => this.#edited(event.target) },
      h(
        "div",
        {},
        h("div", { class: "fields from" }, labelled("Start from", this.preset), this.scaleLabel),
        this.about,
        this.grid,
        labelled(this.jsonLabel, this.json),
        this.faults,
        this.planButton,
      ),
      h("aside", { "aria-label": "Plan" }, h("h2", {}, "Plan and cost"), this.plan, h("p", {}, this.submitButton)),
    );
    this.#forget();
  }

  // What there is to start from; what is chosen stays so.
  offer(presets) {
    const chosen = this.preset.value;
    const options = presets.map((one) => h("option", { value: one.name }, one.title));
    fill(this.preset, options, h("option", { value: OWN }, "A whole spec of your own"));
    if (this.preset.childElementCount > 1 && presets.some((one) => one.name === chosen)) this.preset.value = chosen;
  }

  async begin(name, scale, patch = {}) {
    this.preset.value = name;
    this.scale.value = scale;
    const found = await get(`/v1/presets/${encodeURIComponent(name)}`, { scale }, this.signal);
    this.#spec = found.spec;
    this.#fields = fieldsOf(found.spec);
    const shown = fieldsOf(merged(found.spec, patch));
    this.#inputs = this.#fields.map((field, i) => {
      const text = shown.find((one) => String(one.path) === String(field.path))?.text ?? field.text;
      return h("input", { id: `field-${i}`, value: text, autocomplete: "off" });
    });
    const others = rest(patch, this.#fields);
    this.json.value = Object.keys(others).length ? JSON.stringify(others, null, 2) : "";
    this.json.placeholder = '{"training": {"batch_size": 32}, "controls": null}';
    this.json.rows = 5;
    this.jsonLabel.textContent = "Anything else, as JSON: merged over the preset and the fields; null removes";
    this.scaleLabel.hidden = false;
    fill(this.grid, this.#fields.map((field, i) => labelled(field.label, this.#inputs[i], field.hint)));
    fill(this.about, aboutOf(found));
  }

  // A whole spec, to be edited as JSON.
  own(spec) {
    this.preset.value = OWN;
    this.#fields = this.#inputs = [];
    this.scaleLabel.hidden = true;
    this.json.value = JSON.stringify(spec, null, 2);
    this.json.rows = 24;
    this.jsonLabel.textContent = "Spec, as JSON";
    fill(this.grid);
    fill(this.about);
  }

  async #chosen() {
    this.#forget();
    try {
      if (this.preset.value === OWN) this.own(merged(this.#spec, this.#patch()));
      else await this.begin(this.preset.value, this.scale.value);
    } catch (error) {
      this.#refused(error);
    }
  }

  #patch() {
    const texts = this.#inputs.map((input) => input.value);
    const text = this.json.value.trim();
    const others = text ? JSON.parse(text) : {};
    if (!isObject(others)) throw new SyntaxError("an object in braces was expected");
    return joined(changes(this.#fields, texts), others);
  }

  #body() {
    const patch = this.#patch();
    return this.preset.value === OWN ? patch : { preset: this.preset.value, scale: this.scale.value, ...patch };
  }

  async #plan(event) {
    event.preventDefault();
    this.#forget();
    this.planButton.disabled = true;
    try {
      const body = this.#body();
      const found = await send("POST", "/v1/experiments?dry_run=true", body);
      this.#planned = { body, key: randomKey() };
      fill(this.plan, costOf(found));
      this.submitButton.disabled = false;
    } catch (error) {
      this.#refused(error);
    }
    this.planButton.disabled = false;
  }

  // The key is the plan's: pressed twice, or again after a connection broke, it is one experiment.
  async #submit() {
    if (!this.#planned || this.submitButton.disabled) return;
    this.submitButton.disabled = true;
    const { body, key } = this.#planned;
    try {
      const { id } = await send("POST", "/v1/experiments", body, { "Idempotency-Key": key });
      navigate(`/experiments/${id}`);
    } catch (error) {
      this.#refused(error);
      this.submitButton.disabled = !this.#planned;
    }
  }

  // What was planned is not what the form says now. What else was refused still stands.
  #edited(input) {
    this.#planned = null;
    this.submitButton.disabled = true;
    fill(this.plan, h("p", { class: "dim" }, "Press Plan to see what would be trained, what is stored already, and what it costs. Planning starts nothing."));
    unmark(input);
  }

  #forget() {
    this.#edited(this.preset);
    fill(this.faults);
    for (const input of this.node.querySelectorAll("[aria-invalid]")) unmark(input);
  }

  #refused(error) {
    if (this.signal.aborted) return;
    const isJson = error instanceof SyntaxError;
    const faults = isJson ? [{ pointer: "", message: `This is no JSON: ${error.message}` }] : (error.errors ?? []);
    const lines = faults.map((fault) => h("li", {}, this.#pointOut(fault), fault.message));
    const title = isJson ? "Not planned" : (error.title ?? "Error");
    const said = faults.length ? h("ul", {}, lines) : h("p", {}, error.message);
    fill(this.faults, h("div", { class: "complaint", role: "alert" }, h("strong", {}, title), said));
    this.faults.focus();
  }

  // Marks the field that a fault means, and gives a link to it.
  #pointOut({ pointer, message }) {
    const index = fieldAt(this.#fields, { pointer, message });
    const own = { "/preset": this.preset, "/scale": this.scale }[pointer];
    const input = own ?? this.#inputs[index] ?? this.json;
    if (!input.hasAttribute("aria-invalid")) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", `${input.id}-fault`);
      input.after(h("small", { id: `${input.id}-fault`, class: "fault" }, message));
    }
    const label = pointer ? h("code", {}, pointer) : "JSON";
    return [h("a", { href: `#${input.id}`, onclick: (event) => goTo(event, input) }, label), " "];
  }
}

function unmark(input) {
  input.removeAttribute("aria-invalid");
  input.removeAttribute("aria-describedby");
  document.getElementById(`${input.id}-fault`)?.remove();
}

function goTo(event, input) {
  event.preventDefault();
  input.focus();
}

const labelled = (text, input, hint = "") =>
  h("label", {}, h("span", {}, text, hint ? h("small", {}, ` (${hint})`) : null), input);

const aboutOf = (found) => [
  h("p", {}, found.reproduces, "."),
  h("p", { class: "dim" }, `At this scale: ${found.about}.`),
  h("details", {}, h("summary", {}, "What the paper shows, and the whole spec"), h("p", {}, found.shape), h("pre", {}, JSON.stringify(found.spec, null, 2))),
];
