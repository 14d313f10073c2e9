"""Figures of several panels: which run goes into which, what each is called, how they are laid
out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from api.figures import series, style
from api.figures.curves import Layout
from shared.partners import acting, span
from shared.plan import RunPlan
from shared.results import Row

if TYPE_CHECKING:
    import altair as alt

T = TypeVar("T")

LINE = "; "
"""Where the name of a panel is broken into lines."""
MOST = 24
"""Panels in one picture; the data hold all."""


@dataclass(frozen=True)
class Panels:
    """A panel for each curve and window, and for each way of measuring."""

    layout: Layout
    several_curves: bool
    several_windows: bool

    @classmethod
    def of(cls, layout: Layout, runs: list[RunPlan]) -> "Panels":
        windows = {layout.positions[run.index] for run in runs}
        return cls(layout, len(layout.curves) > 1, len(windows) > 1)

    def name(self, run: RunPlan, measured: str) -> str:
        curve = self.layout.labels[run.index]
        window = self._window(run)
        parts = [curve] if self.several_curves or not self.several_windows else []
        parts += [window] if self.several_windows else []
        return LINE.join(filter(None, [", ".join(parts), measured]))

    def _window(self, run: RunPlan) -> str:
        there = span(run)
        if there is None:
            return "no deficit"
        if there[1] >= run.epochs and not self.layout.by_onset:
            return f"deficit to the end ({run.epochs})"
        done = "begins" if self.layout.by_onset else "removed"
        return f"deficit {done} at {self.layout.positions[run.index]}"


def window_rows(run: RunPlan, panel: str) -> list[Row]:
    """The epochs with a deficit, to be shaded."""
    return [
        {"kind": "window", "panel": panel, "start": window["start"], "end": window["end"]}
        for window in acting(run)
    ]


def window_marks() -> "alt.Chart":
    """Grey behind the epochs under a deficit, from `window_rows`."""
    import altair as alt

    windows = alt.Chart().transform_filter("datum.kind == 'window'")
    windows = windows.mark_rect(color=style.GREY, opacity=0.12)
    return windows.encode(x=alt.X("start:Q", title=series.EPOCHS), x2="end:Q")


@dataclass(frozen=True)
class Grid:
    columns: int

    @classmethod
    def of(cls, rows: list[Row]) -> "Grid":
        """A line for each curve, where that is neither short nor long; else three in a line."""
        by_curve: dict[str, set[str]] = {}
        for row in rows:
            if "curve" in row:
                by_curve.setdefault(row["curve"], set()).add(row["panel"])
        counts = {len(names) for names in by_curve.values()}
        n = sum(len(names) for names in by_curve.values())
        if len(by_curve) > 1 and len(counts) == 1 and counts <= {2, 3, 4}:
            return cls(*counts)
        return cls(n if n < 3 else (2 if n == 4 else 3))

    @property
    def width(self) -> int:
        """Of one panel, in pixels."""
        return {1: style.WIDTH, 2: 330, 3: 270}.get(self.columns, 220)


def chart(
    layers: list["alt.Chart"], rows: list[Row], names: list[str], title: str, subtitle: list[str]
) -> dict[str, Any]:
    """The layers once for each panel, with the rows of that panel; as Vega-Lite."""
    import altair as alt

    grid, several = Grid.of(rows), len(names) > 1
    shown = alt.layer(*layers, data=alt.Data(values=[]))
    shown = shown.properties(width=grid.width, height=240 if several else style.HEIGHT)
    if several:
        header = alt.Header(labelExpr=f"split(datum.label, '{LINE}')", labelLineHeight=16)
        facet = alt.Facet("panel:N", title=None, sort=names, header=header)
        shown = shown.facet(facet=facet, columns=grid.columns)
    words = style.title(title, subtitle, grid.columns * grid.width)
    shown = shown.properties(title=alt.TitleParams(**words))
    return style.finished(shown, rows)


def evenly(items: list[T], most: int) -> list[T]:
    """At most so many of them, the first and the last among them."""
    n = min(len(items), most)
    return [items[round(i * (len(items) - 1) / max(n - 1, 1))] for i in range(n)]


def some(names: list[str]) -> tuple[list[str], str]:
    """As many as a picture holds, and the words that say so."""
    if len(names) <= MOST:
        return names, ""
    return names[:MOST], f" The first {MOST} of {len(names)} panels."
