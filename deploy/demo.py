"""The demo: local mode, one experiment over HTTP, its progress, its result, its figures.

python -m deploy.demo [--data DIR] [--out DIR] [--spec FILE]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from deploy.findings import finding
from deploy.local import LocalError, LocalMode, usual_workers

HERE = Path(__file__).parent
FIGURES = ("critical_period", "fisher_trace")
Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".hubel/demo"), help="kept between runs")
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument("--spec", type=Path, default=HERE / "examples" / "demo.json")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        workers = usual_workers()
        console.print(f"Starting Redis, an S3 server, the API and workers: {workers} ...")
        with LocalMode(options.data, workers=workers) as local:
            console.print(f"{local.url} is ready (log: {local.data / 'hubel.log'})")
            _run(local.url, options.spec, options.out, console)
        console.print(f"Stopped. {time.monotonic() - began:.0f} s in all.")
    except LocalError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(f"demo: interrupted; what was trained is kept in {options.data}")


def _run(url: str, spec: Path, out: Path, console: Console) -> None:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        body = json.loads(spec.read_text())
        answer = http.post("/v1/experiments", json=body)
        if answer.status_code != 202:
            sys.exit(f"demo: the experiment was refused: {answer.text}")
        path = f"/v1/experiments/{answer.json()['id']}"
        console.print(f"POST /v1/experiments -> 202, {url}{path}")
        _watch(url, answer.json()["id"])
        summary = http.get(f"{path}/summary").raise_for_status().json()
        traces = _pages(http, f"{path}/fisher")
        _write(http, path, out, summary, traces)
        console.print(_accuracy_table(summary))
        console.print(_fisher_table(traces))
        console.print(f"[bold]{finding(summary)}[/bold]")
        console.print(f"Figures, JSON and CSV: {out.resolve()}")


def _watch(url: str, id: str) -> None:
    """The command that a user would type; it ends with 1 if the experiment fails."""
    command = [sys.executable, "-m", "api.cli", "--url", url, "watch", id]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit("demo: the experiment did not succeed")


def _pages(http: httpx.Client, path: str) -> list[Json]:
    answer = http.get(path, params={"page_size": 10_000}).raise_for_status()
    rows: list[Json] = answer.json()
    while "next" in answer.links:
        answer = http.get(answer.links["next"]["url"]).raise_for_status()
        rows += answer.json()
    return rows


def _write(http: httpx.Client, path: str, out: Path, summary: Json, traces: list[Json]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        for format in ("svg", "png"):
            figure = http.get(f"{path}/figures/{name}", params={"format": format})
            (out / f"{name}.{format}").write_bytes(figure.raise_for_status().content)
    status = http.get(path).raise_for_status().json()
    results = {"experiment": status, "summary": summary, "fisher": traces}
    (out / "results.json").write_text(json.dumps(results, indent=1))
    metrics = http.get(f"{path}/metrics", params={"shape": "wide", "format": "csv"})
    (out / "metrics.csv").write_bytes(metrics.raise_for_status().content)


def _accuracy_table(summary: Json) -> Table:
    """Deficit removed at epoch -> final accuracy, mean and 95 % interval over seeds."""
    curves = list(dict.fromkeys(point["variant"] for point in summary["points"]))
    ends = sorted({point["point"]["deficit.end"] for point in summary["points"]})
    seeds = max(point["n"] for point in summary["points"])
    table = Table(
        title=f"Final accuracy, mean and 95 % interval over {seeds} seeds", title_justify="left"
    )
    table.add_column("deficit removed\nat epoch", justify="right")
    for curve in curves:
        table.add_column(curve or "", justify="right")
    found = {(p["variant"], p["point"]["deficit.end"]): p for p in summary["points"]}
    for end in ends:
        table.add_row(str(end), *(_with_interval(found[curve, end]) for curve in curves))
    return table


def _with_interval(point: Json) -> str:
    if point["interval"] is None:
        return "-" if point["mean"] is None else f"{100 * point['mean']:.1f} %"
    low, high = point["interval"]
    return f"{100 * point['mean']:.1f} % ± {50 * (high - low):.1f}"


def _fisher_table(traces: list[Json]) -> Table:
    """The trace before and after: without a deficit, and with the longest one of each curve."""
    table = Table(title="Trace of the Fisher information, mean over seeds", title_justify="left")
    for column in ("", "at the start", "at the removal", "at the end"):
        table.add_column(column, justify="right" if column else "left")
    curves = list(dict.fromkeys(row["variant"] for row in traces))
    longest = max(row["deficit.end"] for row in traces)
    for curve, end in [(curves[0], 0), *((curve, longest) for curve in curves)]:
        rows = [r for r in traces if r["variant"] == curve and r["deficit.end"] == end]
        last = max(row["epoch"] for row in rows)
        cells = [_trace(rows, 0), _trace(rows, end) if end else "", _trace(rows, last)]
        table.add_row(f"{curve}, removed at {end}" if end else "no deficit", *cells)
    return table


def _trace(rows: list[Json], epoch: int) -> str:
    values = [r["trace"] for r in rows if r["epoch"] == epoch and r["trace"] is not None]
    return f"{sum(values) / len(values):.3g}" if values else "-"


if __name__ == "__main__":
    main()
