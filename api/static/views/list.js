// The list of experiments: newest first, kept up to date in place, several chosen to compare.

import { complaint, navigate, readdress } from "../app.js";
import { badge, bar, count, duration, fill, h, isOver, moment, STATES } from "../dom.js";
import { get, repeat } from "../http.js";

const FILTERS = ["state", "name", "tag"];
const PAGE = 25;
const POLL_MS = 2000;
const TYPING_MS = 300;
const MOST = 8; // as many as one figure compares
export const DEMO = `/new?${new URLSearchParams({ preset: "fig1a", scale: "mini", set: '{"controls":null}' })}`;

const chosen = new Set(); // stays while the user filters and turns pages

export function choose(id, isChosen) {
  if (isChosen) chosen.add(id);
  else chosen.delete(id);
}

export async function show(main, { query, signal }) {
  const body = h("tbody");
  const found = h("div");
  const said = h("div", { "aria-live": "polite" });
  const news = h("button", { type: "button", onclick: () => draw(latest) }, "Show changes");
  const compare = h("button", { type: "button", onclick: () => navigate(`/compare?experiments=${[...chosen]}`) });
  const filters = filterForm(query, () => refilter());
  const table = tableOf(body);
  let rows = new Map();
  let latest = null;
  let drawn = null;

  const load = () => get("/v1/experiments", asked(query), signal);

  // Its place is kept, so that it moves nothing when it comes.
  const say = (isNews) => (news.style.visibility = isNews ? "visible" : "hidden");

  function draw(page) {
    say(false);
    drawn = JSON.stringify(page);
    rows = new Map(page.experiments.map((one) => [one.id, rowOf(one, chose)]));
    fill(body, [...rows.values()].map((row) => row.node));
    const isFirst = !query.has("page_token");
    const isEmpty = !rows.size && !page.unreadable.length;
    const isNew = isEmpty && isFirst && !page.next && !FILTERS.some((name) => query.has(name));
    table.hidden = isEmpty;
    filters.hidden = isNew;
    fill(found, isNew ? welcome() : isEmpty ? nothing(page) : table, unreadable(page), pages(page, isFirst));
  }

  function chose(id, isChosen) {
    choose(id, isChosen);
    offer();
  }

  function offer() {
    compare.disabled = chosen.size < 2 || chosen.size > MOST;
    compare.textContent = chosen.size > MOST ? `Compare: ${MOST} at most` : chosen.size ? `Compare ${chosen.size}` : "Compare";
  }

  // Rows stay where they are: what is new or gone moves in when the user says so. Without rows only
  // news is drawn: what is drawn anew loses the focus.
  function update(page) {
    latest = page;
    if (!rows.size) {
      if (JSON.stringify(page) !== drawn) draw(page);
      return;
    }
    for (const one of page.experiments) rows.get(one.id)?.update(one);
    say(page.experiments.length !== rows.size || !page.experiments.every((one) => rows.has(one.id)));
  }

  async function refilter() {
    for (const name of ["page_token", ...FILTERS]) query.delete(name);
    for (const [name, value] of new FormData(filters)) if (value) query.append(name, value);
    readdress(query.size ? `/?${query}` : "/");
    await attempt(draw);
  }

  async function attempt(take) {
    const asked = String(query);
    try {
      const page = await load();
      if (asked !== String(query)) return; // the filter is another one by now
      fill(said);
      take(page);
    } catch (error) {
      if (!signal.aborted) fill(said, complaint(error));
    }
  }

  offer();
  filters.append(h("div", { class: "rest" }, news, compare));
  fill(main, h("h1", {}, "Experiments"), filters, said, found);
  await attempt(draw);
  repeat(POLL_MS, () => attempt(update), signal);
}

const asked = (query) => ({
  state: query.get("state"),
  name: query.get("name"),
  tag: query.getAll("tag"),
  page_size: query.get("page_size") ?? PAGE,
  page_token: query.get("page_token"),
});

