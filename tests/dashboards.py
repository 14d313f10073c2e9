"""The dashboards, alerts and what provisions them, as Grafana and Prometheus read them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import yaml

Json = dict[str, Any]

DEPLOY = Path(__file__).parent.parent / "deploy"
GRAFANA, PROMETHEUS = DEPLOY / "grafana", DEPLOY / "prometheus"
BUILT_IN = "-- Grafana --"
VARIABLE = re.compile(r"\$\{(\w+)(?::\w+|\.[\w.]+)*\}|\$(\w+)|\[\[(\w+)\]\]")
METRIC = re.compile(r"\bhubel_[a-z0-9_]+")
SELECTOR = re.compile(r"""(?:[a-z]+:)?hubel_[a-z0-9_]+(?::\w+)?(?:\{(?:[^}"]|"[^"]*")*\})?""")
SUFFIXES = ("_bucket", "_count", "_sum")
"""What a histogram's series are called beside its name."""


def boards() -> dict[str, Json]:
    return {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("dashboards/*.json")}


def provisioned(kind: str) -> Json:
    (path,) = GRAFANA.glob(f"provisioning/{kind}/*.yml")
    found: Json = yaml.safe_load(path.read_text())
    return found


def rules() -> list[Json]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, Json]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels(board: Json) -> list[Json]:
    """Without the rows, which only have a title."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: Json) -> Iterator[tuple[str, Json]]:
    """Every query of panels, annotations and variables, with where it stands."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target
    for mark in board["annotations"]["list"]:
        if "target" in mark or "expr" in mark:
            yield mark["name"], mark.get("target", mark)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            wrapped = variable["query"]["infinityQuery"]
            yield variable["name"], wrapped | {"datasource": variable["datasource"]}


def used_variables(text: str) -> set[str]:
    """Those of the dashboard's own: Grafana's begin with two underscores."""
    names = {next(filter(None, found)) for found in VARIABLE.findall(text)}
    return {name for name in names if not name.startswith("__")}


def interpolated(text: str, values: dict[str, str]) -> str:
    """As Grafana does it before it asks; KeyError for what nobody defines."""
    return VARIABLE.sub(lambda match: values[next(filter(None, match.groups()))], text)


def base_name(metric: str, known: set[str]) -> str:
    """Of a series' name the metric's: that of a histogram has a suffix."""
    for suffix in SUFFIXES:
        if metric.endswith(suffix) and metric.removesuffix(suffix) in known:
            return metric.removesuffix(suffix)
    return metric


def found_at(value: Any, path: str) -> Any:
    """What Infinity's selector `a.b.0` finds; KeyError where there is no such place."""
    for part in filter(None, path.split(".")):
        if isinstance(value, list):
            if int(part) >= len(value):
                raise KeyError(path)
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value[part]
        else:
            raise KeyError(path)
    return value


def kept(rows: list[Json], expression: str) -> list[Json]:
    """Those for which `field == 'word'` or `field != 'word'` holds."""
    if not expression:
        return rows
    field, sign, word = re.fullmatch(r"(\w+) (==|!=) '(\w+)'", expression).groups()  # type: ignore[union-attr]
    return [row for row in rows if (str(row[field]) == word) == (sign == "==")]


ACCEPT = {"json": "application/json;q=0.9,text/plain", "csv": "text/csv; charset=utf-8"}


def infinity(client: httpx.Client, url: str, kind: str = "json") -> httpx.Response:
    """A GET as the plugin's backend sends it: with an Accept header of its own, and the query taken
    apart, sorted by name and written anew (the plugin's headers.go and request.go)."""
    path, _, query = url.partition("?")
    sent = urlencode(sorted(parse_qsl(query, keep_blank_values=True), key=lambda one: one[0]))
    head = {"Accept": ACCEPT[kind], "User-Agent": "Grafana/12.2.0", "Accept-Encoding": "gzip"}
    return client.get(f"{path}?{sent}" if sent else path, headers=head)
