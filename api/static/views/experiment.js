// One experiment: what it is, how far it is, its curves as they come, its plan, figures, runs, files.

import { Actions } from "../actions.js";
import { complaint } from "../app.js";
import { Curves } from "../curves.js";
import { badge, duration, fill, h, isOver, moment } from "../dom.js";
import { downloads } from "../downloads.js";
import { Failures } from "../failures.js";
import { Figures, named } from "../figures.js";
import { AGAIN_MS, get, isPassing, stream } from "../http.js";
import { Notes } from "../notes.js";
import { Plan } from "../plan.js";
import { Runs } from "../runs.js";
import { sheet } from "../sheet.js";

const MEASURED = ["fisher", "gradients", "filters", "second_order", "information_plane", "linear_path", "pruning"];

export async function show(main, { params: { id }, signal }) {
  const path = `/v1/experiments/${id}`;
  const plain = ["", "/spec", "/measurements"].map((part) => get(path + part, {}, signal));
  const wanted = [...plain, get(`${path}/plan`, {}, signal).catch((error) => error)];
  const early = []; // the stream begins at once; what it says waits for the page
  let take = (...event) => early.push(event);
  const streaming = stream(`${path}/events?points=true`, (...event) => take(...event), signal);
  const ended = streaming.catch((error) => error);
  const [[status, spec, jobs, plan]] = await Promise.all([Promise.all(wanted), sheet("/static/experiment.css")]);
  if (signal.aborted) return;
  const view = new View(id, measuredBy([spec, ...jobs.measurements.map((job) => job.asked)]), signal);
  fill(main, view.node);
  view.status(status);
  view.planned(plan);
  take = (name, data) => view.take(name, data);
  early.forEach(([name, data]) => view.take(name, data));
  const told = (error) => error && !signal.aborted && main.prepend(complaint(error));
  ended.then(told);
  measuredLater(jobs.measurements, view, signal).catch(told);
}

// Each job has a stream of its own, of the same runs. One after the other, since a browser opens six
// connections; first those that have ended, which tell all at once.
async function measuredLater(jobs, view, signal) {
  for (const { id } of [...jobs.filter(isOver), ...jobs.filter((job) => !isOver(job))]) {
    await stream(`/v1/experiments/${id}/events?points=true`, (name, data) => name === "fisher" && view.take(name, data), signal);
  }
}

// By the spec, and by jobs that came later.
const measuredBy = (asked) => new Set(MEASURED.filter((part) => asked.some((one) => one[part])));

class View {
  constructor(id, measured, signal) {
    [this.id, this.signal, this.path] = [id, signal, `/v1/experiments/${id}`];
    this.state = null;
    this.troubles = new Map(); // by what failed, as long as it does
    this.again = new Map(); // by what failed: when it is tried again
    this.title = h("h1", {}, " ");
    this.badge = h("span", { role: "status" });
    this.bar = h("progress", { "aria-label": "Epochs trained", max: 1, value: 0 });
    this.words = h("p", { class: "progress-words" }, " ");
    this.facts = h("p", { class: "dim facts" }, " ");
    this.said = h("div", { class: "away", role: "status" });
    this.runs = new Runs(id, signal);
    this.actions = new Actions(id, () => this.runs.runs);
    this.notes = new Notes(id);
    this.failures = new Failures(id, signal);
    this.curves = new Curves({ fisher: measured.has("fisher") });
    this.plan = new Plan();
    this.figures = new Figures(id, named(measured), signal);
    this.node = h("div", { class: "experiment" }, this.#head(), this.failures.node, this.#parts());
  }

  #head() {
    return h("section", { class: "top" }, h("div", { class: "line" }, this.title, this.badge), this.bar, this.words, this.facts, this.actions.node, this.notes.node, this.said);
  }

