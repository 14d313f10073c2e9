// Elements of SVG, and round numbers for axes.

export function s(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// About `count` round numbers within [low, high]: 1, 2 or 5 times a power of ten apart.
export function ticks(low, high, count, whole = false) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const times = [1, 2, 5, 10].find((one) => one * power >= rough * 0.999);
  const step = whole ? Math.max(1, times * power) : times * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(i * step);
  return found;
}

// 1, 2, 5, 10, ... within [low, high]; over more than three decades powers of ten alone.
export function decades(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const found = [];
  for (let power = first; power <= last; power += 1) {
    for (const times of last - first > 3 ? [1] : [1, 2, 5]) found.push(times * 10 ** power);
  }
  return found.filter((one) => one >= low * 0.999 && one <= high * 1.001);
}

export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}
