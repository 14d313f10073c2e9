"""What the command line says: status, plans, refusals, and the table of results."""

import contextlib
import csv
import io
import json
from typing import Any

import httpx
from rich.table import Table

Json = dict[str, Any]

MEASUREMENTS = "measurements"


def status(found: Json) -> str:
    lines = [f"{found['id']}  {found['state']}  {plain(found['name'])}".rstrip()]
    progress = found["progress"]
    if progress:
        epochs, runs = progress["epochs"], progress["runs"]
        left = found.get("time_left_seconds")
        rest = f", {duration(left)} left" if left else ""
        reused = f", {epochs['reused']} taken from the store" if epochs.get("reused") else ""
        lines.append(f"epochs: {epochs['done']} of {epochs['planned']} trained{reused}{rest}")
        what, count = counted(found)
        if what == MEASUREMENTS:
            lines[-1] = f"measurements: {count['done']} of {count['planned']}"
        failed = f", {runs['failed']} failed" if runs.get("failed") else ""
        lines.append(f"runs: {runs.get('succeeded', 0)} of {runs['total']} done{failed}")
    lines += remarks(found)
    for failure in found.get("failures", [])[:10]:
        run = "" if failure.get("run") is None else f"run {failure['run']}: "
        lines.append(f"failed: {run}{plain(failure['reason'])}")
    return "\n".join(lines)


def remarks(found: Json) -> list[str]:
    """Tags and notes, where there are any."""
    tags, notes = found.get("tags") or {}, found.get("notes") or ""
    lines = ["tags: " + ", ".join(f"{plain(k)}={plain(v)}" for k, v in tags.items())]
    return lines[: len(tags)] + [f"notes: {plain(line)}" for line in notes.splitlines()]


def plan(found: Json, certain: bool) -> str:
    count = found["epochs"]
    if measured := found.get("measurements"):
        return (
            f"{found['runs']} runs, {measured['asked']} measurements, {measured['stored']} there"
            f" already, {measured['new']} new; {count['replayed']} epochs replayed"
        )
    seconds = found["device_seconds"]
    time = "less than 1 s" if 0 < seconds < 1 else f"about {duration(seconds)}"
    words = (
        f"{found['runs']} runs, {count['alone']} epochs alone, {count['shared']} after sharing, "
        f"{count['stored']} stored already, {count['new']} new, {count['replayed']} replayed; "
        f"{time} on a device that reaches 10 TFLOP/s"
    )
    if found.get("bytes"):
        words += f", about {size(found['bytes'])} in the store"
    return words if certain else f"{words} (before the data set is prepared: at most)"


def line(found: Json) -> str:
    left = found.get("time_left_seconds")
    rest = f", {duration(left)} left" if left else ""
    return f"{found['state']} {done(found)}{rest}"


def done(found: Json) -> str:
    what, count = counted(found)
    return f"{count['done']}/{count['planned']} {what}" if found["progress"] else f"- {what}"


def counted(found: Json) -> tuple[str, Json]:
    """What an experiment is counted in, how many are done and planned: a measurement job trains no
    epochs, or replays few."""
    progress = found["progress"] or {}
    what = MEASUREMENTS if found.get("measures") else "epochs"
    return what, progress.get(what) or {"done": 0, "planned": 0}


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(count: int) -> str:
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def plain(text: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _paths(found: Json) -> list[str]:
    return list(dict.fromkeys(path for point in found["points"] for path in point["point"]))


def summary_table(found: Json) -> Table:
    paths = _paths(found)
    table = Table(title=plain(found["name"]) or None)
    variants = ["variant"] if any(point["variant"] for point in found["points"]) else []
    for column in (*variants, *paths):
        table.add_column(plain(column))
    for column in ("final accuracy", "95 % interval", "seeds", "drop (points)"):
        table.add_column(column, justify="right")
    for point in found["points"]:
        named = [_cell(point["variant"])] if variants else []
        place = [*named, *(_cell(point["point"].get(path)) for path in paths)]
        seeds = f"{point['n']} of {point['runs']}"
        drop = _points((point["drop"] or {}).get("mean"))
        table.add_row(*place, _percent(point["mean"]), _interval(point["interval"]), seeds, drop)
    return table


def presets_table(found: Json) -> Table:
    """With the epochs that are left of each scale's after sharing."""
    table = Table(title="Epochs to train at each scale, after sharing")
    scales = list(dict.fromkeys(scale for one in found["presets"] for scale in one["scales"]))
    for column in ("preset", "title"):
        table.add_column(column)
    for scale in scales:
        table.add_column(plain(scale), justify="right")
    for one in found["presets"]:
        counts = [one["scales"][scale]["plan"]["epochs"]["shared"] for scale in scales]
        table.add_row(plain(one["name"]), plain(one["title"]), *(f"{n:,}" for n in counts))
    return table


def _cell(value: Any) -> str:
    return "" if value is None else plain(value if isinstance(value, str) else json.dumps(value))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %"


def summary_csv(found: Json) -> str:
    paths = _paths(found)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["variant", *paths, "n", "runs", "mean", "low", "high", "drop"])
    for point in found["points"]:
        low, high = point["interval"] or (None, None)
        place = [_cell(point["variant"]), *(_cell(point["point"].get(path)) for path in paths)]
        drop = (point["drop"] or {}).get("mean")
        writer.writerow([*place, point["n"], point["runs"], point["mean"], low, high, drop])
    return text.getvalue()


def problem(response: httpx.Response) -> str:
    said: Json = {}
    with contextlib.suppress(ValueError):
        said = response.json()
    if not isinstance(said, dict) or "title" not in said:
        return f"The service answered {response.status_code} {response.reason_phrase}"
    lines = [f"{said['title']} ({response.status_code}): {said.get('detail', '')}"]
    for fault in said.get("errors", []):
        lines.append(f"  {fault.get('pointer') or '/'}  {fault.get('message')}")
    if response.status_code >= 500:
        lines.append(f"  request {said.get('request_id')}")
    return "\n".join(plain(line) for line in lines)
