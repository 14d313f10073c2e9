// What a plan says, in words: what is trained, what sharing and the store save, and about how long.

import { count, duration, h } from "./dom.js";

export function costOf({ plan, certain }) {
  const epochs = plan.epochs;
  const parts = [
    ["new", epochs.new, "var(--link)"],
    ["stored already", epochs.stored, "var(--good)"],
    ["saved by sharing", epochs.alone - epochs.shared, "var(--line)"],
  ];
  const numbers = [
    ["Runs", plan.runs],
    ["Epochs, each run alone", epochs.alone],
    ["after sharing", epochs.shared],
    ["stored already", epochs.stored],
    ["new", epochs.new],
    ["replayed to measure", epochs.replayed],
  ];
  return [
    h("p", {}, h("strong", {}, headline(epochs)), certain ? null : " At most: the data set is not prepared yet, and what is stored of it not known."),
    h("div", { class: "split", role: "img", "aria-label": parts.map(([name, n]) => `${count(n)} epochs ${name}`).join(", ") }, parts.map(([, n, colour]) => share(n, epochs.alone, colour))),
    h("dl", { class: "numbers" }, numbers.map(([name, n]) => [h("dt", {}, name), h("dd", {}, count(n))])),
    h("p", {}, timeOf(plan.device_seconds)),
  ];
}

function headline(epochs) {
  if (!epochs.new) return "Nothing to train: all of it is stored.";
  const saved = 1 - epochs.new / epochs.alone;
  const trains = `Trains ${count(epochs.new)} epochs`;
  return saved > 0.005 ? `${trains}, ${Math.round(100 * saved)} % fewer than each run alone.` : `${trains}.`;
}

function timeOf(seconds) {
  const time = seconds > 0 && seconds < 1 ? "less than 1 s" : `about ${duration(seconds)}`;
  return `Estimated: ${time} of a device that reaches 10 TFLOP/s. Small networks and processors take longer: the experiment says how long once it trains.`;
}

function share(part, whole, colour) {
  const node = h("span");
  node.style.flex = `0 0 ${(100 * part) / Math.max(1, whole)}%`;
  node.style.background = colour;
  return node;
}
