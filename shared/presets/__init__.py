"""The paper's figures as ready specs, at three scales.

Each is a complete ordinary experiment. To add one: a function of the scale and a `Preset` in the
file of its kind.
"""

from shared.presets.bottleneck import BOTTLENECK
from shared.presets.deep_linear import DEEP_LINEAR
from shared.presets.information import INFORMATION
from shared.presets.measured import MEASURED
from shared.presets.preset import Drawing, Preset, spec
from shared.presets.pruning import PRUNING
from shared.presets.removal import REMOVAL
from shared.presets.scale import ABOUT, SCALES, Scale
from shared.presets.sliding import SLIDING

__all__ = ["ABOUT", "PRESETS", "SCALES", "Drawing", "Preset", "Scale", "spec"]

_FOUND = REMOVAL | SLIDING | MEASURED | DEEP_LINEAR | INFORMATION | BOTTLENECK | PRUNING
_ORDER = (
    "fig1a", "fig1c", "fig2left", "fig2right", "fig3left", "fig3centre", "fig3right", "fig4left",
    "fig4right", "fig5top", "fig5bottom", "adam", "weight_decay", "filters", "gradient_norms",
    "deep_linear", "information_plane", "bottleneck", "pruning",
)  # fmt: skip
PRESETS: dict[str, Preset] = {name: _FOUND[name] for name in _ORDER}
"""In the paper's order, the appendix after it, and last what the paper has no panel for."""
