// Workers and the queue: who does what, what waits, and whether the service is sound.

import { bar, count, duration, fill, h } from "../dom.js";
import { get, repeat } from "../http.js";

const POLL_MS = 2000;
const UNFIT = "Its device, its disk or the store keeps it from working: its log says which.";
const QUEUE = [
  ["running", "Running"],
  ["queued", "Queued"],
  ["waiting", "Waiting for others"],
  ["messages", "Messages in the queue"],
];

export async function show(main, { signal }) {
  const sound = h("div", { "aria-live": "polite" });
  const body = h("div");
  let told = "";
  async function load() {
    const [health, found] = await Promise.allSettled([get("/readyz", {}, signal), get("/v1/workers", {}, signal)]);
    if (signal.aborted) return;
    const words = soundness(health);
    if (JSON.stringify(words) !== told) fill(sound, spoken(words));
    told = JSON.stringify(words);
    if (found.status === "fulfilled") fill(body, queueOf(found.value), workersOf(found.value));
    else if (!body.childElementCount) throw found.reason;
  }
  fill(main, h("h1", {}, "Workers and queue"), sound, body);
  await load();
  repeat(POLL_MS, load, signal);
}

function soundness({ status, value, reason }) {
  if (status === "rejected") return { isSound: false, lines: [reason.message] };
  return { isSound: !value.errors.length, lines: value.errors.map((one) => one.message) };
}

function spoken({ isSound, lines }) {
  if (isSound) return h("p", {}, h("span", { class: "state succeeded" }, "✓ ready"), " The store and Redis answer.");
  return h("div", { class: "complaint" }, h("strong", {}, "Not all is well"), lines.map((line) => h("p", {}, line)));
}

const queueOf = ({ queue }) => [
  h("h2", {}, "Queue"),
  h("dl", { class: "numbers queue" }, QUEUE.map(([name, label]) => [h("dt", {}, label), h("dd", {}, number(queue[name]))])),
];

const number = (value) => (value === null || value === undefined ? "–" : count(value));

function workersOf({ workers, known }) {
  if (!known) return [h("h2", {}, "Workers"), h("p", {}, "Redis does not answer: who works is not known now.")];
  if (!workers.length) return [h("h2", {}, "Workers"), none()];
  const heads = ["Worker", "State", "Does", "Device", "How long"].map((text) => h("th", { scope: "col" }, text));
  return [
    h("h2", {}, `Workers (${workers.length})`),
    h("table", { class: "workers blocks" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, workers.map(rowOf))),
  ];
}

const none = () =>
  h("p", {}, "No worker has been heard of. What is submitted waits. Start one with ", h("code", {}, "python -m worker.main"), ", or all of the service with ", h("code", {}, "make up"), ".");

const rowOf = (one) =>
  h(
    "tr",
    {},
    h("td", { class: "first" }, one.name),
    h("td", {}, h("span", { class: `state ${one.unfit ? "failed" : one.state}` }, one.unfit ? "✕ unfit" : one.state)),
    h("td", { class: "wide" }, one.unfit ? UNFIT : doing(one)),
    h("td", { class: "wide" }, one.device_name ?? one.device ?? "–"),
    h("td", { class: "wide" }, h("time", { datetime: one.since ?? "" }, since(one.since))),
  );

function doing(one) {
  if (!one.experiment) return one.dataset ? `data set ${one.dataset}` : "–";
  const link = h("a", { href: `/experiments/${one.experiment}` }, one.experiment);
  if (one.epoch === null || one.epoch === undefined) return link;
  const [done, all] = [one.epoch - one.start, one.end - one.start];
  return [link, bar(done, all, `Segment of ${one.name}`), h("small", {}, `epoch ${one.epoch}, of ${one.start} to ${one.end}`)];
}

const since = (iso) => (iso ? `for ${duration((Date.now() - new Date(iso)) / 1000)}` : "–");
