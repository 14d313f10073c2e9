// Which view a path shows. A view gets the main element and {params, query, signal}.

import { ApiError } from "./http.js";
import { fill, h } from "./dom.js";

const VIEWS = [
  [/^\/$/, "list"],
  [/^\/experiments\/(?<id>[0-9a-f]{24})$/, "experiment"],
  [/^\/compare$/, "compare"],
  [/^\/new$/, "submit"],
  [/^\/workers$/, "workers"],
];

const main = document.getElementById("main");
let leaving = new AbortController();

async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  mark(location.pathname);
  for (const [pattern, name] of VIEWS) {
    const found = pattern.exec(location.pathname);
    if (!found) continue;
    const query = new URLSearchParams(location.search);
    try {
      const view = await import(`./views/${name}.js`);
      fill(main);
      await view.show(main, { params: found.groups ?? {}, query, signal });
    } catch (error) {
      if (!signal.aborted) fill(main, complaint(error));
    }
    return;
  }
  fill(main, h("p", {}, "There is nothing here."));
}

export function navigate(path) {
  history.pushState(null, "", path);
  return go();
}

export function complaint(error) {
  const faults = error instanceof ApiError ? error.errors : [];
  return h(
    "div",
    { class: "complaint", role: "alert" },
    h("strong", {}, error.title ?? "Error"),
    h("p", {}, error.message),
    faults.length ? h("ul", {}, faults.map((f) => h("li", {}, h("code", {}, f.pointer), " ", f.message))) : null,
  );
}

function mark(path) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const ours = (url) => url.origin === location.origin && VIEWS.some(([pattern]) => pattern.test(url.pathname));

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || link.target || link.download) return;
  const url = new URL(link.href);
  if (!ours(url) || (url.hash && url.pathname === location.pathname)) return;
  event.preventDefault();
  navigate(url.pathname + url.search).then(() => main.focus());
});
addEventListener("popstate", go);
go();
