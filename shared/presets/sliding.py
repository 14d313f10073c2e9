"""Panels with the onset of a short deficit on the x axis."""

from collections.abc import Mapping

from shared.presets.preset import Drawing, Json, Preset
from shared.presets.removal import BLUR, blur
from shared.presets.scale import Scale
from shared.presets.setting import ALL_CNN, RECALLED
from shared.presets.trace import trace

ONSETS = range(0, 141, 20)


def sliding(scale: Scale, *lengths: int) -> Json:
    """A clean run, and windows of these lengths at every onset."""
    windows = [
        blur(scale, start=ALL_CNN.epochs(onset, scale), length=ALL_CNN.epochs(length, scale))
        for length in lengths
        for onset in ONSETS
    ]
    return {
        **ALL_CNN.base(scale, {"epochs_after_deficit": 160}),
        "sweep": {"deficit": [None, *windows]},
    }


def _fig1c(scale: Scale) -> Json:
    return sliding(scale, 40)


def _fig4left(scale: Scale) -> Json:
    every = {"paper": 4, "half": 2, "mini": 2}[scale]
    return sliding(scale, 40, 60) | {"fisher": trace(scale, every)}


def _in_sweep(said: Mapping[str, str]) -> dict[str, str]:
    """Here the whole window is swept."""
    moved = {p: f"sweep.{p}" if p.split(".")[0] == "deficit" else p for p in said}
    return {moved[path]: text for path, text in said.items()}


_SOURCES = {
    **ALL_CNN.sources,
    **_in_sweep(BLUR),
    "sweep": "read off the axis of arXiv v1; the length of 40 epochs is quoted from the paper",
    "training.epochs_after_deficit": "as in the removal sweep",
}
_AT_MINI = _in_sweep(ALL_CNN.at_mini)
_CONTROL = (
    "all windows have one length, and a late one meets a small learning rate for shorter than an"
    " early one: for a rate that stays, set `training.schedule`"
)

SLIDING: dict[str, Preset] = {
    "fig1c": Preset(
        title="Fig 1 C: a sliding window of 40 epochs",
        reproduces="Fig 1 C: accuracy lost to a blur of 40 epochs, over the epoch at which it"
        " begins",
        shape="v1: 1.83, 2.40, 2.38, 1.70, 1.38, 0.78, 0.36, 0.25 points lost for a window that"
        " begins at 0, 20, ..., 140: a peak around 30 epochs, next to nothing late.",
        control=_CONTROL,
        figures=(Drawing("sensitivity", ("fig1c", "fig1c_clean", "fig1d")),),
        make=_fig1c,
        sources=_SOURCES,
        at_mini=_AT_MINI,
    ),
    "fig4left": Preset(
        title="Fig 4 left: Fisher information and sensitivity",
        reproduces="Fig 4 left: trace of the Fisher information without a deficit, with the"
        " sensitivity to windows of 40 and of 60 epochs mapped onto it",
        shape="no numbers obtained. In words: the trace rises sharply, peaks about when accuracy"
        " stops to grow, then falls; sensitivity follows it through an exponential fit.",
        control=_CONTROL,
        figures=(
            Drawing("fisher_sensitivity"),
            Drawing("sensitivity", ("fig1c",)),
            Drawing("fisher_trace"),
        ),
        make=_fig4left,
        sources=_SOURCES | {"fisher": f"{RECALLED}; number of images not found"},
        at_mini=_AT_MINI,
        questions={
            "fisher.estimator": "the paper has noise in the weights for this network"
            " (`variational`); here the trace itself, with its standard error",
        },
    ),
}
