"""What the bench measured, in Markdown.

python -m tests.bench.table tests/bench/FISHER.json      writes FISHER.md again
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

Found = dict[str, Any]

FEWEST = 128  # shared.measurements.FIRST_LOOK: the product looks at no fewer
ONE_PERCENT, FIVE_PERCENT = 0.01, 0.05
EPOCH = 50_000
RIGHT = 1e-3
"""A peer counts as unbiased where its estimate is the exact one this closely; where labels are
drawn, the exact one for the labels that it drew."""

MOMENTS = ("init", "middle", "fitted")
NETWORKS = {"all_cnn": "All-CNN", "resnet18": "ResNet-18", "mlp": "MLP"}

HEAD = """# What a Fisher trace costs

Estimators of `tr F`, ours and others', interleaved in one run. Written by `make bench-fisher`
(`tests/bench/`); the numbers are in `FISHER.json`.

- **s / 1,000**: CPU seconds for 1,000 images, mean and standard deviation over the repetitions.
- **CV²**: squared coefficient of variation of one image's value, which holds the differences
  between images and the draws. Label drawing: computed from all classes of all images, so that its
  rare large values are not missed; ± the bootstrap's standard error over images.
- **s to 1 %**: CPU seconds to a standard error of 1 % of the total = s per image x CV² / 0.01².
- **x peer**: the best unbiased peer's s to 1 % over this one's: how many times faster.
- **x step**: an image's cost over that of an ordinary forward + backward (batch 128).
- **peak**: MiB above what the process held before a call on 48 images (MLP: 128), at the initial
  state; in brackets over that of an ordinary training step at batch 128 without its optimiser. A
  forked child's VmHWM.
- **estimate / exact**: on the same images; ± what the draws explain. In brackets, where labels are
  drawn: over the exact value for the very labels that were drawn.
