// What the stream has told of each run, and the lines that are drawn of it: single seeds, and their
// mean where every seed of the group has got there.

export const METRICS = {
  test_accuracy: "Test accuracy",
  train_accuracy: "Training accuracy",
  test_loss: "Test loss",
  train_loss: "Training loss",
  learning_rate: "Learning rate",
};

const TOGETHER = "together";

export class Series {
  constructor() {
    this.values = Object.fromEntries(Object.keys(METRICS).map((metric) => [metric, new Map()]));
    this.traces = new Map(); // probe -> run -> [epochs, totals]
    this.probes = new Map(); // probe -> its shown name
    this.one = true; // whether no state has been measured in two ways
    this.points = 0;
  }

  add(event) {
    for (const metric of Object.keys(METRICS)) {
      const column = event[metric];
      for (const run of column ? event.runs : []) {
        const ys = at(this.values[metric], run, () => []);
        event.epochs.forEach((epoch, i) => (ys[epoch] = column[i]));
      }
    }
    this.points += event.epochs.length * event.runs.length;
  }

  addFisher({ runs, probe, name, epoch, total }) {
    this.probes.set(probe, name);
    for (const run of runs) {
      this.#measured(probe, run, epoch, total);
      if (this.one && !this.#measured(TOGETHER, run, epoch, total)) this.one = false;
    }
  }

  // False where there is a value at that epoch already.
  #measured(probe, run, epoch, total) {
    const trace = at(at(this.traces, probe, () => new Map()), run, () => []);
    const place = trace.findLastIndex((one) => one[0] <= epoch);
    if (trace[place]?.[0] === epoch) return false;
    trace.splice(place + 1, 0, [epoch, total]);
    return true;
  }

  // What comes after an epoch of a run goes.
  cut(run, epoch) {
    for (const all of Object.values(this.values)) {
      const ys = all.get(run);
      if (ys && ys.length > epoch + 1) ys.length = epoch + 1;
    }
    for (const runs of this.traces.values()) {
      if (runs.has(run)) runs.set(run, runs.get(run).filter(([at]) => at <= epoch));
    }
  }

  // Each choice of what to draw and its name. What a run was shown changes with its deficit, and with
  // it the probe: where every state was measured once, these make one curve.
  choices() {
    const each = [...this.probes];
    return this.one && each.length > 1 ? [[TOGETHER, "as each run was shown"], ...each] : each;
  }

  // Of one run: [epochs, values], a value that is not finite left as null.
  #run(metric, run) {
    const ys = this.values[metric].get(run) ?? [];
    const xs = [];
    for (let epoch = 1; epoch < ys.length; epoch += 1) if (ys[epoch] !== undefined) xs.push(epoch);
    return [xs, xs.map((epoch) => ys[epoch])];
  }

  #trace(probe, run) {
    const trace = this.traces.get(probe)?.get(run) ?? [];
    return [trace.map((one) => one[0]), trace.map((one) => one[1])];
  }

  lines(groups, metric, seeds, lost) {
    return groups.flatMap((group) => lines(group, (run) => this.#run(metric, run), seeds, lost, false));
  }

  fisherLines(groups, probe, seeds, lost) {
    return groups.flatMap((group) => lines(group, (run) => this.#trace(probe, run), seeds, lost, true));
  }
}

function at(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

// `lost` are runs that will go no further: a mean does not wait for them.
function lines(group, read, seeds, lost, marks) {
  const all = group.runs.map(read);
  const [xs, ys] = all.length === 1 ? all[0] : mean(all, group.runs.map((run) => lost.has(run)));
  const begun = all.filter(([x]) => x.length);
  const found = seeds && all.length > 1 ? begun.map(([x, y]) => ({ group, xs: x, ys: y, seed: true, marks: false })) : [];
  if (xs.length) found.push({ group, xs, ys, seed: false, marks: marks && xs.length <= 60, all });
  return found;
}

function mean(all, lost) {
  const sums = new Map();
  for (const [xs, ys] of all) {
    xs.forEach((x, i) => {
      const one = at(sums, x, () => [0, 0]);
      one[0] += ys[i] ?? NaN;
      one[1] += 1;
    });
  }
  const due = (x) => all.filter(([xs], i) => !lost[i] || xs.at(-1) >= x).length;
  const xs = [...sums.keys()].filter((x) => sums.get(x)[1] === due(x)).sort((a, b) => a - b);
  return [xs, xs.map((x) => sums.get(x)[0] / sums.get(x)[1])];
}