function filterForm(query, changed) {
  const { state, name, tag } = asked(query);
  const options = STATES.map((one) => h("option", { value: one, selected: one === state }, one));
  let typing;
  return h(
    "form",
    {
      class: "tools",
      role: "search",
      onsubmit: (event) => event.preventDefault(),
      oninput: (event) => {
        if (event.target.type === "checkbox") return;
        clearTimeout(typing);
        typing = setTimeout(changed, TYPING_MS);
      },
    },
    h("label", {}, "Name contains", h("input", { type: "search", name: "name", value: name ?? "" })),
    h("label", {}, "State", h("select", { name: "state" }, h("option", { value: "" }, "any"), options)),
    h("label", {}, "Tag", h("input", { type: "search", name: "tag", value: tag[0] ?? "", placeholder: "lab:vision" })),
  );
}

function tableOf(body) {
  const columns = [h("span", { class: "dim" }, "✓"), "Experiment", "State", "Progress", "Time left", "Submitted"];
  const heads = columns.map((text, i) => h("th", { scope: "col", ...(i ? {} : { "aria-label": "Compare" }) }, text));
  return h("table", { class: "experiments blocks" }, h("thead", {}, h("tr", {}, heads)), body);
}

function rowOf(one, chose) {
  const name = one.name || one.id;
  const box = h("input", {
    type: "checkbox",
    checked: chosen.has(one.id),
    "aria-label": `Compare ${name}`,
    onchange: () => chose(one.id, box.checked),
  });
  const [state, progress, left] = [h("td"), h("td", { class: "wide" }), h("td", { class: "wide" })];
  const title = h("td", {}, h("a", { href: `/experiments/${one.id}` }, name), tags(one.tags));
  const node = h("tr", {}, h("td", {}, box), title, state, progress, left, h("td", { class: "wide" }, moment(one.created)));
  let last = "";
  function update(now) {
    const text = JSON.stringify([now.state, now.progress, now.time_left_seconds]);
    if (text === last) return;
    last = text;
    fill(state, badge(now.state));
    fill(progress, progressOf(now, name));
    fill(left, now.time_left_seconds && !isOver(now) ? `${duration(now.time_left_seconds)} left` : null);
  }
  update(one);
  return { node, update };
}

const tags = (all) =>
  h("div", { class: "labels" }, Object.entries(all).map(([key, value]) => tagOf(`${key}:${value}`)));

const tagOf = (tag) => h("a", { href: `/?${new URLSearchParams({ tag })}` }, tag);

// A measurement job trains no epochs, or replays few: it is counted in measurements.
function progressOf(one, name) {
  const kind = one.measures ? "measurements" : "epochs";
  const runs = one.progress?.runs;
  if (!runs) return h("small", {}, "looking at the data set");
  const { done, planned, reused } = one.progress[kind];
  const parts = [`${count(done)} of ${count(planned)} ${kind}`];
  if (reused) parts.push(`${count(reused)} reused`);
  const failed = runs.failed ? h("small", { class: "fault" }, `${runs.failed} of ${runs.total} runs failed`) : null;
  return [bar(done, planned, `Progress of ${name}`), h("small", {}, parts.join(", ")), failed];
}

function unreadable(page) {
  if (!page.unreadable.length) return null;
  const lines = page.unreadable.map((one) => h("li", {}, h("code", {}, one.id), " ", one.detail));
  return h("div", { class: "complaint" }, h("strong", {}, "Cannot be read"), h("ul", {}, lines));
}

// `next` is an address of the API; its parameters are those of this page too.
function pages(page, isFirst) {
  if (isFirst && !page.next) return null;
  const newest = new URLSearchParams(location.search);
  newest.delete("page_token");
  const older = page.next && new URLSearchParams(page.next.split("?")[1]);
  return h(
    "nav",
    { class: "pages", "aria-label": "Pages of the list" },
    isFirst ? null : h("a", { href: `/?${newest}` }, "← Newest"),
    older ? h("a", { href: `/?${older}` }, "Older →") : null,
  );
}

const nothing = (page) =>
  h("p", {}, page.next ? "Nothing among the newest that matches: look at older ones. " : "Nothing matches. ", h("a", { href: "/" }, "Show all"));

function welcome() {
  return [
    h("p", {}, "There is no experiment yet. An experiment trains a network many times, each time with a deficit of its images in other epochs, and shows what the deficit cost and when."),
    h("p", {}, "The demo is Figure 1 A of the paper in small: 24 trainings on generated images, in minutes, on any machine. You see its plan and what it costs before anything starts."),
    h("p", {}, h("a", { class: "button main", href: DEMO }, "Run the demo"), " ", h("a", { class: "button", href: "/new" }, "Choose another figure")),
  ];
}
