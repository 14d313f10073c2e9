"""Draws an experiment's figures again, from the files in this folder alone, into redrawn/.

    pip install altair pandas vl-convert-python
    python redraw.py

In a notebook, to look at one, or to change what it shows:

    from redraw import chart, frame
    rows = frame("critical_period")
    chart("critical_period", rows[rows["kind"] != "seed"])
"""

import json
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

HERE = Path(__file__).parent
FIGURES, OUT = HERE / "figures", HERE / "redrawn"


def names() -> list[str]:
    return sorted(path.name.removesuffix(".vl.json") for path in FIGURES.glob("*.vl.json"))


def frame(name: str) -> pd.DataFrame:
    """All that a figure draws; figures/NAME.json is its main part."""
    return pd.DataFrame(spec(name)["data"]["values"])


def spec(name: str, rows: pd.DataFrame | None = None) -> dict[str, Any]:
    """A figure as Vega-Lite, with its own data, or with these rows."""
    found: dict[str, Any] = json.loads((FIGURES / f"{name}.vl.json").read_text("utf-8"))
    if rows is not None:
        found["data"]["values"] = [_present(row) for row in rows.to_dict("records")]
    return found


def _present(row: dict[Any, Any]) -> dict[str, Any]:
    """Without the cells that pandas fills with NaN because other rows have them."""
    return {name: value for name, value in row.items() if value is not None and value == value}


def chart(name: str, rows: pd.DataFrame | None = None) -> alt.TopLevelMixin:
    """A figure for a notebook, which shows it."""
    found = spec(name, rows)
    found["config"]["legend"].pop("layout", None)  # Vega-Lite draws it, altair does not know it
    values = found.pop("data")["values"]
    kinds: dict[str, Any] = {
        "layer": alt.LayerChart,
        "facet": alt.FacetChart,
        "concat": alt.ConcatChart,
        "vconcat": alt.VConcatChart,
        "hconcat": alt.HConcatChart,
    }
    kind = next((kind for key, kind in kinds.items() if key in found), alt.Chart)
    made = kind.from_dict(found, validate=False)
    made.data = alt.Data(values=values)
    return made


def accuracy_by_run() -> alt.Chart:
    """Test accuracy of each run, from metrics.csv."""
    found = pd.read_csv(HERE / "metrics.csv")
    found["accuracy"] = 100 * found["test_accuracy"]
    columns = ["run", "epoch", "accuracy"]
    rows = json.loads(found[columns].to_json(orient="records"))
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line()
        .encode(
            x=alt.X("epoch:Q", title="Epoch"),
            y=alt.Y("accuracy:Q", title="Test accuracy (%)", scale=alt.Scale(zero=False)),
            color=alt.Color("run:N", title="Run"),
        )
        .properties(width=640, height=400)
    )


def main() -> None:
    OUT.mkdir(exist_ok=True)
    drawn = {name: spec(name) for name in names()} | {
        "accuracy_by_run": accuracy_by_run().to_dict()
    }
    for name, found in drawn.items():
        (OUT / f"{name}.vl.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")
        # Nothing is fetched: a figure carries its data.
        svg = vl_convert.vegalite_to_svg(found, allowed_base_urls=[])
        (OUT / f"{name}.svg").write_text(svg, "utf-8")
        print(OUT / f"{name}.svg")


if __name__ == "__main__":
    main()
