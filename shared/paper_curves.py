"""The paper's curves as they were read off its figures, to be laid over our own.

Achille, Rovere & Soatto, arXiv 1711.08856 v1 (2017). No numbers of the ICLR 2019 text (v3) were to
be had: these are targets for a shape, not for its values.
"""

import json
from dataclasses import dataclass, field
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Curve:
    """One digitised curve: `y[i]` in `y_unit` at `x[i]` in `x_unit`, both as printed."""

    id: str
    panel: str
    """Of the ICLR 2019 text, from memory: v1 numbers its figures otherwise."""
    preset: str | None
    """The experiment that repeats it; None: no network was trained for it."""
    fits: str | None
    """The figure of ours that has its axes; None: none has."""
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    x_unit: str
    y_unit: str
    reading_error: float | None
    """Half width in `y_unit` within which y was read; None: unknown."""
    longest: float | None
    """The latest removal or onset of its panel, in epochs: what a scaled sweep is compared by."""
    source: str
    model: dict[str, Any] = field(default_factory=dict)
    """What tells the network from those of the other curves of the panel."""
    note: str = ""


def _read() -> dict[str, Curve]:
    text = resources.files("shared").joinpath("paper_curves.json").read_text(encoding="utf-8")
    stored = json.loads(text)
    return {id: _curve(id, one, stored["sources"]) for id, one in stored["curves"].items()}


def _curve(id: str, one: dict[str, Any], sources: dict[str, str]) -> Curve:
    points = {"x": tuple(one["x"]), "y": tuple(one["y"])}
    return Curve(**one | points | {"id": id, "source": sources[one["source"]]})


CURVES = _read()
"""By id."""
