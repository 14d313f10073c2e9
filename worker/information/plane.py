"""The information plane: of each layer the information in its activations about the image and about
the label."""

import math
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor, nn

from worker import rng
from worker.fisher.recording import evaluation_mode
from worker.information import activations, binning, decoder, mixture
from worker.information.activations import Layer
from worker.information.binning import Bins, Codes
from worker.information.mixture import Gram
from worker.shown import Shown

VALUES = (
    "i_xt_binned", "i_xt_lower", "i_xt_upper", "i_ty_binned", "i_ty_lower", "i_ty_upper",
    "i_ty_kl", "i_ty_bhattacharyya",
)  # fmt: skip
DECODED = ("i_ty_decoder", "i_ty_decoder_error", "cross_entropy", "held_out_accuracy")


def measure(
    model: nn.Module,
    shown: Shown,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """I(X;T) and I(T;Y) in bits for the activations T of chosen layers (Tishby & Zaslavsky 2015,
    arXiv 1503.02406; Shwartz-Ziv & Tishby 2017, arXiv 1703.00810).

    X is one of the N images, all equally likely; Y is its label, as shown; T the output of a
    top-level child of the network, all units, flattened. The network is deterministic, so that
    I(X;T) of T itself is log2 N, or infinite for images without end: every number is of a stated
    rounding or noise (Saxe et al. 2018), and says nothing of the information in the weights.

    binned: T rounded to `bins` of equal width over the layer's range in this state, or to bins of
    `bin_size` from 0 (`worker/information/binning.py`). lower, upper: of T + N(0, s^2 I)
    (`mixture.py`). `noise` "relative": s^2 is `noise_variance` times the sum over units of their
    variance over images, which no scaling of the layer changes, nor repeating its units;
    "absolute": it is s^2. decoder: a held-out lower bound without noise (`decoder.py`).

    Ceilings: `log2_samples` of every I(X;T), `label_entropy` (at most `log2_classes`) of every
    I(T;Y). `codes` is how many of the N rounded activations are distinct. nan where activations
    are not finite; null for what was not asked for.

    BatchNorm in evaluation mode; passes in the model's dtype, sums in float64. The images pass
    through the network once, and up to each layer once more. Memory: one layer's activations of
    all images (1 GiB at most: then in parts), N^2 float64 twice. Time grows as N^2 * units, with
    the decoder as N^3.
    """
    with evaluation_mode(model), torch.no_grad():
        seen = activations.survey(model, asked["layers"], shown, tick)
        labels = seen.labels.tolist()
        layers = [
            _about(layer) | _of_layer(model, layer, shown, asked, seen, draws, tick)
            for layer in seen.layers
        ]
    return {
        "layers": layers,
        "samples": shown.count,
        "classes": seen.classes,
        "log2_samples": math.log2(shown.count),
        "log2_classes": math.log2(seen.classes),
        "label_entropy": binning.entropy(labels),
    }


def _about(layer: Layer) -> dict[str, Any]:
    return {"layer": layer.number, "units": layer.units}


def _of_layer(
    model: nn.Module,
    layer: Layer,
    shown: Shown,
    asked: dict[str, Any],
    seen: activations.Survey,
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    if not layer.is_finite:
        return _unknown(asked)
    bins, codes = _bins(layer, asked), Codes(shown.count)
    gram = Gram(shown.count, next(model.parameters()).device)
    for block in activations.blocks(model, layer, shown, tick):
        gram.add(block, tick)
        for part in activations.columns(block):
            codes.refine(bins.codes(part))
    variance = asked["noise_variance"]
    if asked["noise"] == "relative":
        variance *= gram.variance()
    return {
        "bin_size": bins.size,
        "codes": codes.distinct,
        "noise_variance": variance,
        **_binned(codes, seen.labels),
        **_mixture(gram, variance, seen.labels, tick),
        **_decoder(gram, seen, asked, draws, tick),
    }


def _bins(layer: Layer, asked: dict[str, Any]) -> Bins:
    if asked.get("bin_size") is not None:
        return Bins(0.0, asked["bin_size"])
    return Bins.over(layer.low, layer.high, asked["bins"])


def _binned(codes: Codes, labels: Tensor) -> dict[str, Any]:
    about_x, about_y = binning.information(codes.of, labels.tolist())
    return {"i_xt_binned": about_x, "i_ty_binned": about_y}


def _mixture(
    gram: Gram, variance: float, labels: Tensor, tick: Callable[[], None]
) -> dict[str, Any]:
    found = mixture.information(gram.squared_distances(), variance, labels, tick)
    return {
        "i_xt_lower": found.xt_lower,
        "i_xt_upper": found.xt_upper,
        "i_ty_lower": found.ty_lower,
        "i_ty_upper": found.ty_upper,
        "i_ty_kl": found.ty_kl,
        "i_ty_bhattacharyya": found.ty_bhattacharyya,
    }


def _decoder(
    gram: Gram,
    seen: activations.Survey,
    asked: dict[str, Any],
    draws: rng.Stream,
    tick: Callable[[], None],
) -> dict[str, Any]:
    found = None
    if asked["decoder"]:
        found = decoder.information(gram.products, seen.labels, seen.classes, draws, tick)
    return dict(zip(DECODED, astuple(found) if found else [None] * len(DECODED), strict=True))


def _unknown(asked: dict[str, Any]) -> dict[str, Any]:
    """Where training has diverged."""
    decoded = dict.fromkeys(DECODED, math.nan if asked["decoder"] else None)
    return (
        dict.fromkeys(("noise_variance", "bin_size", *VALUES), math.nan) | decoded | {"codes": None}
    )
