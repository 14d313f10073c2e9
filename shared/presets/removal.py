"""Panels with the epoch at which the deficit is removed on the x axis."""

from typing import Any

from shared.presets.preset import Drawing, Json, Preset
from shared.presets.scale import Scale
from shared.presets.setting import (
    ADAM,
    ALL_CNN,
    DEPTH,
    FIXED_RATE,
    FULLY_CONNECTED,
    RECALLED,
    RESNET,
    Setting,
)

FIXED = {"paper": 0.001, "half": 0.001, "mini": 0.01}
"""The constant rate of the twins: the paper's own; at the small scale one that learns there."""
TWINS = (
    "`controls`: every curve again with the schedule restarted at the removal, and at a constant"
    " learning rate"
)
NO_TWINS = "the learning rate is constant: the panel is its own control"
CONTROLLED = {
    "controls.constant": "the paper's rate in its panel of the All-CNN at a fixed rate",
    "controls.restart": "asked for by later work (Pawlak 2025): a rate that starts again almost"
    " closes the gap",
}
CONTROLLED_AT_MINI = {
    "controls.constant": "0.01 reaches 99 % in the 32 clean epochs that there are"
}

BLUR = {
    "deficit": "blur to a quarter of the side: quoted from the paper and the authors' later code",
    "deficit.resolution": "8 of 32 pixels, bilinear both ways, antialiased as the authors' tools"
    " did it",
}


def blur(scale: Scale, **window: int) -> Json:
    return {"name": "blur", "resolution": 4 if scale == "mini" else 8, **window}


def twins(scale: Scale, rate: float | None = None) -> Json:
    return {"restart": True, "constant": FIXED[scale] if rate is None else rate}


def removals(
    setting: Setting, scale: Scale, ends: range, mini: list[int], clean: int, **more: Any
) -> Json:
    """A sweep over the removal epoch. `ends` and `clean` are the paper's; `mini` are those of its
    removal epochs that the small scale has."""
    there = mini if scale == "mini" else list(ends)
    return {
        **setting.base(scale, {"epochs_after_deficit": clean}),
        "deficit": blur(scale, start=0, end=0),
        "sweep": {"deficit.end": [setting.epochs(end, scale) for end in there]},
        **more,
    }


GRID = range(0, 141, 20)
FEWER = [0, 40, 60, 100, 140]
"""Of fig1a's removal epochs, so that what both train is trained once."""


def _fig1a(scale: Scale) -> Json:
    return removals(ALL_CNN, scale, GRID, list(GRID), 160, controls=twins(scale))


def _fig2left(scale: Scale) -> Json:
    variants = {
        "blur": {},
        "vertical flip": {"deficit": {"name": "vertical_flip", "start": 0, "end": 0}},
        "label permutation": {
            "deficit": {"name": "label_permutation", "of": "classes", "start": 0, "end": 0}
        },
        "noise": {
            "deficit": {
                "name": "noise",
                "redraw": "every_epoch",
                "distribution": "normal",
                "augmented": False,
                "start": 0,
                "end": 0,
            }
        },
    }
    return removals(ALL_CNN, scale, GRID, FEWER, 160, variants=variants, controls=twins(scale))


def _fig2right(scale: Scale) -> Json:
    depths = {f"n = {n}": {"model.n": n} for n in (1, 2, 3)}
    mini = [0, 40, 120, 200, 280]
    return removals(DEPTH, scale, range(0, 281, 40), mini, 160, variants=depths)


def _fig3left(scale: Scale) -> Json:
    mini = [0, 20, 40, 80, 120, 180]
    return removals(RESNET, scale, range(0, 181, 20), mini, 160, controls=twins(scale))


def _fig3centre(scale: Scale) -> Json:
    mini = [0, 40, 80, 160, 320, 480]
    return removals(FULLY_CONNECTED, scale, range(0, 481, 40), mini, 180)


