"""Panels of what a few runs look like inside, over the epochs of training."""

from shared.presets.preset import Drawing, Json, Preset
from shared.presets.removal import BLUR, blur
from shared.presets.scale import Scale
from shared.presets.setting import ALL_CNN
from shared.presets.trace import trace

TOTAL = 160
EVERY: dict[Scale, int] = {"paper": 4, "half": 2, "mini": 1}
"""Epochs between two measurements."""


def stopped(scale: Scale, deficit: Json, ends: list[int]) -> Json:
    """Runs of one length, with a deficit from the start until these epochs."""
    return {
        **ALL_CNN.base(scale, {"epochs": TOTAL}),
        "deficit": deficit | {"start": 0, "end": 0},
        "sweep": {"deficit.end": [ALL_CNN.epochs(end, scale) for end in ends]},
    }


def _blurred(scale: Scale) -> Json:
    return stopped(scale, blur(scale), [0, 40, 100, TOTAL]) | {"fisher": trace(scale, EVERY[scale])}


def _flipped(scale: Scale) -> Json:
    flip = {"name": "vertical_flip"}
    return stopped(scale, flip, [0, 40, 100, TOTAL]) | {"fisher": trace(scale, EVERY[scale])}


def _filters(scale: Scale) -> Json:
    shown = [ALL_CNN.epochs(epoch, scale) for epoch in (0, 20, 40, 100, TOTAL)]
    return stopped(scale, blur(scale), [0, 100, TOTAL]) | {"filters": {"epochs": shown}}


def _gradient_norms(scale: Scale) -> Json:
    measured = {
        "every": {"paper": 10, "half": 5, "mini": 2}[scale],
        "images": ["current"],
        "split": ["train"],
        "probe_set": "fixed",
        "samples": 256 if scale == "mini" else 1000,
    }
    return stopped(scale, blur(scale), [0, 70, TOTAL]) | {"gradients": measured}


_SOURCES = {
    **{name: text for name, text in ALL_CNN.sources.items() if "epochs_after" not in name},
    "training.epochs": "read off the axis of arXiv v1",
}
BLURRED = _SOURCES | BLUR
_TRACE = {"fisher": "per image and label, as the paper defines it; number of images not found"}
_NOISE = {
    "fisher.estimator": "the paper has noise in the weights for this network (`variational`); here"
    " the trace itself, with its standard error",
    "fisher.images": "whether the paper measures on blurred or on sharp images was not found; here"
    " what the network was last shown",
}
_CONTROL = "none: what is compared are runs of one length and one schedule"

MEASURED: dict[str, Preset] = {
    "fig4right": Preset(
        title="Fig 4 right: Fisher information with and without a deficit",
        reproduces="Fig 4 right: trace of the Fisher information over training, without a blur,"
        " with one removed at 40 or at 100, and with one that stays",
        shape="no numbers obtained. In words: the impaired network keeps more information.",
        control=_CONTROL,
        figures=(Drawing("fisher_trace"),),
        make=_blurred,
        sources=BLURRED | _TRACE | {"sweep": "recalled from the paper and the lecture"},
        at_mini=ALL_CNN.at_mini,
        questions=_NOISE,
    ),
    "fig5top": Preset(
        title="Fig 5 top: information by layer, blur",
        reproduces="Fig 5 top (v1: Fig 4): information in each layer over training, without a blur"
        " and with one until 40 and until 100",
        shape="v1, order of layers only. No blur: layers 3 and 4 lead, peak at 25 to 30, all decay."
        " Until 40: layers 6 and 5 climb to 40 and drop there; 5 and 4 lead in the end, a partial"
        " reorganisation. Until 100: 6 and 5 peak at 50 to 55, a bump at 100, no reorganisation.",
        control=_CONTROL,
        figures=(
            Drawing("fisher_layers"),
            Drawing("fisher_layers", normalisation="share"),
            Drawing("plasticity"),
        ),
        make=_blurred,
        sources=BLURRED | _TRACE | {"sweep": "the columns of arXiv v1, and a blur that stays"},
        at_mini=ALL_CNN.at_mini,
        questions=_NOISE | {"normalisation": "how the paper normalises layers was not found"},
    ),
    "fig5bottom": Preset(
        title="Fig 5 bottom: information by layer, vertical flip",
        reproduces="Fig 5 bottom: the same as its top with a vertical flip for a deficit",
        shape="no numbers obtained. In words: layers are not affected.",
        control=_CONTROL,
        figures=(
            Drawing("fisher_layers"),
            Drawing("fisher_layers", normalisation="share"),
            Drawing("plasticity"),
        ),
        make=_flipped,
        sources=_SOURCES | _TRACE | {"sweep": "as in the top row", "deficit": "quoted"},
        at_mini=ALL_CNN.at_mini,
        questions=_NOISE,
    ),
    "filters": Preset(
        title="Appendix: filters of the first layer",
        reproduces="an appendix figure (its number is not known): filters of the first layer"
        " without a blur, with one removed late, and with one that stays",
        shape="no numbers obtained. In words: many filters of high frequency without a deficit,"
        " smooth ones with it; a late removal does not bring the high frequencies back.",
        control=_CONTROL,
        figures=(Drawing("filters"),),
        make=_filters,
        sources=BLURRED | {"sweep": "recalled; 100 is a choice for `late`"},
        at_mini=ALL_CNN.at_mini,
        questions={"sweep": "when the paper removes it late was not found"},
    ),
    "gradient_norms": Preset(
        title="Appendix: gradients by layer",
        reproduces="an appendix figure (its number is not known): log norm of the mean gradient and"
        " its standard deviation in each layer; no deficit, blur until 70, blur that stays",
        shape="no numbers obtained. In words: the deficit does not shrink the gradients that reach"
        " the first layers, so gradients that vanish are not the cause.",
        control=_CONTROL,
        figures=(Drawing("gradients"),),
        make=_gradient_norms,
        sources=BLURRED
        | {"sweep": "recalled", "gradients": "number of images and cadence are choices"},
        at_mini=ALL_CNN.at_mini,
        questions={"gradients": "how the paper measures them was not found"},
    ),
}
