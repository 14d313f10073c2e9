"""What the load bench measured, in Markdown.

python -m tests.bench.load_table tests/bench/LOAD.json      writes LOAD.md again
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

Found = dict[str, Any]

HEAD = """# What many experiments and many pollers cost

Written by `make bench-load` (`tests/bench/load.py`); the numbers are in `LOAD.json`. The service as
local mode starts it, with {apis}, Valkey and SeaweedFS; no worker, so that
all experiments wait. Beside it MLflow's tracking server with as many runs, all up at the same time
and asked in turn. One process on the same machine generates the load.

- **submit**: of the service all {experiments:,} experiments, each with its whole spec. Of MLflow
  {by_http:,} calls of `runs/create` into an empty database; a run's parameters and metrics come in
  a call of their own, which is not counted. Its other {copied:,} runs are not submitted: they are
  copies of the first one's rows, made by SQL.
- **paced**: each client polls the status of an experiment of its own every {pause:g} s, as the
  service asks for, and one request in ten is the newest page of 50 of the list. **Another each
  time**: at the same pace, for {minutes:g} minutes, each client goes round a hundred experiments,
  and once in that round asks for the list.
- **closed, own**: the same clients, status only, without a pause. **closed, any**: of any
  experiment.
- **ms**: milliseconds at the client, median over the rounds (least to most). **CPU ms**: of all
  server processes together (database, Redis and store included), by request: what other work on
  the machine disturbs least. **Not 2xx**: answers and broken connections, of all requests.
