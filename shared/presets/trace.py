"""How the presets measure the Fisher information: alike, so that it is measured once."""

from typing import Any

from shared.presets.scale import Scale


def trace(scale: Scale, every: int) -> dict[str, Any]:
    return {
        "every": every,
        "images": ["current"],
        "split": ["train"],
        "probe_set": "fixed",
        "estimator": "signs",
        "norms": "sketched",
        "square_root": "rotated",
        "precision": "float32",
        "samples": 256 if scale == "mini" else 1000,
        "beside": ["gradient"],
    }
