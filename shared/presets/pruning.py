"""The lecture's closing question: is the Fisher information a metric to prune by? No panel of the
paper has it."""

from shared.presets.preset import Drawing, Json, Preset
from shared.presets.removal import BLUR, blur
from shared.presets.scale import Scale
from shared.presets.setting import ALL_CNN

CLEAN_EPOCHS, REMOVED, TUNED = 160, 80, 20
EARLY: dict[Scale, tuple[int, int]] = {"paper": (20, 85), "half": (10, 42), "mini": (4, 17)}
"""Epochs at which the trace peaks without a deficit; and, since after a late removal it climbs to
the end, at which it has jumped there."""
SPARSITIES: dict[Scale, list[float]] = {
    "paper": [0, 0.5, 0.8, 0.9, 0.95, 0.98],
    "half": [0, 0.5, 0.8, 0.9, 0.95, 0.98],
    "mini": [0, 0.3, 0.5, 0.7, 0.8, 0.9],
}
RATE = 0.01
"""At which fine-tuning starts: the schedules of the two networks have come to different ones."""
CRITERIA = ["magnitude", "fisher", "fisher_alone", "random"]


def _pruning(scale: Scale) -> Json:
    """Both networks have as many clean epochs before they are pruned, and as many afterwards."""
    at, removed, tuned = (ALL_CNN.epochs(n, scale) for n in (CLEAN_EPOCHS, REMOVED, TUNED))
    peak, jump = EARLY[scale]
    late_at = removed + at
    deficit = {"deficit.end": removed, "pruning.at": late_at, "training.changes.0.at": late_at}
    base = ALL_CNN.base(scale, {"epochs_after_deficit": CLEAN_EPOCHS})
    tuning = {"optimizer": {"learning_rate": RATE}, "learning_rate_restart": True}
    return {
        **base,
        "training": {
            **base["training"],
            "epochs_after_deficit": at + tuned,
            "changes": [{"at": at, "set": tuning}],
        },
        "deficit": blur(scale, start=0, end=0),
        "pruning": {
            "at": at,
            "sparsity": 0,
            "criterion": "magnitude",
            "granularity": "weights",
            "ranking": "global",
            "steps": 1,
            "every": 1,
            "scored_at": None,
            "labels": "model",
            "samples": 256,
        },
        "variants": {
            "clean": {},
            "clean, by its peak": {"pruning.scored_at": peak},
            "blurred": deficit,
            "blurred, by the jump after it": {**deficit, "pruning.scored_at": jump},
        },
        "sweep": {"pruning.criterion": CRITERIA, "pruning.sparsity": SPARSITIES[scale]},
        "saliency": {
            "epochs": [peak, at, late_at],
            "images": ["current"],
            "split": ["train"],
            "probe_set": "fixed",
            "granularity": "weights",
            "labels": "model",
            "samples": 256,
        },
    }


PRUNING: dict[str, Preset] = {
    "pruning": Preset(
        title="Is the Fisher information a metric to prune by?",
        reproduces="no panel of the paper: the closing question of the lecture. Accuracy against"
        " sparsity of a network without a deficit and of one whose blur was removed late, by"
        " magnitude, F w^2 / 2, F alone and at random; scored at the end, and at the trace's peak",
        shape="nothing to compare with; F w^2 is Optimal Brain Damage's estimate of the loss, and F"
        " alone estimates none.",
        control="random, for every criterion; magnitude at the peak, for the Fisher information"
        " there; both networks have as many clean epochs and are fine-tuned at the same rates",
        figures=(Drawing("pruning"),),
        make=_pruning,
        sources=ALL_CNN.sources
        | BLUR
        | {
            "pruning": "one-shot over the whole network, weight by weight; 256 images, exact sum"
            " over classes",
            "pruning.scored_at": "where the trace of these runs peaks at `mini` in all three seeds"
            " (4), or has jumped after the removal (17); five times that in the paper's epochs",
            "training.changes": "fine-tuning at a fifth of the first rate: a choice",
            "deficit.end": "80 in the paper's epochs: late in its removal sweep",
            "sweep": "criteria of the lecture's question with two controls",
        },
        at_mini=ALL_CNN.at_mini
        | {"sweep": "11,400 weights: what the dense network can do is lost between 50 and 90 %"},
        questions={},
    ),
}
