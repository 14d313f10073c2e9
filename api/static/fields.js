// The settings of a spec that are changed most, as fields; what was changed, as a JSON merge patch.

// Of an object, what lies at a path; undefined where nothing does.
export const at = (object, path) => path.reduce((here, name) => here?.[name], object);

export function merged(target, patch) {
  if (!isObject(patch)) return patch;
  const out = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete out[name];
    else out[name] = merged(out[name], value);
  }
  return out;
}

// Two patches as one: a null of the second one stays.
export function joined(first, second) {
  const out = { ...first };
  for (const [name, value] of Object.entries(second)) {
    out[name] = isObject(value) && isObject(out[name]) ? joined(out[name], value) : value;
  }
  return out;
}

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// [{path, label, hint, text}] of what this spec has; an empty text removes the setting.
export function fieldsOf(spec) {
  const of = (label, hint, ...path) => ({ path, label, hint, text: written(at(spec, path)) });
  const isThere = (field) => field.text !== "";
  const axes = Object.keys(spec.sweep ?? {});
  return [
    of("Name", "", "name"),
    of("Seeds", "each is a run of every point; empty: seed 0 alone", "seeds"),
    ...axes.map((axis) => of(`Sweep: ${axis}`, "values, with commas; empty: not swept", "sweep", axis)),
    ...[
      of("Epochs", "in all", "training", "epochs"),
      of("Epochs after the deficit", "", "training", "epochs_after_deficit"),
      ...["start", "end", "length"]
        .filter((edge) => !axes.includes(`deficit.${edge}`))
        .map((edge) => of(`Deficit: ${edge}`, "epoch", "deficit", edge)),
    ].filter(isThere),
    of("Fisher trace: every … epochs", "empty: not measured", "fisher", "every"),
    ...[of("Fisher trace: samples", "", "fisher", "samples")].filter(isThere),
  ];
}

// What the texts say that is other than in the fields.
export function changes(fields, texts) {
  let patch = {};
  fields.forEach(({ path, text }, index) => {
    if (texts[index] === text) return;
    const value = read(texts[index], path);
    const [last, ...outer] = (value === null && path[0] === "fisher" ? ["fisher"] : path).toReversed();
    patch = joined(patch, outer.reduce((inner, name) => ({ [name]: inner }), { [last]: value }));
  });
  return patch;
}

// A patch without what stands in the fields.
export function rest(patch, fields, path = []) {
  const out = {};
  for (const [name, value] of Object.entries(patch)) {
    const here = [...path, name];
    if (fields.some((field) => same(field.path, here) && value !== null)) continue;
    const inner = isObject(value) ? rest(value, fields, here) : value;
    if (!isObject(value) || !Object.keys(value).length || Object.keys(inner).length) out[name] = inner;
  }
  return out;
}

const same = (one, other) => one.length === other.length && one.every((name, i) => name === other[i]);

// The field that a fault's JSON pointer means, or a part of it; else one in or beside what it means
// that the fault names.
export function fieldAt(fields, { pointer, message }) {
  const parts = pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const own = fields.findIndex(({ path }) => path.every((name, i) => name === parts[i]));
  const around = [parts, parts.slice(0, -1)].filter((one) => one.length);
  const beside = ({ path }) => around.some((one) => same(path.slice(0, -1), one)) && message.includes(`'${path.at(-1)}'`);
  return own < 0 ? fields.findIndex(beside) : own;
}

const written = (value) => {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
};

// What is no JSON is text: the service says what is wrong with it.
function read(text, path) {
  if (path[0] === "name") return text;
  if (!text.trim()) return null;
  if (path[0] !== "seeds" && path[0] !== "sweep") return json(text);
  const whole = json(`[${text}]`);
  return Array.isArray(whole) ? whole : text.split(",").map((part) => json(part.trim()));
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