def _fig3right(scale: Scale) -> Json:
    mini = [0, 40, 80, 160, 280, 400]
    return removals(FIXED_RATE, scale, range(0, 401, 40), mini, 160)


def _adam(scale: Scale) -> Json:
    rate = ADAM.rate(scale)
    return removals(ADAM, scale, GRID, FEWER, 160, controls=twins(scale, rate))


def _weight_decay(scale: Scale) -> Json:
    variants = {
        "no weight decay": {"training.optimizer.weight_decay": 0.0},
        "weight decay 0.001": {},
        "weight decay 0.005": {"training.optimizer.weight_decay": 0.005},
    }
    return removals(ALL_CNN, scale, GRID, FEWER, 160, variants=variants, controls=twins(scale))


def _sources(setting: Setting, sweep: str) -> dict[str, str]:
    return {**setting.sources, **BLUR, "sweep": sweep}


def _controlled(setting: Setting, sweep: str) -> dict[str, str]:
    return _sources(setting, sweep) | CONTROLLED


_READ = "read off the axis of arXiv v1"
_AS_FIG1A = "as in Fig 1 A; the panel itself was not obtained"
_FEWER = "five of the panel's removal epochs, which fig1a has too"

REMOVAL: dict[str, Preset] = {
    "fig1a": Preset(
        title="Fig 1 A: blur removed at different epochs",
        reproduces="Fig 1 A (v1: Fig 1 top left): All-CNN on CIFAR-10, final test accuracy over the"
        " epoch at which a blur is removed",
        shape="v1: 90.7, 90.2, 89.4, 87.5, 85.1, 83.3, 82.2, 81.25 % for a blur removed at 0, 20,"
        " ..., 140: a sigmoid-like fall, steepest at 60 to 80; the error doubles. The published"
        " version says up to threefold, from a removal after 40 to 60 epochs on.",
        control=TWINS,
        figures=(Drawing("critical_period", overlay=("fig1a", "fig1a_clean")),),
        make=_fig1a,
        sources=_controlled(ALL_CNN, _READ),
        at_mini=ALL_CNN.at_mini | CONTROLLED_AT_MINI,
    ),
    "fig2left": Preset(
        title="Fig 2 left: four deficits",
        reproduces="Fig 2 left (v1: Fig 2): blur, vertical flip, label permutation and noise,"
        " removed at different epochs",
        shape="no numbers obtained. In words: flip and permutation are flat or recover quickly;"
        " noise costs less than blur, and more nearly in proportion to its length.",
        control=TWINS,
        figures=(Drawing("critical_period"),),
        make=_fig2left,
        sources=_controlled(ALL_CNN, _AS_FIG1A)
        | {
            "variants": "the four deficits are quoted from the paper",
            "variants.noise": "images replaced by white noise, labels kept; not augmented in the"
            " authors' later code",
            "variants.label permutation": "quoted: a random permutation of the output labels; read"
            " as one fixed permutation of the classes",
        },
        at_mini=ALL_CNN.at_mini | CONTROLLED_AT_MINI | {"sweep": _FEWER},
    ),
    "fig2right": Preset(
        title="Fig 2 right: depth",
        reproduces="Fig 2 right (v1: Fig 3 bottom right): networks of growing depth, accuracy lost"
        " over the epoch at which a blur is removed",
        shape="v1, points against no deficit, removed at 0, 40, ..., 280: n = 1: 0, .2, .4, .45, 0,"
        " -.25, -.7, -1.2; n = 2: 0, .45, -.35, -1.5, -2.0, -2.9, -3.0, -3.1; n = 3: 0, -1.6, -4.2,"
        " -5.6, -6.7, -6.55, -7.4, -6.95. Deeper is larger and earlier.",
        control=NO_TWINS,
        figures=(Drawing("relative_accuracy", ("fig2right_n1", "fig2right_n2", "fig2right_n3")),),
        make=_fig2right,
        sources=_sources(DEPTH, _READ),
        at_mini=DEPTH.at_mini | {"sweep": "five of the panel's removal epochs"},
    ),
    "fig3left": Preset(
        title="Fig 3 left: ResNet-18",
        reproduces="Fig 3 left (v1: Fig 3 top left): ResNet-18 with an annealed learning rate",
        shape="v1: 95.0, 93.7, 91.4, 88.0, 85.5, 83.3, 83.2, 82.9, 82.5, 82.4 % for a blur removed"
        " at 0, 20, ..., 180: a fast fall to 100, then a plateau; the error grows 3.5 times.",
        control=TWINS,
        figures=(Drawing("critical_period", ("fig3left",)),),
        make=_fig3left,
        sources=_controlled(RESNET, _READ),
        at_mini=RESNET.at_mini
        | {"controls.constant": "0.01 reaches 93 % in 16 epochs"}
        | {"sweep": "six of the panel's removal epochs"},
    ),
    "fig3centre": Preset(
        title="Fig 3 centre: fully connected network",
        reproduces="Fig 3 centre (v1: Fig 3 top right): a fully connected network on MNIST at a"
        " fixed learning rate",
        shape="v1: every tick of the y axis prints 99 %, so a tick is below 0.33 points: a drop of"
        " 1.2 ticks at the first removal (40), then slowly to 2.5 at 480; below 0.8 points in all.",
        control=NO_TWINS,
        figures=(Drawing("critical_period"),),
        make=_fig3centre,
        sources=_sources(FULLY_CONNECTED, _READ),
        at_mini=FULLY_CONNECTED.at_mini | {"sweep": "six of the panel's removal epochs"},
        questions={
            "training.optimizer": "SGD is recalled, one reproduction uses Adam; momentum not found",
        },
    ),
    "fig3right": Preset(
        title="Fig 3 right: fixed learning rate",
        reproduces="Fig 3 right (v1: Fig 3 bottom left): All-CNN at a fixed learning rate",
        shape="v1: 89.75, 89.3, 88.25, 87.4, 87.1, 86.4, 86.4, 86.2, 86.5, 86.1, 86.4 % for a blur"
        " removed at 0, 40, ..., 400: a longer time scale, a plateau from 200, 3.6 points in all.",
        control=NO_TWINS,
        figures=(Drawing("critical_period", ("fig3right",)),),
        make=_fig3right,
        sources=_sources(FIXED_RATE, _READ),
        at_mini=FIXED_RATE.at_mini | {"sweep": "six of the panel's removal epochs"},
    ),
    "adam": Preset(
        title="Appendix: Adam",
        reproduces="an appendix panel (its number is not known): the removal sweep with Adam",
        shape="no numbers obtained. In words: a critical period as with SGD.",
        control=TWINS + ", Adam's own",
        figures=(Drawing("critical_period"),),
        make=_adam,
        sources=_controlled(ADAM, _AS_FIG1A)
        | {"controls.constant": "the rate at which Adam starts, kept"},
        at_mini=ADAM.at_mini | {"sweep": _FEWER},
        questions={"training.schedule": "whether Adam's rate was annealed was not found"},
    ),
    "weight_decay": Preset(
        title="Appendix: weight decay",
        reproduces="an appendix panel (its number is not known): the removal sweep without weight"
        " decay, with the paper's, and with more",
        shape="no numbers obtained. In words: none gives a shorter, sharper period, more a longer,"
        " softer one.",
        control=TWINS,
        figures=(Drawing("critical_period"),),
        make=_weight_decay,
        sources=_controlled(ALL_CNN, _AS_FIG1A)
        | {"variants": f"none and 0.001: {RECALLED} of the panel; 0.005 is a choice"},
        at_mini=ALL_CNN.at_mini | CONTROLLED_AT_MINI | {"sweep": _FEWER},
        questions={"variants": "which weight decays the paper compares was not found"},
    ),
}
