"""The dashboards' shape; whether their queries are answered is in test_monitoring.py."""

import json

import pytest
import yaml
from dashboards import (
    BUILT_IN,
    GRAFANA,
    PROMETHEUS,
    alerts,
    boards,
    panels,
    provisioned,
    targets,
    used_variables,
)

SOURCES = {one["uid"]: one for one in provisioned("datasources")["datasources"]}
BOARDS = sorted(boards())


@pytest.fixture(params=BOARDS)
def board(request):
    return boards()[request.param]


def test_links_to_a_dashboard_stay_right_because_its_uid_says_its_file():
    assert {stem: board["uid"] for stem, board in boards().items()} == {
        "service": "hubel-service",
        "science": "hubel-science",
    }
    for board in boards().values():
        assert board["tags"] == ["hubel"]
        assert "id" not in board, "an id is of one Grafana"


def test_every_panel_says_what_it_shows_in_which_unit_from_where(board):
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(board):
        told = {key: panel.get(key) for key in ("title", "description", "datasource")}
        assert all(told.values()), panel["id"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


def test_panels_fill_rows_of_24_columns_and_cover_no_other(board):
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]


def test_every_data_source_is_one_that_is_provisioned(board):
    asked = [target["datasource"] for _, target in targets(board)]
    asked += [panel["datasource"] for panel in panels(board)]
    asked += [mark["datasource"] for mark in board["annotations"]["list"]]
    for source in asked:
        if source["uid"] != BUILT_IN:
            assert SOURCES[source["uid"]]["type"] == source["type"]


def test_every_variable_is_defined_and_used(board):
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    for variable in variables.values():
        assert variable["label"]
        assert variable["description"]
    assert used_variables(json.dumps(board)) == set(variables)


def test_queries_of_a_panel_have_letters_of_their_own(board):
    for panel in panels(board):
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


def test_what_a_panel_renames_orders_and_splits_are_columns_of_its_query():
    for panel in panels(boards()["science"]):
        (target,) = panel["targets"]
        columns = {column["text"] for column in target["columns"]}
        assert len(columns) == len(target["columns"]), panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["options"] in columns, (panel["title"], override)
        for step in panel.get("transformations", []):
            options = step["options"]
            named = {*options.get("fields", ()), *options.get("excludeByName", ())}
            named |= {*options.get("indexByName", ())}
            assert named <= columns, (panel["title"], named - columns)


def test_the_axis_of_a_curve_is_a_column_and_all_other_numbers_are_drawn():
    drawn = [panel for panel in panels(boards()["science"]) if panel["type"] == "xychart"]
    assert len(drawn) == 4
    for panel in drawn:
        (series,) = panel["options"]["series"]
        axis = series["x"]["matcher"]["options"]
        columns = {c["text"]: c["type"] for c in panel["targets"][0]["columns"]}
        numbers = {name for name, kind in columns.items() if kind == "number"}
        assert columns[axis] == "number"
        # Where nothing else has a name of its own, all lines of a panel would have the same.
        named = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if any(p["id"] == "displayName" for p in override["properties"])
        }
        assert named == numbers - {axis}, panel["title"]


def test_annotations_have_the_columns_and_the_format_that_grafana_wants():
    (deficits,) = (m for m in boards()["science"]["annotations"]["list"] if "target" in m)
    assert deficits["target"]["format"] == "dataframe"
    columns = {c["text"]: c["type"] for c in deficits["target"]["columns"]}
    times = {"time": "timestamp", "timeEnd": "timestamp"}
    assert columns == times | dict.fromkeys(("title", "text", "tags"), "string")
    shaded = [p for p in boards()["science"]["panels"] if p["id"] in deficits["filter"]["ids"]]
    assert [panel["type"] for panel in shaded] == ["timeseries"]


def test_the_token_is_read_from_a_file_and_sent_to_the_api_alone():
    api = SOURCES["hubel-api"]
    assert api["secureJsonData"] == {"bearerToken": "$__file{/run/secrets/hubel_read_token}"}
    assert api["jsonData"]["auth_method"] == "bearerToken"
    assert api["jsonData"]["allowedHosts"] == [api["url"]]
    for _, target in targets(boards()["science"]):
        assert target["url"].startswith("/v1/"), "relative to the data source's own"
        assert target["parser"] == "backend"
        assert target["url_options"]["method"] == "GET"


def test_grafana_knows_how_often_prometheus_asks():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    interval = SOURCES["hubel-prometheus"]["jsonData"]["timeInterval"]
    assert interval == config["global"]["scrape_interval"]


def test_what_is_provisioned_is_where_the_dashboards_are_mounted():
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert (GRAFANA / "dashboards").is_dir()


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_says_how_bad_it_is_what_happens_and_what_to_do(name):
    rule = alerts()[name]
    assert name.startswith("Hubel"), "the dashboard asks for these"
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["description"]) > 50