"""


def page(everything: list[Found]) -> str:
    everything = sorted(everything, key=_order)
    parts = [HEAD, *_conditions(everything), _goals(everything), monitoring(everything)]
    return "\n".join(parts + [section(found) for found in everything])


def _order(found: Found) -> tuple[int, float, int]:
    return (
        list(NETWORKS).index(found["network"]),
        found["width"],
        MOMENTS.index(found["moment"]),
    )


def section(found: Found) -> str:
    name = NETWORKS.get(found["network"], found["network"])
    step = found["step"]
    lines = [
        f"## {name}, width {found['width']:g}, {found['moment']}\n",
        f"{found['data']}; mean largest probability {found['confidence']:.3f}; exact over "
        f"{found['truth_images']} images; n = {len(step['cpu'])} repetitions. "
        f"Forward + backward: {_spread(step['cpu'])} CPU s for 1,000 images "
        f"({_spread(step['wall'])} wall){_step_peak(step)}.\n",
        "| method | images | s / 1,000 | CV² | s to 1 % | x peer | x step | peak | "
        "estimate / exact | layers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_row(found, method) for method in found["methods"]]) + "\n"


def _step_peak(step: Found) -> str:
    return "" if step["peak"] is None else f", peak {step['peak']:.0f} MiB"


def _row(found: Found, method: Found) -> str:
    name = f"**{method['name']}**" if method["whose"] == "ours" else method["name"]
    if method["error"]:
        return f"| {name} | {method['error']} |" + " |" * 8
    best, ours = best_peer(found), seconds(method)
    share = statistics.mean(method["cpu"]) / statistics.mean(found["step"]["cpu"])
    cells = [
        name,
        f"{method['images']} x {len(method['cpu'])}",
        _spread(method["cpu"]),
        f"{_digits(cv2(method))} ± {_digits(cv2_error(method))}",
        _digits(ours),
        _digits(seconds(best) / ours) if best else "",
        f"{share:.2f}",
        _peak(found, method),
        _ratio(method),
        "yes" if method["layers"] else "no",
    ]
    return f"| {' | '.join(cells)} |"


def cv2(method: Found) -> float:
    return method["between"] + method["within"]


def cv2_error(method: Found) -> float:
    return method["cv2_error"]


def seconds(method: Found) -> float:
    """CPU seconds to a standard error of 1 %."""
    return statistics.mean(method["cpu"]) / 1000 * cv2(method) / ONE_PERCENT**2


def best_peer(found: Found, draws: str | None = None) -> Found | None:
    """The fastest unbiased one, of those that draw labels or nothing if so asked."""
    there = [m for m in found["methods"] if m["whose"] == "peer" and not m["error"]]
    there = [m for m in there if is_right(m) and draws in (None, m["draws"])]
    return min(there, key=seconds, default=None)


def is_right(method: Found) -> bool:
    ratios = method["given_labels"] if method["draws"] == "label" else method["ratios"]
    return bool(ratios) and all(abs(ratio - 1) < RIGHT for ratio in ratios)


def _ratio(method: Found) -> str:
    ratios = method["ratios"]
    images = method["images"] * len(ratios)
    error = (method["within"] / images) ** 0.5
    text = f"{statistics.mean(ratios):.4f} ± {error:.4f}"
    if method["draws"] == "nothing":
        text = f"{statistics.mean(ratios):.6f}"
    if method["given_labels"]:
        text += f" ({statistics.mean(method['given_labels']):.6f})"
    return text


def _peak(found: Found, method: Found) -> str:
    if method["peak"] is None:
        return ""
    return f"{method['peak']:.0f} ({method['peak'] / found['step']['peak']:.2f})"


def monitoring(everything: list[Found]) -> str:
    """What 5 % costs once in an epoch."""
    lines = [
        "## Watching at 5 % in every epoch\n",
        f"Images to a standard error of 5 % of the total, no fewer than {FEWEST}, and their cost"
        f" over that of an epoch of {EPOCH:,} images (forward + backward).\n",
        "| network | moment | method | images for 5 % | share of an epoch |",
        "|---|---|---|---|---|",
    ]
    for found in everything:
        for method in found["methods"]:
            if method["whose"] == "ours" and not method["error"]:
                lines.append(_monitoring_row(found, method))
    return "\n".join(lines) + "\n"


def _monitoring_row(found: Found, method: Found) -> str:
    images = max(FEWEST, cv2(method) / FIVE_PERCENT**2)
    share = images * statistics.mean(method["cpu"]) / statistics.mean(found["step"]["cpu"]) / EPOCH
    name = f"{NETWORKS.get(found['network'])} | {found['moment']}"
    return f"| {name} | {method['name']} | {images:,.0f} | {100 * share:.2f} % |"


def _goals(everything: list[Found]) -> str:
    """Our methods over the best unbiased peer, over the best that draws labels, over the best
    exact one."""
    lines = [
        "## In short\n",
        "How many times faster than the best unbiased peer of any kind, than the best that draws "
        "labels, than the best exact one; cost and peak memory over an ordinary step's.\n",
        "| network | moment | method | best peer | any | label | exact | x step | x memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in everything:
        for method in found["methods"]:
            if method["whose"] == "ours" and method["draws"] == "signs" and not method["error"]:
                lines.append(_goal_row(found, method))
    return "\n".join(lines) + "\n"


def _goal_row(found: Found, method: Found) -> str:
    best = best_peer(found)
    kinds = [best_peer(found, draws) for draws in (None, "label", "nothing")]
    step = found["step"]
    cells = [
        f"{NETWORKS.get(found['network'])} | {found['moment']} | {method['name']}",
        best["name"] if best else "none",
        *(_digits(seconds(peer) / seconds(method)) if peer else "" for peer in kinds),
        f"{statistics.mean(method['cpu']) / statistics.mean(step['cpu']):.2f}",
        f"{method['peak'] / step['peak']:.2f}" if method["peak"] else "",
    ]
    return f"| {' | '.join(cells)} |"


def _conditions(everything: list[Found]) -> list[str]:
    lines = []
    for key in ("date", "hardware", "command"):
        lines += [f"- {key}: {value}" for value in dict.fromkeys(f[key] for f in everything)]
    versions = [", ".join(f"{k} {v}" for k, v in f["versions"].items()) for f in everything]
    lines += [f"- versions: {value}" for value in dict.fromkeys(versions)]
    return ["\n".join(lines) + "\n"]


def _spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{_digits(statistics.mean(values))} ± {_digits(spread)}"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.2g}"


def main() -> None:
    path = Path(sys.argv[1])
    path.with_suffix(".md").write_text(page(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
