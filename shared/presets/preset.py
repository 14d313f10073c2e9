"""A preset: a figure of the paper as an ordinary spec, with where each setting comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.presets.scale import ABOUT, SEEDS, Scale

Json = dict[str, Any]


@dataclass(frozen=True)
class Drawing:
    """A figure to draw, by its name in the API."""

    figure: str
    overlay: tuple[str, ...] = ()
    """Digitised curves of the paper that belong over it."""
    normalisation: str | None = None

    @property
    def options(self) -> dict[str, str]:
        """Query parameters, without the overlay."""
        return {} if self.normalisation is None else {"normalisation": self.normalisation}


@dataclass(frozen=True, eq=False)
class Preset:
    title: str
    reproduces: str
    """Which figure of the paper, and of its first version."""
    shape: str
    """What the paper shows; numbers are those of arXiv v1, read off its images."""
    control: str
    """What tells a critical period from a learning rate that has merely decayed."""
    figures: tuple[Drawing, ...]
    make: Callable[[Scale], Json] = field(repr=False)
    sources: Mapping[str, str]
    """Path in the spec -> where its value comes from."""
    at_mini: Mapping[str, str] = field(default_factory=dict)
    """Path in the spec -> why the small scale has another value."""
    questions: Mapping[str, str] = field(default_factory=dict)
    """Path in the spec -> what about it could not be found out, beside `shared.choices`."""
    at_every_scale: str | None = None
    """What it is, where the scales do not differ."""

    def about(self, scale: Scale) -> str:
        """What the scale means for it."""
        return self.at_every_scale or ABOUT[scale]


def spec(name: str, preset: Preset, scale: Scale) -> Json:
    """The complete spec, as it could be posted by itself."""
    return {
        "name": f"{preset.title} ({scale})",
        "seeds": list(SEEDS[scale]),
        **preset.make(scale),
        "scoring": {"batchnorm_statistics": "running"},
        "tags": {"preset": name, "scale": scale},
    }
