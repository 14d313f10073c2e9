"""What an experiment has found: as frames, charts and files."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from api.sdk import frames
from api.sdk.asked import several
from api.sdk.checkpoints import Checkpoints
from api.sdk.errors import needed
from api.sdk.http import Http, word

if TYPE_CHECKING:
    from altair import TopLevelMixin
    from pandas import DataFrame

Json = dict[str, Any]
Runs = int | Iterable[int] | None
"""Numbers of runs, in whatever holds them; None: all. Of none, the frame is empty."""
Strings = str | Iterable[str] | None

PICTURES = {
    ".svg": "svg", ".png": "png", ".pdf": "pdf", ".json": "json", ".vl": "vegalite", ".csv": "csv",
}  # fmt: skip


class Results(Checkpoints):
    """May be read at any time: of an experiment under way, what there is so far."""

    def __init__(self, http: Http, id: str) -> None:
        self.id = word(id)
        self._http = http
        self._path = f"/v1/experiments/{self.id}"

    def metrics(
        self, metric: Strings = None, run: Runs = None, shape: Literal["wide", "rows"] = "wide"
    ) -> "DataFrame":
        """Every number of every epoch. wide: a row for each run and epoch, with a column for each
        metric; rows: a row for each number."""
        return self._table("metrics", metric=metric, run=run, shape=shape)

    def fisher(
        self, run: Runs = None, layers: bool = False, normalisation: str = "raw"
    ) -> "DataFrame":
        """The traces of the Fisher information with their standard errors; with `layers` a row for
        each layer as well."""
        found = self._table("fisher", run=run, normalisation=normalisation)
        return found if layers else found[found["layer"] == "total"].reset_index(drop=True)

    def second_order(self, run: Runs = None) -> "DataFrame":
        """Where the quadratic picture holds: KL against 1/2 d^T F d."""
        return self._table("second_order", run=run)

    def information(self, run: Runs = None) -> "DataFrame":
        """The information plane: of each layer's activations I(X;T) and I(T;Y), in bits."""
        return self._table("information", run=run)

    def runs(self) -> "DataFrame":
        """Each run: its place in the sweep, seed, state and final score."""
        pages = self._http.pages(f"{self._path}/runs", "runs", page_size=1000)
        return frames.runs(run for page in pages for run in page["runs"])

    def results(self) -> "DataFrame":
        """Final accuracy of each point of the sweep: mean over seeds, 95 % interval, and the drop
        against no deficit, paired by seed."""
        return frames.points(self.summary())

    def summary(self) -> Json:
        """Final accuracies, critical periods, sensitivity, and what survives the controls."""
        return dict(self._http.get(f"{self._path}/summary"))

    def analysis(self) -> Json:
        """What follows from measurements: phases of learning, fits, plasticity,
        where runs stand, and what late removals leave."""
        return dict(self._http.get(f"{self._path}/analysis"))

    def pruning(self) -> Json:
        """Accuracy against sparsity before and after fine-tuning, areas and their differences."""
        return dict(self._http.get(f"{self._path}/pruning"))

    def failures(self) -> list[Json]:
        """Of each failed run every attempt: its worker, how it ended, and the end of its log."""
        return list(self._http.get(f"{self._path}/failures")["failures"])

    def figure(self, name: str, **options: Any) -> "TopLevelMixin":
        """An Altair chart, which shows itself in a notebook. Options are those of the service, say
        overlay="fig1a"."""
        return chart(self._http, f"{self._path}/figures/{word(name)}", **options)

    def save_figure(self, name: str, path: str | Path, **options: Any) -> Path:
        """Drawn by the service, in the form that the file's name says: .svg, .png, .pdf, .csv and
        .json (its data), .vl (Vega-Lite)."""
        target = Path(path)
        if (format := PICTURES.get(target.suffix.lower())) is None:
            raise ValueError(f"{target.name}: the name ends in one of {', '.join(PICTURES)}")
        address = f"{self._path}/figures/{word(name)}"
        return self._http.save(address, target, format=format, **options)

    def export(
        self, path: str | Path, checkpoints: Literal["none", "final", "all"] = "none"
    ) -> Path:
        """All of it as a zip: spec, plan, results, figures, and what redraws them."""
        return self._http.save(f"{self._path}/export.zip", Path(path), checkpoints=checkpoints)

    def _table(self, name: str, **query: Any) -> "DataFrame":
        needed("pandas")  # before a long answer
        asked, is_empty = _asked(query)
        answer = self._http.call("GET", f"{self._path}/{name}", params=asked)
        found = frames.of_csv(answer.content)
        return found.head(0) if is_empty else found


def chart(http: Http, path: str, **options: Any) -> "TopLevelMixin":
    altair = needed("altair")
    spec = http.get(path, format="vegalite", **options)
    # Vega knows how legends are laid out one below another, and altair refuses it.
    spec.get("config", {}).get("legend", {}).pop("layout", None)
    found: TopLevelMixin = altair.Chart.from_dict(spec)
    return found


def _asked(query: Json) -> tuple[Json, bool]:
    """Parameters, and whether nothing was chosen: HTTP cannot say so, and one run is asked for
    instead, whose columns and their types are those of the others."""
    given = query | {
        name: several(name, kind, query[name])
        for name, kind in {"run": int, "metric": str}.items()
        if name in query
    }
    is_empty = [] in given.values()
    given |= {"format": "csv"} | ({"run": [0]} if is_empty else {})
    return {name: value for name, value in given.items() if value not in (None, [])}, is_empty
