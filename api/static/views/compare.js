// Several experiments in one figure.

import { complaint, readdress } from "../app.js";
import { badge, fill, h } from "../dom.js";
import { file } from "../downloads.js";
import { drawInto } from "../figures.js";
import { get } from "../http.js";
import { sheet } from "../sheet.js";
import { choose } from "./list.js";

const FIGURES = [
  ["critical_period", "Critical period"],
  ["learning_curves", "Learning curves"],
  ["fisher_trace", "Fisher trace"],
];
const FORMATS = ["csv", "json", "svg", "png", "pdf"];
const [LEAST, MOST] = [2, 8];

export async function show(main, { query, signal }) {
  const chosen = new Set(query.getAll("experiments").flatMap((ids) => ids.split(",")).filter(Boolean));
  const figure = h("select", { name: "figure", onchange: () => draw() }, FIGURES.map(([value, text]) => h("option", { value, selected: value === query.get("figure") }, text)));
  const place = h("div", { class: "drawing" });
  const files = h("p", { class: "files" });
  let latest = 0;

  async function draw() {
    const mine = ++latest;
    const isLast = () => mine === latest && !signal.aborted;
    const asked = { experiments: [...chosen].join(","), figure: figure.value };
    readdress(`/compare?${new URLSearchParams(asked)}`);
    fill(files);
    if (chosen.size < LEAST || chosen.size > MOST) return fill(place, h("p", {}, `Choose ${LEAST} to ${MOST} experiments.`));
    try {
      const spec = await get("/v1/compare", { ...asked, format: "vegalite" }, signal);
      if (!isLast()) return;
      if (!(await drawInto(place, spec, `${figure.selectedOptions[0].text} of ${chosen.size} experiments`, isLast))) return;
      fill(files, FORMATS.map((format) => [download(asked, format), " "]));
    } catch (error) {
      if (isLast()) fill(place, complaint(error));
    }
  }

  await sheet("/static/experiment.css"); // how a figure looks
  const { all, gone } = await candidates(chosen, signal);
  gone.forEach((id) => [chosen.delete(id), choose(id, false)]);
  const boxes = all.map((one) => box(one, chosen, draw));
  const left = gone.length ? h("div", { class: "complaint", role: "alert" }, h("p", {}, "Left out, because there is no such experiment (any more): ", gone.join(", "))) : null;
  const names = h("fieldset", {}, h("legend", {}, h("h2", {}, "Experiments")), boxes.length ? boxes : h("p", {}, "There is none to compare yet."));
  const tools = h("div", { class: "tools" }, h("label", {}, "Figure", figure));
  fill(main, h("h1", {}, "Compare"), left, tools, h("div", { class: "choosing" }, h("div", {}, place, files), names));
  await draw();
}

// Those that are chosen already, and the newest; `gone` are chosen ones that are not there.
async function candidates(chosen, signal) {
  const newest = (await get("/v1/experiments", { page_size: 50 }, signal)).experiments.filter((one) => !one.measures);
  const missing = [...chosen].filter((id) => !newest.some((one) => one.id === id));
  const found = await Promise.allSettled(missing.map((id) => get(`/v1/experiments/${id}`, {}, signal)));
  const gone = missing.filter((_, i) => [404, 422].includes(found[i].reason?.status));
  const first = [...found.map((one) => one.value), ...newest.filter((one) => chosen.has(one.id))].filter(Boolean);
  return { all: [...first, ...newest.filter((one) => !chosen.has(one.id))], gone };
}

function box(one, chosen, draw) {
  const input = h("input", { type: "checkbox", checked: chosen.has(one.id), onchange: () => change() });
  function change() {
    if (input.checked) chosen.add(one.id);
    else chosen.delete(one.id);
    draw();
  }
  return h("label", {}, input, h("span", {}, one.name || one.id), badge(one.state));
}

function download(asked, format) {
  const path = `/v1/compare?${new URLSearchParams({ ...asked, format })}`;
  return file(format.toUpperCase(), path, `${asked.figure}.${format}`, (error) => document.getElementById("main").append(complaint(error)));
}
