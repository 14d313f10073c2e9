// Curves over epochs: axes, shaded windows, lines where the training changes, a cursor for the
// pointer and the keyboard. What it draws is given to it; which values stand at the cursor its owner
// says.

import { h } from "./dom.js";
import { decades, s, ticks } from "./svg.js";

const PAD = { top: 8, right: 16, bottom: 34, left: 56 };
const SHADE = 0.3; // of all windows upon each other
const NEAR = 30; // pixels between a pointer and the curve that it means

export class Chart {
  // `moved(epoch, nearest group's key or null)`; epoch null: the pointer has left.
  constructor({ label, height, moved }) {
    this.moved = moved;
    this.height = height;
    this.width = 0;
    this.data = null;
    this.at = null;
    this.back = s("g");
    this.front = s("g", { class: "front" });
    this.picture = s(
      "svg",
      {
        class: "chart", role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": 0,
        "aria-valuenow": 0, height, onpointermove: (e) => this.#point(e),
        onpointerdown: (e) => this.#point(e), onpointerleave: () => this.moved(null, null),
        onkeydown: (e) => this.#key(e), onblur: () => this.moved(null, null),
      },
      this.back,
      this.front,
    );
    this.node = h("div", { class: "plot" }, this.picture);
    new ResizeObserver(() => this.#resized()).observe(this.node);
  }

  // {lines: [{group, xs, ys, seed, marks}], windows: [{start, end, colour, strong}],
  //  changes: [{at, words}], last, log,
  //  format, strong: key or null, y: title}
  set(data) {
    this.data = data;
    this.#draw();
  }

  // The epoch under the cursor, the values there [{x, y, colour}], and the same in words.
  cursor(epoch, dots, words) {
    this.at = epoch;
    this.front.replaceChildren();
    this.picture.setAttribute("aria-valuenow", epoch ?? this.data?.last ?? 0);
    this.picture.setAttribute("aria-valuetext", words);
    if (epoch === null || !this.x) return;
    const x = this.x(epoch);
    this.front.append(s("line", { x1: x, x2: x, y1: PAD.top, y2: this.height - PAD.bottom, class: "cursor" }));
    for (const { x: at, y, colour } of dots) {
      const place = this.y(y);
      if (Number.isFinite(place)) this.front.append(s("circle", { cx: this.x(at), cy: place, r: 3.5, style: `--ink: ${colour}` }));
    }
  }

  #resized() {
    const width = Math.floor(this.node.clientWidth);
    if (width === this.width) return;
    this.width = width;
    this.picture.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    if (this.data) this.#draw();
  }

