// What can be done with an experiment: cancel, retry, fork, measure, delete. What costs something
// says how much first; what cannot be undone asks.

import { complaint, navigate } from "./app.js";
import { timeOf } from "./cost.js";
import { fill, h, isOver } from "./dom.js";
import { randomKey, send } from "./http.js";

export class Actions {
  constructor(id, runs) {
    [this.path, this.runs] = [`/v1/experiments/${id}`, runs];
    this.trouble = h("div", { role: "status" });
    const button = (text, act) => h("button", { type: "button", hidden: true, onclick: act }, text);
    this.buttons = {
      cancel: button("Cancel", () => this.#confirm("Cancel this experiment?", "What is trained stays in the store.", "Cancel it", () => send("POST", `${this.path}/cancel`))),
      retry: button("Retry", () => this.#go(`${this.path}/retry`)),
      fork: button("Fork …", () => this.#fork()),
      measure: button("Measure …", () => this.#measure()),
      delete: button("Delete …", () => this.#delete()),
    };
    this.node = h("div", { class: "actions" }, Object.values(this.buttons), this.trouble);
  }

  set({ state, progress, measures }) {
    const ended = isOver({ state });
    if (state !== this.state) fill(this.trouble);
    this.state = state;
    this.buttons.cancel.hidden = ended;
    this.buttons.retry.hidden = !ended || state === "succeeded";
    this.buttons.fork.hidden = this.buttons.measure.hidden = measures !== null || progress === null;
    this.buttons.delete.hidden = !ended;
  }

  async #go(path, body, headers) {
    try {
      const made = await send("POST", path, body, { "Idempotency-Key": randomKey(), ...headers });
      await navigate(`/experiments/${made.id}`);
    } catch (error) {
      fill(this.trouble, complaint(error));
    }
  }

  #delete() {
    const words = "Its numbers, figures and notes go, and every checkpoint that no other experiment needs. This cannot be undone.";
    this.#confirm("Delete this experiment?", words, "Delete it", async () => {
      await send("DELETE", this.path);
      await navigate("/");
    });
  }

  #confirm(title, words, verb, act) {
    const dialog = opened(title, h("p", {}, words));
    const go = async () => {
      dialog.close();
      try {
        await act();
      } catch (error) {
        fill(this.trouble, complaint(error));
      }
    };
    dialog.firstChild.append(h("p", { class: "choice" }, h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Leave it"), h("button", { type: "button", class: "grave", onclick: go }, verb)));
  }

  // --- what makes a new experiment: a form, its cost, then the request ---

  #fork() {
    const runs = this.runs();
    const run = select(runs.map((one) => [one.run, `${one.run}: ${described(one)}`]));
    const epoch = number(Math.floor((runs[0]?.epochs ?? 2) / 2));
    const set = h("textarea", { rows: 3, spellcheck: false, placeholder: "training.optimizer.learning_rate = 0.01\ndeficit.end = 60" });
    const name = h("input", { placeholder: "name of the new experiment" });
    const body = () => ({ run: Number(run.value), epoch: Number(epoch.value), set: settings(set.value), ...(name.value ? { name: name.value } : {}) });
    const fields = [labelled("Run", run), labelled("Go on after epoch", epoch), labelled("Change from there on, a line each: path = value", set), labelled("Name", name)];
    this.#ask("Fork a run", "A new experiment that shares this run's epochs up to there, and trains only what is new.", fields, `${this.path}/fork`, body);
  }

  #measure() {
    const what = select([["fisher", "Fisher trace"], ["gradients", "Gradients of the layers"], ["filters", "First-layer filters"], ["second_order", "Second order"], ["information_plane", "Information plane"], ["linear_path", "Line to the run without a deficit"]]);
    const every = h("input", { type: "number", min: 1, placeholder: "where checkpoints are kept" });
    const samples = h("input", { type: "number", min: 2, placeholder: "the default" });
    const estimator = select([...["signs", "exact", "label", "variational"].map((one) => [one, one]), ["empirical", "empirical (not a Fisher trace)"]]);
    const fisherOnly = labelled("Estimator", estimator);
    const sampled = labelled("Images", samples);
    const timed = labelled("Every so many epochs", every);
    what.addEventListener("change", () => {
      fisherOnly.hidden = what.value !== "fisher";
      sampled.hidden = what.value === "filters";
      timed.hidden = what.value === "linear_path";
    });
    const body = () => ({
      [what.value]: {
        ...(every.value && !timed.hidden ? { every: Number(every.value) } : {}),
        ...(samples.value && !sampled.hidden ? { samples: Number(samples.value) } : {}),
        ...(fisherOnly.hidden ? {} : { estimator: estimator.value }),
      },
    });
    const fields = [labelled("What", what), timed, sampled, fisherOnly];
    this.#ask("Measure", "A job that trains nothing; what it measures joins these results.", fields, `${this.path}/measurements`, body);
  }

  #ask(title, words, fields, path, body) {
    const answer = h("div", { role: "status", class: "cost" });
    const attempt = async (act) => {
      try {
        await act(body());
      } catch (error) {
        fill(answer, complaint(error));
      }
    };
    const look = () => attempt(async (asked) => fill(answer, cost((await send("POST", `${path}?dry_run=true`, asked)).plan)));
    const go = () => attempt(async (asked) => {
      const made = await send("POST", path, asked, { "Idempotency-Key": randomKey() });
      dialog.close();
      await navigate(`/experiments/${made.id}`);
    });
    const dialog = opened(title, h("p", { class: "dim" }, words), fields, answer);
    dialog.firstChild.append(h(
      "p",
      { class: "choice" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      h("button", { type: "button", onclick: look }, "What it costs"),
      h("button", { type: "button", class: "main", onclick: go }, title),
    ));
  }
}

function opened(title, ...content) {
  const dialog = h("dialog", { "aria-label": title, onclose: () => dialog.remove() }, h("div", {}, h("h2", {}, title), content));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const labelled = (words, field) => h("label", { class: "field" }, words, field);
const select = (options) => h("select", {}, options.map(([value, text]) => h("option", { value }, text)));
const number = (value) => h("input", { type: "number", min: 0, value: String(value) });

function described(run) {
  const point = Object.entries(run.point).map(([path, value]) => `${path} ${JSON.stringify(value)}`);
  return [run.variant, ...point, `seed ${run.seed}`].filter((one) => one !== null).join(", ");
}

// A value is JSON; what is not is a word.
function settings(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(lines.map((line) => {
    const [path, ...rest] = line.split("=");
    const value = rest.join("=").trim();
    try {
      return [path.trim(), JSON.parse(value)];
    } catch {
      return [path.trim(), value];
    }
  }));
}

function cost({ runs, epochs, device_seconds: seconds, measurements }) {
  const replayed = epochs.replayed ? `, ${epochs.replayed} trained again to get there` : "";
  const measured = measurements?.new ?? measurements?.planned;
  return h("p", {}, `${runs} ${runs === 1 ? "run" : "runs"}: ${epochs.new} new epochs${replayed}${measured ? `, ${measured} measurements` : ""}. ${timeOf(seconds)}`);
}