"""
APIS = {
    1: "one API process",
    2: "two API processes (all but the equal POSTs ask the first)",
}

PHASES = {
    "submit": ("submit", "submit"),
    "paced": ("paced status", "status"),
    "paced list": ("paced list", "list"),
    "minutes": ("paced, another each time: status", "status"),
    "closed": ("closed, own: status", "status"),
    "any": ("closed, any: status", "status"),
    "lists": ("closed, 4 clients: list", "list"),
    "history": ("history", "history"),
    "history, wide": ("history, wide", "history, wide"),
}


def summary(made: Found) -> Found:
    """Of one run of the load generator: rates, percentiles, sizes, what went wrong."""
    seconds = made["seconds"]
    return {
        "seconds": round(seconds, 2),
        "statuses": made["statuses"],
        "server_cpu": made["server_cpu"],
        "client_cpu": round(made["cpu_seconds"], 2),
        "load": round(made["load"], 1),
        "requests": {
            name: {
                "n": len(values),
                "rate": round(len(values) / seconds, 1),
                "p50": round(percentile(values, 50), 2),
                "p99": round(percentile(values, 99), 2),
                "most": max(values),
                "bytes": made["bytes"][name] // len(values),
            }
            for name, values in made["milliseconds"].items()
        },
    }


def percentile(values: list[float], which: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * which // 100)]


def markdown(found: Found) -> str:
    parts = [_head(found), _about(found), _requests(found["found"])]
    if "same" in found:
        parts.append(_same(found["same"]))
    parts.append(_memory(found))
    return "\n".join(parts)


def errors(found: Found) -> dict[str, int]:
    """Requests that were not answered 2xx, by what they were. Of equal POSTs a 409 asks to come
    again, and that was done."""
    answers = {
        f"{system}: {phase}": [run["statuses"] for run in runs]
        for system, phases in found["found"].items()
        for phase, runs in phases.items()
    }
    for name, one in found.get("same", {}).items():
        answers[f"equal POSTs, {name}"] = [
            {status: n for status, n in part.items() if status != "409"} for part in one["statuses"]
        ]
    counted = {name: sum(map(_not_2xx, parts)) for name, parts in answers.items()}
    return {name: count for name, count in counted.items() if count}


def _not_2xx(statuses: dict[str, int]) -> int:
    return sum(count for status, count in statuses.items() if not status.startswith("2"))


def _head(found: Found) -> str:
    options, apis = (
        found["options"],
        sum(name.startswith("api-") for name in found["memory"]["empty"]),
    )
    by_http = min(options["experiments"], options["by_http"])
    return HEAD.format(
        apis=APIS[apis], by_http=by_http, copied=options["experiments"] - by_http,
        pause=found["pause"], minutes=options["minutes"], experiments=options["experiments"],
    )  # fmt: skip


def _about(found: Found) -> str:
    about, options = found["about"], found["options"]
    loads = [
        run["load"] for runs in found["found"].values() for one in runs.values() for run in one
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{about['date']}; {about['hardware']}; {versions}. {options['experiments']:,} experiments"
        f" and as many runs, {options['clients']} clients, {options['rounds']} rounds of"
        f" {options['seconds']:g} s, a history of {options['points']:,} points.",
        f"Other work shared the machine: its load average was {min(loads):g} to {max(loads):g}. "
        + (
            f"In the paced phases the servers and the clients ran at nice {options['priority']}."
            if options["priority"]
            else ""
        ),
    ]
    return "\n".join(lines) + "\n"


def _requests(systems: dict[str, dict[str, list[Found]]]) -> str:
    lines = [
        "| what | | a second | p50 ms | p99 ms | CPU ms | bytes | not 2xx |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for phase, (title, name) in PHASES.items():
        for system, phases in systems.items():
            runs = phases.get(phase.removesuffix(" list"), [])
            if rows := [run["requests"][name] for run in runs if name in run["requests"]]:
                cells = [spread([row[cell] for row in rows]) for cell in ("rate", "p50", "p99")]
                own = phase != "paced list"  # what is counted with the statuses of its run
                cpu = spread([_cpu(run) for run in runs]) if own else ""
                wrong = str(sum(_not_2xx(run["statuses"]) for run in runs)) if own else ""
                size = f"{rows[0]['bytes']:,}"
                lines.append(f"| {title} | {system} | {' | '.join([*cells, cpu, size, wrong])} |")
    return "\n".join(lines) + "\n"


def _cpu(run: Found) -> float:
    requests = sum(one["n"] for one in run["requests"].values())
    return float(1000 * sum(run["server_cpu"].values()) / requests)


def _same(same: Found) -> str:
    lines = ["Equal POSTs at once, 50 clients to each of two API processes:", ""]
    lines += [
        "| | POSTs | experiments | segments to train | s | 409, asked again | others not 2xx |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, one in same.items():
        again = sum(part.get("409", 0) for part in one["statuses"])
        others = sum(map(_not_2xx, one["statuses"])) - again
        lines.append(
            f"| {name} | {one['posts']} | {one['listed']} | {one['segments']} |"
            f" {one['seconds']} | {again} | {others} |"
        )
    return "\n".join(lines) + "\n"


def _memory(found: Found) -> str:
    memory = found["memory"]
    minutes = found["options"]["minutes"]
    lines = [
        f"Resident memory in MiB, and its slope over {minutes:g} minutes of paced polling, each"
        " client another experiment each time (the second half: what fills a cache ends, a leak"
        " does not):",
        "",
        "| | empty | filled | after all | MiB a minute, first half | second half |",
        "|---|---|---|---|---|---|",
    ]
    for name, empty in memory["empty"].items():
        slope = memory.get("slopes", {}).get(name, {})
        halves = [f"{slope[half]:+.2f}" if half in slope else "" for half in ("first", "second")]
        cells = [f"{one:.1f}" for one in (empty, memory["filled"][name], memory["after"][name])]
        lines.append(f"| {name} | {' | '.join([*cells, *halves])} |")
    for run in found["found"].get("Hubel", {}).get("minutes", []):
        status = run["requests"]["status"]
        lines += ["", f"In these minutes a status took {status['most']} ms at most."]
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """Median (least to most)."""
    middle = _shown(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({_shown(min(values))} to {_shown(max(values))})"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".md").write_text(markdown(json.loads(source.read_text())))