  #draw() {
    this.width ||= Math.floor(this.node.clientWidth);
    if (!this.width) return;
    const { lines, windows, changes, last, log, format, strong } = this.data;
    const [left, right] = [PAD.left, this.width - PAD.right];
    const [bottom, top] = [this.height - PAD.bottom, PAD.top];
    const [low, high] = range(lines, log);
    const scale = log ? Math.log10 : (value) => value;
    this.x = (epoch) => left + (epoch / Math.max(1, last)) * (right - left);
    this.y = (value) => bottom - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (bottom - top);
    this.picture.setAttribute("aria-valuemax", last);
    const rows = log ? decades(low, high) : ticks(low, high, 5);
    this.back.replaceChildren(
      ...windows.map((one) => this.#window(one, top, bottom, SHADE / Math.max(3, windows.length))),
      ...changes.map((one) => s("line", { class: "change", x1: this.x(one.at), x2: this.x(one.at), y1: top, y2: bottom }, s("title", {}, one.words))),
      ...rows.map((value) => s("line", { class: "grid", x1: left, x2: right, y1: this.y(value), y2: this.y(value) })),
      ...rows.map((value) => s("text", { class: "tick", x: left - 8, y: this.y(value) + 4, "text-anchor": "end" }, format(value))),
      ...ticks(0, last, Math.max(2, this.width / 90), true).map((epoch) =>
        s("text", { class: "tick", x: this.x(epoch), y: bottom + 16, "text-anchor": "middle" }, String(epoch))),
      s("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
      s("text", { class: "tick", x: (left + right) / 2, y: this.height - 4, "text-anchor": "middle" }, "epoch"),
      ...lines.map((line) => this.#line(line, strong)),
    );
    if (!lines.length) {
      this.back.append(s("text", { class: "tick", x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" }, this.data.empty));
    }
  }

  #window({ start, end, colour, strong }, top, bottom, opacity) {
    const [x, to] = [this.x(start), this.x(end)];
    const look = { class: strong ? "window strong" : "window", style: `--ink: ${colour}`, opacity: strong ? 0.2 : opacity };
    return s("rect", { ...look, x, y: top, width: Math.max(1, to - x), height: bottom - top });
  }

  #line({ group, xs, ys, seed, marks }, strong) {
    const state = strong === null ? "" : strong === group.key ? " strong" : " faint";
    const path = this.#path(xs, ys);
    const look = { class: `${seed ? "seed" : "mean"}${state}`, style: `--ink: ${group.colour}` };
    return s(
      "g",
      look,
      s("path", { d: path, "stroke-dasharray": seed ? null : group.dash || null }),
      marks ? xs.map((x, i) => s("circle", { cx: this.x(x).toFixed(1), cy: this.y(ys[i]).toFixed(1), r: 2 })) : null,
    );
  }

  #path(xs, ys) {
    const [parts, places] = [[], xs.length > 2 * this.width ? extremes(xs, ys, this.width) : null];
    const count = places ? places.length : xs.length;
    let pen = "M";
    for (let k = 0; k < count; k += 1) {
      const i = places ? places[k] : k;
      const y = ys[i] === null ? NaN : this.y(ys[i]);
      if (Number.isFinite(y)) {
        parts.push(pen, this.x(xs[i]).toFixed(1), " ", y.toFixed(1));
        pen = "L";
      } else pen = "M";
    }
    return parts.join("");
  }

  #epoch(event) {
    const box = this.picture.getBoundingClientRect();
    const place = (event.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
    return Math.round(Math.min(1, Math.max(0, place)) * this.data.last);
  }

  #point(event) {
    if (!this.data || !this.y) return;
    const [epoch, top] = [this.#epoch(event), event.clientY - this.picture.getBoundingClientRect().top];
    let [nearest, least] = [null, NEAR];
    for (const { group, xs, ys, seed } of this.data.lines) {
      if (seed) continue;
      const i = before(xs, epoch);
      const away = i < 0 ? NaN : Math.abs(this.y(ys[i]) - top);
      if (away < least) [nearest, least] = [group.key, away];
    }
    this.moved(epoch, nearest);
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -1e9, End: 1e9 };
    if (event.key === "Escape") this.moved(null, null);
    if (!(event.key in steps) || !this.data) return;
    event.preventDefault();
    const to = (this.at ?? this.data.last) + steps[event.key];
    this.moved(Math.min(this.data.last, Math.max(0, to)), null);
  }
}

// Index of the last x that is not after `epoch`; -1 where there is none.
export function before(xs, epoch) {
  let [low, high] = [0, xs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= epoch) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function range(lines, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const { ys } of lines) {
    for (const y of ys) {
      if (y === null || !Number.isFinite(y) || (log && y <= 0)) continue;
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  if (low > high) return log ? [1, 10] : [0, 1];
  if (log) return low < high ? [low, high] : [low / 2, high * 2];
  const room = (high - low || Math.abs(high) || 1) * 0.04;
  return [low - room, high + room];
}

// Of more points than pixels the lowest and the highest in each column, so that no peak is lost.
function extremes(xs, ys, width) {
  const [kept, step] = [[], Math.ceil(xs.length / width)];
  for (let from = 0; from < xs.length; from += step) {
    const to = Math.min(from + step, xs.length);
    let [low, high] = [from, from];
    for (let i = from; i < to; i += 1) {
      if (ys[i] < ys[low]) low = i;
      if (ys[i] > ys[high]) high = i;
    }
    kept.push(...(low === high ? [low] : [Math.min(low, high), Math.max(low, high)]));
  }
  return kept;
}

export const share = (value) => `${Number((100 * value).toFixed(2))} %`;