  #parts() {
    return [
      section("Curves", this.curves.node),
      section("Plan", this.plan.node),
      section("Figures", this.figures.node),
      section("Runs", this.runs.node),
      section("Downloads", downloads(this.id)),
    ];
  }

  // --- what comes in ---

  take(name, data) {
    if (name === "points") data.forEach((one) => this.curves.add(one));
    else if (name === "fisher") data.forEach((one) => this.curves.addFisher(one));
    else if (name === "status") this.status(data);
    else if (name === "end") this.#later();
  }

  status(status) {
    const before = this.shown;
    this.shown = status;
    this.#show(status);
    this.actions.set(status);
    this.notes.set(status);
    this.#attempt("failures", () => this.failures.set(this.shown.failures));
    if (before && JSON.stringify(before.progress) !== JSON.stringify(status.progress)) this.#later();
    const ended = ({ progress }) => progress && progress.runs.total - progress.runs.queued - progress.runs.running;
    if (!before || ended(before) !== ended(status)) this.#ended();
  }

  #show({ name, state, progress, time_left_seconds: left, ...rest }) {
    const ended = isOver({ state });
    const title = name || this.id;
    document.title = `${title} – Hubel`;
    this.title.textContent = title;
    if (this.state !== state) fill(this.badge, badge(state));
    this.state = state;
    const epochs = progress?.epochs ?? { done: 0, planned: 0, reused: 0 };
    this.bar.value = epochs.planned ? epochs.done / epochs.planned : ended ? 1 : 0;
    this.words.textContent = progress ? progressWords(progress, ended ? null : left) : "The data set is being prepared.";
    fill(this.facts, facts(this.id, rest));
  }

  // A run has ended: scores and figures may have changed.
  #ended() {
    this.#attempt("runs", () => this.runs.load());
    this.figures.refresh();
  }

  // `isLast`: it was asked for when the experiment had ended.
  planned(plan, isLast = isOver(this.shown)) {
    if (plan instanceof Error) return this.#later();
    this.plan.set(plan, this.shown.plan?.epochs);
    if (plan.runs.length === this.known) this.curves.states(plan.segments);
    else this.curves.plan(plan);
    if (isLast) this.curves.cut(plan);
    this.known = plan.runs.length;
  }

  // The plan again, soon, once for all that changes meanwhile: it is whole each time.
  #later() {
    this.timer ??= setTimeout(async () => {
      this.timer = null; // what changes from here on is seen by a later look
      await this.#attempt("plan", async () => {
        const isLast = isOver(this.shown);
        this.planned(await get(`${this.path}/plan`, {}, this.signal), isLast);
      });
    }, AGAIN_MS);
  }

  // What failed is said until it succeeds; what may succeed later is tried again.
  async #attempt(part, work) {
    if (this.signal.aborted) return;
    const before = String([...this.troubles.values()]);
    try {
      await work();
      clearTimeout(this.again.get(part));
      this.troubles.delete(part);
    } catch (error) {
      if (this.signal.aborted) return;
      this.troubles.set(part, error);
      clearTimeout(this.again.get(part)); // one look a part, however often it was asked for
      if (isPassing(error)) this.again.set(part, setTimeout(() => this.#attempt(part, work), AGAIN_MS));
    }
    const all = [...this.troubles.values()];
    if (String(all) !== before) fill(this.said, all.map(complaint));
  }
}

function section(title, ...content) {
  const id = title.toLowerCase();
  return h("section", { "aria-labelledby": id, class: "part" }, h("h2", { id }, title), content);
}

function progressWords({ epochs, runs, measurements }, left) {
  const parts = [`${epochs.done} of ${epochs.planned} epochs`, `${runs.succeeded} of ${runs.total} runs`];
  if (measurements.planned) parts.push(`${measurements.done} of ${measurements.planned} measurements`);
  if (epochs.reused) parts.push(`${epochs.reused} epochs were in the store already`);
  if (left !== null && left !== undefined) parts.push(`about ${duration(left)} left`);
  return parts.join(" · ");
}

function facts(id, { created, finished, measures, retries, retried_by: retried, forks, forked_by: forked }) {
  const to = (other) => h("a", { href: `/experiments/${other}` }, other.slice(-6));
  const linked = (words, others) => (others?.length ? [` · ${words} `, others.flatMap((other, i) => [i ? ", " : "", to(other)])].flat() : []);
  const ways = [["measures", measures], ["retries", retries], ["forked from", forks]].flatMap(([words, other]) => linked(words, other ? [other] : []));
  return [
    h("code", {}, id), ` · submitted `, moment(created), finished ? [" · ended ", moment(finished)] : null, ...ways,
    ...linked("retried by", retried), ...linked("forked by", forked), " · ", h("a", { href: `/compare?experiments=${id}` }, "compare"),
  ];
}
