"""A metric of training over epochs: mean over seeds, one line for each point of the sweep."""

import math
from itertools import zip_longest
from typing import Any, Literal, get_args

from api.figures import bands, curves, scales, series, style
from api.figures.accuracy_panel import place
from api.figures.curves import Layout
from shared.errors import Conflict
from shared.results import METRICS, Results, Row

Metric = Literal["test_accuracy", "train_accuracy", "test_loss", "train_loss", "learning_rate"]
assert set(get_args(Metric)) == set(METRICS)

MOST, BANDS = 12, 4
"""Lines in one picture, and of those that still have a band each; the data hold all."""
TITLES = {
    "test_accuracy": "Test accuracy (%)",
    "train_accuracy": "Training accuracy (%)",
    "test_loss": "Test loss",
    "train_loss": "Training loss",
    "learning_rate": "Learning rate",
}
TOOLTIP = ["line:N", "epoch:Q", "value:Q", "low:Q", "high:Q", "n:Q"]


def build(results: Results, metric: Metric = "test_accuracy") -> dict[str, Any]:
    """One row for each point of the sweep and epoch: `value`, the mean over the seeds that have
    trained so far, with its 95 % Student t interval (`low`, `high`, null with one seed) and `n`.
    Accuracies are in percent. Epochs of a seed that are not finite are left out of its mean."""
    layout = curves.layout(results.plan)
    rows = _rows(results, layout, metric)
    if not rows:
        raise Conflict("There is nothing to draw yet: no epoch is stored")
    name = results.name or "Learning curves"
    lines = list(dict.fromkeys(row["line"] for row in rows))
    words = [f"{TITLES[metric]}, {curves.seeds_words({row['n'] for row in rows})}."]
    drawn = bands.words(rows)
    if drawn and len(lines) <= BANDS:
        words.append(f"Band: {drawn}.")
    elif drawn:
        words.append(f"Without their intervals ({drawn}), which the data hold.")
    if len(lines) > MOST:
        words.append(
            f"{MOST} of {len(lines)} lines, of each curve as many as there is room for; the data"
            " hold all."
        )
    drawn_lines = _some_of_each(lines, rows)
    shown = [row for row in rows if row["line"] in drawn_lines]
    return {
        "data": rows,
        "title": name,
        "vegalite": _spec(shown, drawn_lines, metric, name, words),
    }


def _some_of_each(lines: list[str], rows: list[Row]) -> list[str]:
    """As many as are drawn: first lines of each curve, which is an experiment where several are
    compared, then second ones."""
    curve = {row["line"]: row["curve"] for row in rows}
    turns: dict[str, list[str]] = {}
    for line in lines:
        turns.setdefault(curve[line], []).append(line)
    order = [line for turn in zip_longest(*turns.values()) for line in turn if line is not None]
    kept = set(order[:MOST])
    return [line for line in lines if line in kept]


def _rows(results: Results, layout: Layout, metric: str) -> list[Row]:
    scale = 100 if metric.endswith("accuracy") else 1
    values: dict[tuple[str, int], list[float]] = {}
    facts: dict[tuple[str, int], Row] = {}
    for run in results.plan.runs:
        where = place(run, layout)
        line = _line(where["curve"], where["window"], layout)
        for row in results.epochs(run):
            value = scale * float(row[metric])
            if math.isfinite(value):
                group = (where["point"], row["epoch"])
                values.setdefault(group, []).append(value)
                facts.setdefault(group, {"kind": "mean", **where, "line": line, "epoch": group[1]})
    return [facts[group] | _mean(found) for group, found in values.items()]


def _line(curve: str, window: str, layout: Layout) -> str:
    """What the legend calls a point of the sweep."""
    if len(set(layout.positions.values())) < 2:
        return curve
    if window == "none" or (window == "0" and not layout.by_onset):
        where = "no deficit"
    else:
        where = f"deficit {'from' if layout.by_onset else 'until'} {window}"
    return ", ".join(filter(None, [curve, where]))


def _mean(values: list[float]) -> Row:
    band = bands.band(values, None, logarithmic=False)
    return {"value": band.pop("mean")} | band


def _spec(
    rows: list[Row], lines: list[str], metric: str, name: str, words: list[str]
) -> dict[str, Any]:
    import altair as alt  # 0.4 s: not when the API starts

    x = series.epochs(rows, style.WIDTH)
    ends = [min(row["value"] for row in rows), max(row["value"] for row in rows)]
    room = 0.06 * (ends[1] - ends[0]) or 1.0
    domain = [max(0.0, ends[0] - room), ends[1] + room]
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    y = alt.Y("value:Q", title=TITLES[metric], scale=scale)
    colours, dashes = style.cycle(style.COLOURS, len(lines)), style.cycle(style.DASHES, len(lines))
    legend = style.legend(None, lines, dashes=True) if len(lines) > 1 else None
    color = alt.Color("line:N", scale=alt.Scale(domain=lines, range=colours), legend=legend)
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=lines, range=dashes), legend=legend)
    each = alt.Chart().encode(x=x, color=color, detail=["point:N"])
    band = each.transform_filter("isValid(datum.low)")
    band = band.transform_calculate(**scales.inside(("low", "high"), domain))
    area = band.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    layers = [
        *([area] if len(lines) <= BANDS else []),
        each.mark_line(strokeWidth=1.8).encode(y=y, strokeDash=dash, tooltip=TOOLTIP),
    ]
    chart = alt.layer(*layers, data=alt.Data(values=[]))
    chart = chart.properties(width=style.WIDTH, height=style.HEIGHT)
    chart = chart.properties(title=alt.TitleParams(**style.title(name, words)))
    return style.finished(chart, rows)
