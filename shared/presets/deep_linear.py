"""No panel of the paper: the cheapest task we know in which a critical period survives a learning
rate that starts again, and one that never falls."""

from shared.presets.preset import Drawing, Json, Preset
from shared.presets.scale import Scale
from shared.presets.setting import sgd

RATE, WEIGHT_DECAY = 0.03, 0.01
REMOVALS = [0, 20, 30, 40, 60, 80]


def _surviving(scale: Scale) -> Json:
    """The same at every scale: it takes minutes on a processor."""
    return {
        "dataset": {"name": "gratings_in_phase"},
        "model": {"name": "deep_linear", "depth": 3, "width": 0.32, "initial_scale": 1.0},
        "training": {
            "epochs_after_deficit": 40,
            "batch_size": 64,
            "optimizer": sgd(RATE, WEIGHT_DECAY),
            "schedule": {"name": "exponential", "gamma": 0.97},
            "learning_rate_restart": "never",
            "optimizer_restart": "never",
            "augmentation": {"shift": 0, "horizontal_flip": False},
            "precision": "float32",
        },
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
        "sweep": {"deficit.end": REMOVALS},
        "variants": {"depth 3": {}, "depth 1": {"model.depth": 1}},
        "controls": {"restart": True, "constant": RATE},
        "seeds": [0, 1, 2, 3, 4],
    }


DEEP_LINEAR: dict[str, Preset] = {
    "deep_linear": Preset(
        title="A critical period that survives both controls: a deep linear network",
        reproduces="no panel of the paper; its question, on three matrices with nothing between"
        " them (Kleinman et al. 2024 study deep linear networks), beside a single one, which is"
        " convex",
        shape="measured before it was made a preset: with three matrices more is lost the later the"
        " blur is removed, also where the learning rate restarts or stays, and with four times the"
        " clean epochs; nothing with one or two matrices, without weight decay, or with a vertical"
        " flip.",
        control="`controls`: every curve again with the schedule restarted at the removal, and at"
        " a constant learning rate; depth 1 is the control without saddles",
        figures=(Drawing("critical_period"),),
        make=_surviving,
        at_every_scale="the same at every scale: generated gratings in phase (16x16, 8 classes,"
        " 2,000 images), three matrices 32 wide, five seeds: minutes on a processor",
        sources={
            "dataset.name": "generated: classes that a linear rule can tell apart, by fine stripes"
            " alone",
            "model": "found by trying depths 1 to 5: no loss at 1 and 2, and at 5 the clean run"
            " suffers",
            "model.width": "32 hidden units",
            "training.optimizer.weight_decay": "found by trying: no loss up to 0.003, a third of it"
            " at 0.005; it is what lets unused directions decay",
            "training.schedule.gamma": "the paper's, by epoch; the share that survives a restart"
            " depends on it, since a restart buys 1 / (1 - gamma) epochs at the full rate",
            "training.epochs_after_deficit": "the clean run is at its plateau; with 160 no more is"
            " made up",
            "controls.constant": "the rate at which the schedule starts",
            "sweep": "a choice",
        },
    ),
}
