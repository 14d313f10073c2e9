// Files: a plain link where no token is needed, else fetched with the token and handed over.

import { complaint } from "./app.js";
import { blob, get, hasToken } from "./http.js";
import { fill, h } from "./dom.js";

// A link that downloads `path` as `name`; `said` is told what went wrong.
export function file(text, path, name, said) {
  const fetched = async (event) => {
    if (!hasToken()) return; // the browser's own download, which streams
    event.preventDefault();
    try {
      hand(await blob(event.currentTarget.getAttribute("href")), name);
    } catch (error) {
      said(error);
    }
  };
  return h("a", { href: path, download: name, class: "file", onclick: fetched }, text);
}

export function hand(data, name) {
  const link = h("a", { href: URL.createObjectURL(data), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const FORMATS = [["csv", "CSV"], ["parquet", "Parquet"], ["jsonl", "JSON Lines"]];
const TABLES = [["metrics", "Every number of every epoch"], ["fisher", "Fisher traces"], ["second_order", "Second order"], ["information", "Information in activations"]];
const KEPT = [["none", "without checkpoints"], ["final", "with the last checkpoint of each run"], ["all", "with all checkpoints"]];

export function downloads(id) {
  const path = `/v1/experiments/${id}`;
  const trouble = h("div", { role: "status" });
  const said = (error) => fill(trouble, complaint(error));
  const row = ([table, words]) => {
    const files = FORMATS.map(([format, text]) => file(text, `${path}/${table}?format=${format}`, `${id}-${table}.${format}`, said));
    return h("tr", {}, h("th", { scope: "row" }, words), h("td", {}, files));
  };
  return h("div", { class: "downloads" }, h("table", {}, h("tbody", {}, TABLES.map(row))), archive(id, path, said), checkpoints(path, said), trouble);
}

function archive(id, path, said) {
  const choice = h("select", { "aria-label": "Checkpoints in the archive" }, KEPT.map(([value, text]) => h("option", { value }, text)));
  const link = file("export.zip", "", `${id}.zip`, said);
  const point = () => link.setAttribute("href", `${path}/export.zip?checkpoints=${choice.value}`);
  choice.addEventListener("change", point);
  point();
  return h("p", {}, "Everything, with a script that redraws the figures: ", link, " ", choice);
}

// The list is asked for when it is opened: there are many.
function checkpoints(path, said) {
  const list = h("ul", { class: "checkpoints" });
  let next = null;
  const more = h("button", { type: "button", hidden: true, onclick: () => load().catch(said) }, "More");
  async function load() {
    const page = await get(`${path}/checkpoints`, { page_size: 100, page_token: next });
    next = page.next_page_token;
    more.hidden = next === null;
    list.append(...page.checkpoints.map((one) => h("li", {}, checkpoint(one, said))));
    if (!list.childElementCount) list.append(h("li", {}, "None is stored yet."));
  }
  const opened = (event) => event.currentTarget.open && !list.childElementCount && load().catch(said);
  return h("details", { ontoggle: opened }, h("summary", {}, "Single checkpoints (safetensors)"), list, more);
}

// The store hands the file over itself, for a link that is good for some minutes.
function checkpoint(one, said) {
  const fetched = async () => {
    try {
      location.assign((await get(one.links.self)).link);
    } catch (error) {
      said(error);
    }
  };
  const runs = one.runs.length === 1 ? `run ${one.runs[0]}` : `runs ${one.runs.join(", ")}`;
  return [h("button", { type: "button", onclick: fetched }, `Epoch ${one.epoch}`), ` ${runs} `, h("code", {}, one.sha256.slice(0, 12))];
}
