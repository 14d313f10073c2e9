// What a plan says, in words: what is trained, what sharing and the store save, and about how long.

import { count, duration, h, size } from "./dom.js";

export function costOf({ plan, certain }) {
  const epochs = plan.epochs;
  const shares = [
    ["new", epochs.new, "var(--link)"],
    ["stored already", epochs.stored, "var(--stored)"],
    ["saved by sharing", epochs.alone - epochs.shared, "var(--line)"],
  ];
  const numbers = [
    ["runs", plan.runs],
    ["epochs, each run alone", epochs.alone],
    ["epochs after sharing", epochs.shared],
    ...shares,
    ["replayed to measure", epochs.replayed],
  ];
  return [
    h("p", {}, h("strong", {}, headline(epochs)), certain ? null : " Or fewer: what is stored of it is known once its data set is prepared."),
    h("div", { class: "split", "aria-hidden": "true" }, shares.map(([, n, colour]) => painted("span", colour, (100 * n) / Math.max(1, epochs.alone)))),
    h("dl", { class: "numbers" }, numbers.map(([name, n, colour]) => [h("dt", {}, colour ? painted("i", colour) : null, name), h("dd", {}, count(n))])),
    epochs.new || epochs.replayed ? h("p", {}, timeOf(plan.device_seconds)) : null,
    plan.bytes ? h("p", {}, `Checkpoints and metrics: about ${size(plan.bytes)} more in the store.`) : null,
  ];
}

function headline(epochs) {
  if (!epochs.new) return "Nothing to train: all of it is stored.";
  const saved = 1 - epochs.new / epochs.alone;
  const trains = `Trains ${count(epochs.new)} epochs`;
  return saved > 0.005 ? `${trains}, ${Math.round(100 * saved)} % fewer than each run alone.` : `${trains}.`;
}

// No forecast for the workers at hand: a plan knows no speeds.
export function timeOf(seconds) {
  const time = seconds < 1 ? "less than 1 s" : `about ${duration(seconds)}`;
  return `Estimated: ${time} of a device that reaches 10 TFLOP/s. Two processor cores need hundreds of times as long: all figures at mini, 23,160 epochs, took two shared x86-64 cores 119 minutes. Once it trains, the experiment says how long is left.`;
}

function painted(tag, colour, percent = null) {
  const node = h(tag, percent === null ? { class: "sample" } : {});
  node.style.background = colour;
  if (percent !== null) node.style.width = `${percent}%`;
  return node;
}
