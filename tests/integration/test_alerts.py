"""Alert rules, by promtool: they are right, and each fires when it should and not when not."""

import re

import pytest
import yaml
from dashboards import PROMETHEUS, alerts, rules
from prometheus import promtool

LABEL = re.compile(r"\$labels\.(\w+)")
ALERT = re.compile(r'alertname=~?"([^"]+)"')


@pytest.fixture(scope="module")
def cases():
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    return [case for test in tests for case in test["promql_expr_test"]]


@pytest.fixture(scope="module")
def fired(cases):
    """By alert, the labels with which it is expected to fire."""
    out: dict[str, list[dict[str, str]]] = {}
    for case in cases:
        for sample in case["exp_samples"]:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
            if labels.get("alertstate") == "firing":
                out.setdefault(labels["alertname"], []).append(labels)
    return out


def test_promtool_accepts_the_configuration_and_finds_nothing_to_complain_about():
    config = promtool("check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml"))
    assert config.returncode == 0, config.stderr
    checked = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", str(PROMETHEUS / "alerts.yml")
    )
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout


def test_each_alert_fires_when_it_should_and_not_when_it_should_not():
    done = promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_is_without_both_tests(cases, fired):
    silent = {
        name
        for case in cases
        if not case["exp_samples"]
        for found in ALERT.findall(case["expr"])
        for name in found.split("|")
    }
    assert set(fired) == silent == set(alerts())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_what_an_alerts_text_names_is_a_label_that_it_has(name, fired):
    rule = alerts()[name]
    named = set(LABEL.findall(" ".join(rule["annotations"].values())))
    for labels in fired[name]:
        assert named <= set(labels)
        assert labels["severity"] == rule["labels"]["severity"]
