"""No panel of the paper: the lecture's bottleneck, which a late removal leaves a run on the wrong
side of."""

from shared.presets.preset import Drawing, Json, Preset
from shared.presets.removal import BLUR, FEWER, GRID, removals
from shared.presets.scale import Scale
from shared.presets.setting import ALL_CNN
from shared.presets.trace import trace

EVERY: dict[Scale, int] = {"paper": 10, "half": 5, "mini": 2}
"""Epochs between two traces."""


def _late_removals(scale: Scale) -> Json:
    flip = {"deficit": {"name": "vertical_flip", "start": 0, "end": 0}}
    return removals(
        ALL_CNN,
        scale,
        GRID,
        FEWER,
        160,
        variants={"blur": {}, "vertical flip": flip},
        controls={"restart": True},
        fisher=trace(scale, EVERY[scale]),
        linear_path={"points": 21, "samples": 500 if scale == "mini" else 5000},
    )


BOTTLENECK: dict[str, Preset] = {
    "bottleneck": Preset(
        title="Bottleneck crossing: does a late removal leave a run in another valley?",
        reproduces="no panel of the paper; the lecture's slides on the trace in learning: a run"
        " memorises, crosses a bottleneck of high curvature, forgets, and with a deficit that is"
        " removed too late may not reach the right valley",
        shape="nothing measured there. If it holds, the later the removal, the more of the trace"
        " is left at the end, the more of it in other layers than without a deficit, and the higher"
        " the loss between both runs' final weights.",
        control="a vertical flip, which costs nothing: how far two runs end apart whatever"
        " the deficit; and every run again with the schedule restarted at the removal",
        figures=(Drawing("bottleneck"), Drawing("fisher_trace")),
        make=_late_removals,
        sources={
            **ALL_CNN.sources,
            **BLUR,
            "sweep": "as in Fig 2 left, so that both are trained once",
            "variants": "the paper's deficit that costs most, and one that costs nothing",
            "fisher": "per image and label, as the paper defines it; number of images not found",
            "linear_path": "a choice; BatchNorm is re-estimated at every point of the line",
            "controls.restart": "asked for by later work (Pawlak 2025)",
        },
        at_mini=ALL_CNN.at_mini,
        questions={
            "linear_path": "the lecture says `valley` and gives no measure of it; here the barrier"
            " of the loss along the straight line between two runs of one seed",
        },
    ),
}
