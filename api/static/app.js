// Which view a path shows. A view gets the main element and {params, query, signal}.

import { ApiError, hasToken, signIn, signOut, silentSince } from "./http.js";
import { fill, h } from "./dom.js";

const VIEWS = [
  [/^\/$/, "list", "Experiments"],
  [/^\/experiments\/(?<id>[0-9a-f]{24})$/, "experiment", "Experiment"],
  [/^\/compare$/, "compare", "Compare"],
  [/^\/new$/, "submit", "New experiment"],
  [/^\/workers$/, "workers", "Workers"],
];

const main = document.getElementById("main");
let leaving = new AbortController();
let shown = ""; // the address of what is shown, without its hash

const here = () => location.pathname + location.search;

async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  shown = here();
  mark(location.pathname);
  const [found, name, title] = match(location.pathname);
  document.title = `${title} · Hubel`;
  if (!found) {
    fill(main, h("h1", {}, title), h("p", {}, "This page is not there. ", h("a", { href: "/" }, "All experiments")));
    return;
  }
  const query = new URLSearchParams(location.search);
  try {
    const view = await import(`./views/${name}.js`);
    if (signal.aborted) return;
    fill(main);
    await view.show(main, { params: found.groups ?? {}, query, signal });
  } catch (error) {
    if (!signal.aborted) fill(main, h("h1", {}, title), complaint(error));
  }
}

function match(path) {
  for (const [pattern, name, title] of VIEWS) {
    const found = pattern.exec(path);
    if (found) return [found, name, title];
  }
  return [null, null, "Nothing here"];
}

// To another view. Who reads with the ears hears its heading first.
export async function navigate(path) {
  history.pushState(null, "", path);
  await go();
  scrollTo(0, 0);
  const heading = main.querySelector("h1") ?? main;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

// The same view under another address.
export function readdress(path) {
  history.replaceState(null, "", path);
  shown = here();
}

export function complaint(error) {
  const faults = error instanceof ApiError ? error.errors : [];
  return h(
    "div",
    { class: "complaint", role: "alert" },
    h("strong", {}, error.title ?? "Error"),
    h("p", {}, error.message),
    faults.length ? h("ul", {}, faults.map((f) => h("li", {}, h("code", {}, f.pointer), " ", f.message))) : null,
    error.status === 401 ? h("button", { type: "button", onclick: () => signIn().then(go) }, "Give a token") : null,
  );
}

function mark(path) {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const leave = document.getElementById("sign-out");
const offer = () => (leave.hidden = !hasToken());
leave.addEventListener("click", () => {
  signOut();
  go();
});
addEventListener("hubel-token", offer);
offer();

const silence = document.getElementById("silence");
setInterval(() => {
  const since = silentSince();
  const words = since ? `The service has not answered since ${new Date(since).toLocaleTimeString()}: what stands here may be old.` : "";
  if (silence.textContent !== words) silence.textContent = words;
}, 1000);

const ours = (url) => url.origin === location.origin && VIEWS.some(([pattern]) => pattern.test(url.pathname));

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  if (!ours(url) || (url.hash && url.pathname === location.pathname)) return;
  event.preventDefault();
  navigate(url.pathname + url.search);
});
addEventListener("popstate", () => {
  if (here() !== shown) go(); // or only the hash is another one
});
go();
