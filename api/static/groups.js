// Runs that differ in their seed alone are one curve: its name, its colour and its dashes.

// Okabe and Ito, made dark enough for white and light enough for black (3:1 and more).
const CHOICES = [
  ["#0072b2", "#56b4e9"],
  ["#d55e00", "#ff8f4a"],
  ["#00805d", "#2fc99b"],
  ["#b0508a", "#e69fc8"],
  ["#a86f00", "#e6b422"],
  ["#2b86c0", "#9ad5f5"],
  ["#1a1d21", "#e6e9ec"],
];
// For what has an order: dark to bright, so that it also reads in grey.
const RAMP = [
  ["#2b1470", "#7a1f7a", "#c2393f", "#b87400"],
  ["#8f8cff", "#d673d6", "#ff8585", "#ffd166"],
];
const DASHES = ["", "7 3", "2 2.5", "9 3 2 3"];

export function groupsOf(runs) {
  const groups = new Map();
  for (const run of runs) {
    const key = JSON.stringify([run.variant, run.point]);
    if (!groups.has(key)) groups.set(key, { key, runs: [], first: run, windows: run.windows, changes: run.changes ?? [] });
    groups.get(key).runs.push(run.run);
  }
  const found = [...groups.values()];
  name(found);
  paint(found);
  return found;
}

// What the names of the groups are made of, for the head of a legend.
export function axes(groups) {
  const paths = [...new Set(groups.flatMap((one) => Object.keys(one.first.point)))];
  return { paths, variants: new Set(groups.map((one) => one.first.variant)).size > 1 };
}

const word = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));

function name(groups) {
  const { paths, variants } = axes(groups);
  for (const group of groups) {
    const { point, variant } = group.first;
    const values = paths.filter((path) => path in point).map((path) => word(point[path]));
    const parts = [variants ? (variant ?? "base") : null, values.join(", ") || null].filter(Boolean);
    group.name = parts.join(" · ") || "all runs";
    group.windowed = group.windows.length > 0;
  }
}

// The colour says the point and the dashes say the variant; where there is one of either, the dashes
// tell neighbours apart as well.
function paint(groups) {
  const points = [...new Set(groups.map((one) => JSON.stringify(one.first.point)))];
  const variants = [...new Set(groups.map((one) => one.first.variant))];
  const ordered = points.length > 3 ? order(points) : null;
  for (const group of groups) {
    const point = points.indexOf(JSON.stringify(group.first.point));
    const variant = variants.indexOf(group.first.variant);
    const [light, dark] = ordered
      ? ramp(ordered.indexOf(points[point]) / (points.length - 1))
      : CHOICES[(points.length > 1 ? point : variant) % CHOICES.length];
    group.colour = `light-dark(${light}, ${dark})`;
    const turn = ordered ? (points.length > 6 ? ordered.indexOf(points[point]) % 2 : 0) : Math.floor(point / CHOICES.length);
    group.dash = DASHES[(variants.length > 1 ? variant : turn) % DASHES.length];
  }
}

// Points of one numeric axis by its value; null where there is no such order.
function order(points) {
  const values = points.map((one) => Object.values(JSON.parse(one)));
  if (!values.every((one) => one.length === 1 && typeof one[0] === "number")) return null;
  return points.map((one, i) => [values[i][0], one]).sort((a, b) => a[0] - b[0]).map((one) => one[1]);
}

const ramp = (place) => RAMP.map((stops) => between(stops, place));

function between(stops, place) {
  const below = Math.min(Math.floor(place * (stops.length - 1)), stops.length - 2);
  const share = place * (stops.length - 1) - below;
  const channel = (colour, k) => parseInt(colour.slice(k, k + 2), 16);
  const mixed = [1, 3, 5].map((k) => Math.round(channel(stops[below], k) * (1 - share) + channel(stops[below + 1], k) * share));
  return `#${mixed.map((one) => one.toString(16).padStart(2, "0")).join("")}`;
}

// What is trained otherwise from an epoch on, in words.
export function changed({ at, settings = {}, ...restarts }) {
  const parts = Object.entries(settings).flatMap(([part, value]) =>
    value !== null && typeof value === "object" ? Object.entries(value).map(([name, one]) => `${part}.${name} ${word(one)}`) : [`${part} ${word(value)}`]);
  const again = Object.entries(restarts).filter(([, acts]) => acts === true).map(([name]) => name.replaceAll("_", " "));
  return `from epoch ${at} on: ${[...parts, ...again].join(", ")}`;
}
