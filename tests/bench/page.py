"""From opening an experiment's page to its last curve drawn: 30 runs of 200 epochs with Fisher
traces, in a real Chromium, whose store was filled by hand.

python -m tests.bench.page --times 10 --out tests/bench/PAGE.md
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser

from shared import names
from shared.chain import Manifest
from shared.plan import Plan, Segment
from tests.bench import machine, processes
from tests.bench.load_ours import Ours
from tests.browser import started, watched

SPEC: dict[str, Any] = {
    "name": "blur, removal sweep",
    "dataset": {"name": "gratings"},
    "model": {"name": "all_cnn", "width": 0.25},
    "training": {"epochs": 200, "batch_size": 128},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    "sweep": {"deficit.end": list(range(0, 200, 20))},
    "seeds": [0, 1, 2],
    "fisher": {"every": 10, "samples": 200},
}
POINTS = 30 * 200
LAYERS = [f"{block}.{part}" for block in range(9) for part in (0, 1)]
LAST_CURVE = f"""
new Promise(done => {{
  const drawn = () => performance.getEntriesByName("hubel:curves")
    .find(mark => mark.detail.points === {POINTS});
  const look = () => drawn() ? requestAnimationFrame(() => setTimeout(() => done(
    {{drawn: drawn().startTime, painted: performance.now()}}))) : setTimeout(look, 5);
  look();
}})"""
SHIFTS = """
new Promise(done => new PerformanceObserver(list => done(
  list.getEntries().reduce((sum, one) => sum + (one.hadRecentInput ? 0 : one.value), 0)
)).observe({type: "layout-shift", buffered: true}) || setTimeout(() => done(0), 500))"""


def filled(system: Ours, spec: dict[str, Any]) -> str:
    """An experiment all of whose states were trained and measured, by nobody."""
    url = f"http://{system.host}:{system.port}/v1/experiments"
    answer = httpx.post(url, json=spec, timeout=120, trust_env=False).raise_for_status()
    id = str(answer.json()["id"])
    stored = system.store.read_json(names.experiment_object(id, "plan.json"))
    plan, draw = Plan.model_validate(stored), random.Random(0)
    for segment in plan.segments:
        for epoch, digest in plan.probed(segment):
            _measure(system, plan, segment, epoch, digest, draw)
        _train(system, id, segment, draw)
    while httpx.get(f"{url}/{id}", trust_env=False, timeout=60).json()["state"] != "succeeded":
        time.sleep(0.5)
    return id


def _train(system: Ours, id: str, segment: Segment, draw: random.Random) -> None:
    epochs = range(segment.start + 1, segment.end + 1)
    rows = [_row(epoch, draw) for epoch in epochs]
    manifest = Manifest(
        key=segment.key, parent=segment.parent, start=segment.start, end=segment.end,
        checkpoint="0" * 64, metrics=system.store.write_blob(json.dumps(rows).encode()),
        provenance={
            "experiment": id, "numerics": "none", "wall_seconds": 1.0,
            "epoch_times": ["2026-01-01T00:00:00.000Z" for _ in epochs],
        },
    )  # fmt: skip
    system.store.create_json(names.manifest(segment.scope, segment.key), manifest.model_dump())


def _row(epoch: int, draw: random.Random) -> dict[str, Any]:
    accuracy = 0.9 - 0.8 / (1 + epoch / 20) + draw.gauss(0, 0.01)
    values = {
        "train_loss": 2.3 / (1 + epoch / 10), "train_accuracy": accuracy + 0.02,
        "test_loss": 2.3 / (1 + epoch / 12), "test_accuracy": accuracy,
        "learning_rate": 0.05 * 0.97**epoch,
    }  # fmt: skip
    return {"epoch": epoch, "stimulus": [], **values}


def _measure(
    system: Ours, plan: Plan, segment: Segment, epoch: int, digest: str, draw: random.Random
) -> None:
    trace = 100 * (1 + epoch) * 2.718 ** (-epoch / 40) * draw.lognormvariate(0, 0.1)
    layer = {"trace": trace / len(LAYERS), "standard_error": trace / 100, "parameters": 1000}
    values = {
        "trace": trace, "standard_error": trace / 50, "gradient_norm": 1.0, "noise_scale": 1.0,
        "layers": [{"name": name, **layer} for name in LAYERS],
    }  # fmt: skip
    record = {
        "probe": plan.probes[digest], "key": segment.state(epoch), "epoch": epoch, "values": values,
        "provenance": {"experiment": "", "numerics": "none", "time": "2026-01-01T00:00:00.000Z"},
    }  # fmt: skip
    system.store.create_json(names.measurement(segment.scope, segment.state(epoch), digest), record)


def opened(browser: Browser, url: str, path: str) -> dict[str, float]:
    """ms from the navigation: nothing is in the browser's cache."""
    with watched(browser, url, viewport={"width": 1280, "height": 900}) as page:
        page.goto(path, wait_until="commit")
        found = page.evaluate(LAST_CURVE)
        page.wait_for_timeout(1500)
        return {**found, "shift": page.evaluate(SHIFTS), "load": os.getloadavg()[0]}


def measured(times: int, priority: int) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        system = Ours(Path(folder))
        try:
            pids = [os.getpid(), *(child.pid for child in system.children.values())]
            processes.set_priority(pids, priority)
            id = filled(system, SPEC)
            with started() as browser:
                url, path = f"http://{system.host}:{system.port}", f"/experiments/{id}"
                opened(browser, url, path)
                return [opened(browser, url, path) for _ in range(times)]
        finally:
            system.stop()


def table(found: list[dict[str, float]], about: dict[str, Any]) -> str:
    def row(words: str, name: str) -> str:
        values = sorted(one[name] for one in found)
        middle, low, high = statistics.median(values), values[0], values[-1]
        return f"| {words} | {middle:.0f} ms | {low:.0f} to {high:.0f} ms |"

    shift, load = max(one["shift"] for one in found), [one["load"] for one in found]
    return "\n".join(
        [
            "# From opening an experiment's page to its last curve drawn",
            "",
            "30 runs of 200 epochs in 10 groups, a Fisher trace every 10 epochs;"
            f" {about['hardware']}, {about['date']}; n = {len(found)},"
            f" a fresh browser context each; load average {min(load):.1f} to {max(load):.1f}."
            f" By `{about['command'].strip()}`.",
            "",
            "| from the navigation | median | range |",
            "|---|---|---|",
            row("all points handed to the browser's renderer", "drawn"),
            row("painted", "painted"),
            "",
            f"Layout shift, the largest sum of a visit: {shift:.3f}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--priority", type=int, default=0, help="nice value, beside other work")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = table(measured(options.times, options.priority), machine.about("page"))
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
