"""The information plane (Shwartz-Ziv & Tishby 2017): what the lecture names, and the paper has no
panel for."""

from shared.presets.measured import BLURRED, TOTAL, stopped
from shared.presets.preset import Drawing, Json, Preset
from shared.presets.removal import blur
from shared.presets.scale import Scale
from shared.presets.setting import ALL_CNN

MEASURED_AT = (0, 5, 10, 20, 40, 45, 60, 80, 120, TOTAL)
"""Of the paper's epochs: densely where the network still changes fast, and after the removal."""


def _plane(scale: Scale) -> Json:
    measured = {
        "epochs": [ALL_CNN.epochs(epoch, scale) for epoch in MEASURED_AT],
        "images": ["current"],
        "split": ["train"],
        "probe_set": "fixed",
        "samples": 512 if scale == "mini" else 1000,
        "noise": "relative",
        "noise_variance": 0.1,
        "bins": 30,
        "decoder": True,
    }
    return stopped(scale, blur(scale), [0, 40, TOTAL]) | {"information_plane": measured}


INFORMATION: dict[str, Preset] = {
    "information_plane": Preset(
        title="The information plane, with and without a deficit",
        reproduces="no panel of the paper, which measures information in the weights; the plane of"
        " Shwartz-Ziv & Tishby (2017), which the lecture names: of each layer's activations I(X;T)"
        " and I(T;Y) over training, without a blur, with one removed at 40, and one that stays",
        shape="contested. Shwartz-Ziv & Tishby: I(T;Y) rises, then I(X;T) falls (compression)."
        " Saxe et al. (2018): that fall depends on a saturating nonlinearity and on the estimator,"
        " and is not seen with ReLU.",
        control="none: what is compared are runs of one length and one schedule",
        figures=(Drawing("information_plane"),),
        make=_plane,
        sources=BLURRED
        | {
            "sweep": "40 is where the paper's critical period is steepest; and a blur that stays",
            "information_plane": "two bounds with Gaussian noise (Kolchinsky & Tracey 2017), 30"
            " bins (Shwartz-Ziv & Tishby 2017), a held-out decoder",
        },
        at_mini=ALL_CNN.at_mini,
        questions={
            "information_plane.noise_variance": "0.1 of the layer's whole variance is a choice:"
            " noise of a fixed size leaves every layer of a convolutional network at log2 N",
            "information_plane.samples": "published planes of small networks take all inputs there"
            " are; here N images, so that nothing is above log2 N",
        },
    ),
}
