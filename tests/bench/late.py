"""The figure: late in training the default keeps its stated error, and a drawn label does not.

    python -m tests.bench.late --data cifar10.npz      (make bench-fisher-late DATA=cifar10.npz)

A measurement of n images is repeated thousands of times, each with other images and other draws,
and each time its stated 95 % interval, estimate +- 1.96 standard errors, is held against the exact
value. Nothing is modelled: the images are drawn with replacement from those of a state whose exact
values are all known, a label from the image's own probabilities with its exact squared norm, and
the default's value from a pool of its own values for that image.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import altair as alt
import torch
import vl_convert
from torch import Tensor

from api.figures import style
from tests.bench import machine, ours, states
from tests.bench.truth import Truth, truth

SIZES = [32, 64, 128, 256, 512, 1024, 2048]
SHOWN, SHOWN_AT = 40, "fitted"
SHOWN_SIZE = 128  # the fewest after which the default may stop
INTERVAL = 1.96  # of a normal distribution: 95 %
NAMES = {"label": "one drawn label (label)", "signs": "the default (signs)"}
OUT = Path(__file__).parents[2] / "deploy/examples/figures/fisher-late.svg"

Rows = list[dict[str, Any]]


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(1)
    if not asked.redraw:
        asked.out.with_suffix(".json").write_text(json.dumps(measure(asked), indent=1) + "\n")
    found = json.loads(asked.out.with_suffix(".json").read_text())
    asked.out.write_text(draw(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=lambda text: Path(text) if text else None)
    parser.add_argument("--network", default="all_cnn:0.25")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--pool", type=int, default=40, help="values of the default for an image")
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--redraw", action="store_true", help="from the JSON that is there")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    name, width = asked.network.split(":")
    arrays = states.load(asked.data)
    moments: Rows = []
    coverage: Rows = []
    shown: Rows = []
    for moment in states.MOMENTS:
        state = states.state(arrays, name, float(width), moment)
        known = truth(state, min(asked.images, len(state.images)))
        images = state.images[: len(known.p)]
        pool = torch.stack(
            [ours.per_image(state.model, images, ours.SIGNS, seed) for seed in range(asked.pool)]
        )
        moments.append(_about(moment, state.confidence, known, pool))
        print(moments[-1], flush=True)
        for estimator in NAMES:
            for size in SIZES:
                found = _repeated(estimator, known, pool, size, asked.repetitions)
                key = {"moment": moment, "estimator": estimator, "images": size}
                coverage.append(key | _summary(*found))
                print(coverage[-1], flush=True)
                if moment == SHOWN_AT and size == SHOWN_SIZE:
                    shown += _first(estimator, *found)
    return {
        "network": name,
        "width": float(width),
        "images": len(known.p),
        "pool": asked.pool,
        "repetitions": asked.repetitions,
        "data": asked.data.name if asked.data else "generated gratings",
        "moments": moments,
        "coverage": coverage,
        "shown": shown,
        **machine.about("late"),
    }


def _about(moment: str, confidence: float, known: Truth, pool: Tensor) -> dict[str, Any]:
    spread = (pool - known.traces).square().mean() / known.traces.mean() ** 2
    return {
        "moment": moment,
        "confidence": confidence,
        "trace": known.traces.mean().item(),
        "between": known.between,
        "within_label": known.within_label,
        "within_signs": spread.item(),
        "pool_mean": (pool.mean() / known.traces.mean()).item(),
    }


def _repeated(
    estimator: str, known: Truth, pool: Tensor, size: int, times: int
) -> tuple[Tensor, Tensor]:
    """Estimate / exact and its stated standard error, over the exact value: (times,) each."""
    draws = torch.Generator().manual_seed(size)
    rows = torch.randint(len(known.p), (times, size), generator=draws)
    values = _values(estimator, known, pool, rows.flatten(), draws).view(times, size)
    values = values / known.traces.mean()
    return values.mean(1), values.std(1) / size**0.5


def _values(
    estimator: str, known: Truth, pool: Tensor, rows: Tensor, draws: torch.Generator
) -> Tensor:
    if estimator == "signs":
        return pool[torch.randint(len(pool), rows.shape, generator=draws), rows]
    uniforms = torch.rand(len(rows), 1, dtype=torch.float64, generator=draws)
    labels = (known.p.cumsum(1)[rows] <= uniforms).sum(1).clamp(max=known.p.shape[1] - 1)
    return known.norms[rows, labels]


def _summary(estimates: Tensor, errors: Tensor) -> dict[str, float]:
    covered = (estimates - 1).abs() <= INTERVAL * errors
    low, middle, high = estimates.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
    return {
        "coverage": covered.double().mean().item(),
        "low": low.item(),
        "median": middle.item(),
        "high": high.item(),
        "stated": errors.median().item(),
        "true": (estimates - 1).square().mean().sqrt().item(),
    }


def _first(estimator: str, estimates: Tensor, errors: Tensor) -> Rows:
    return [
        {
            "estimator": estimator,
            "repetition": i + 1,
            "estimate": round(e, 4),
            "low": round(e - INTERVAL * s, 4),
            "high": round(e + INTERVAL * s, 4),
            "covers": abs(e - 1) <= INTERVAL * s,
        }
        for i, (e, s) in enumerate(
            zip(estimates[:SHOWN].tolist(), errors[:SHOWN].tolist(), strict=True)
        )
    ]


def draw(found: dict[str, Any]) -> str:
    """SVG: above, single measurements late in training; below, how often they hold."""
    above = alt.hconcat(*(_measurements(found, estimator) for estimator in NAMES), spacing=30)
    below = alt.hconcat(*(_coverage(found, m) for m in found["moments"]), spacing=20)
    moment = next(m for m in found["moments"] if m["moment"] == SHOWN_AT)
    title = style.title(
        "Late in training a drawn label is far off, and on few images says too small an error",
        [
            f"All-CNN, width {found['width']:g}, {found['data'].removesuffix('.npz')}. Above: "
            f"{SHOWN} measurements of {SHOWN_SIZE} images each with their stated 95 % intervals, "
            f"fitted network (mean largest probability {moment['confidence']:.2f}). Below: share "
            f"of {found['repetitions']:,} measurements whose interval holds the exact value."
        ],
        760,
    )
    chart = alt.vconcat(above, below, spacing=30, title=title)
    return vl_convert.vegalite_to_svg(chart.configure(**style.CONFIG).to_dict())


def _colours() -> alt.Scale:
    return alt.Scale(domain=list(NAMES), range=[style.COLOURS[1], style.COLOURS[0]])


def _measurements(found: dict[str, Any], estimator: str) -> alt.LayerChart:
    rows = [row for row in found["shown"] if row["estimator"] == estimator]
    domain = [0, min(5.0, max(row["high"] for row in found["shown"]))]
    x = alt.X("repetition:Q", axis=alt.Axis(values=[1, 10, 20, 30, 40]), title="measurement")
    y = alt.Y("estimate:Q", scale=alt.Scale(domain=domain, clamp=True), title="estimate / exact")
    colour = style.COLOURS[1 if estimator == "label" else 0]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x)
    opacity = alt.condition("datum.covers", alt.value(0.45), alt.value(1.0))
    bars = base.mark_rule(color=colour, strokeWidth=2).encode(
        y=alt.Y("low:Q", scale=alt.Scale(domain=domain, clamp=True), title="estimate / exact"),
        y2="high:Q",
        opacity=opacity,
    )
    points = base.mark_point(color=colour, filled=True, size=40).encode(y=y, opacity=opacity)
    line = alt.Chart(alt.Data(values=[{"y": 1}])).mark_rule(color=style.INK).encode(y="y:Q")
    missed = sum(not row["covers"] for row in rows)
    head = f"{NAMES[estimator]}: {missed} of {len(rows)} miss"
    return alt.layer(line, bars, points).properties(width=365, height=190, title=_small(head))


def _coverage(found: dict[str, Any], moment: dict[str, Any]) -> alt.LayerChart:
    rows = [row for row in found["coverage"] if row["moment"] == moment["moment"]]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "images:Q",
            scale=alt.Scale(type="log", base=2),
            axis=alt.Axis(values=[32, 128, 512, 2048], format="d"),
            title="images measured",
        ),
        y=alt.Y(
            "coverage:Q",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", tickCount=5),
            title="intervals that hold it" if moment is found["moments"][0] else None,
        ),
        color=alt.Color(
            "estimator:N",
            scale=_colours(),
            legend=alt.Legend(title=None, orient="bottom", labelExpr=_labels()),
        ),
    )
    wanted = alt.Chart(alt.Data(values=[{"y": 0.95}])).encode(y="y:Q")
    line = wanted.mark_rule(color=style.GREY, strokeDash=[4, 3])
    head = f"{moment['moment']} (largest p {moment['confidence']:.2f})"
    curves = [base.mark_line(strokeWidth=2.2), base.mark_point(filled=True, size=45)]
    return alt.layer(line, *curves).properties(width=230, height=170, title=_small(head))


def _labels() -> str:
    return f"datum.value == 'label' ? '{NAMES['label']}' : '{NAMES['signs']}'"


def _small(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, fontSize=13, fontWeight="normal", offset=6)


if __name__ == "__main__":
    main()
