"""The alerts are sound, fire when they should and not otherwise, ask for what there is, and each has a runbook."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests import monitoring
from tests.markdown import blocks
from tests.metrics import bounds, documented
from tests.stack import Stack, StackError

pytestmark = pytest.mark.needs("prometheus")
ALERTS = monitoring.alerts()


def test_promtool_takes_the_rules(stack: Stack) -> None:
    assert f"{len(ALERTS)} rules found" in stack.promtool("check", "rules", monitoring.ALERTS)


def test_each_fires_where_it_should_and_nowhere_else(stack: Stack) -> None:
    stack.promtool("test", "rules", monitoring.ALERTS_TEST)


def test_promtool_notices_an_alert_that_does_not_fire(stack: Stack, tmp_path: Any) -> None:
    rules = yaml.safe_load(monitoring.ALERTS.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if rule["alert"] == "VCenterOperatorDeletionsHeld":
            rule["expr"] = "vector(0) > 0"
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rules))
    written = yaml.safe_load(monitoring.ALERTS_TEST.read_text())
    written["tests"] = [test for test in written["tests"] if "VCenterOperatorDeletionsHeld" in str(test)]
    (tmp_path / "alerts_test.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(StackError, match="VCenterOperatorDeletionsHeld"):
        stack.promtool("test", "rules", tmp_path / "alerts_test.yaml")


def cases(alert: str) -> list[dict[str, Any]]:
    """The moments at which a promtool test asks whether it fires."""
    tests = yaml.safe_load(monitoring.ALERTS_TEST.read_text())["tests"]
    asked = [case for test in tests for case in test["promql_expr_test"]]
    named = f'alertname="{alert}"'
    return [case for case in asked if named in case["expr"] or named in str(case["exp_samples"])]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_has_a_case_in_which_it_fires_and_one_in_which_it_must_not(alert: str) -> None:
    of_it = cases(alert)
    # Absence is told of the whole of it: the case in which it does not fire asks for any alert.
    quiet = [case for case in of_it if not case["exp_samples"]] or alert == "VCenterOperatorAbsent"
    assert quiet
    assert [case for case in of_it if case["exp_samples"]]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_asks_for_what_is_served(alert: str) -> None:
    check(ALERTS[alert]["expr"])


def check(expression: str) -> None:
    """Every metric, label and value of an expression stands in docs/metrics.md."""
    table, allowed = documented(), bounds()
    known = set(monitoring.OF_THE_TARGET)
    for metric, labels in monitoring.selectors(expression):
        if metric.startswith("process_"):
            continue
        row = table[metric.removesuffix("_bucket")]
        assert metric.endswith("_bucket") == (row.kind == "histogram")
        known |= row.labels | ({"le"} if row.kind == "histogram" else set())
        assert labels.keys() <= row.labels | monitoring.OF_THE_TARGET, f"{metric} has no such label: {labels}"
        for label, wanted in labels.items():
            values = allowed.get((row.name, label)) or allowed.get(("", label), frozenset())
            assert set(wanted) <= values, f"{metric}: {label} is never {wanted}"
    assert monitoring.grouping(expression) <= known


@pytest.mark.parametrize("alert", ALERTS)
def test_each_says_what_is_the_matter_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/runbooks.md#{alert.lower()}"
    named = set(re.findall(r"\$labels\.(\w+)", f"{notes['summary']} {notes['description']}"))
    firing = [str(sample["labels"]) for case in cases(alert) for sample in case["exp_samples"]]
    assert all(f"{label}=" in labels for label in named for labels in firing if "ALERTS" in labels), named


def test_runbooks_and_alerts_are_the_same() -> None:
    text = monitoring.RUNBOOKS.read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == list(ALERTS)
    for section in sections:
        name, _, body = section.partition("\n")
        assert body.strip().startswith(f"*{ALERTS[name]['labels']['severity']}.* **Means:**"), name
        assert all(part in body for part in ("**See:**", "**Do:**", "**Don't**")), name


def test_the_configuration_in_the_docs_is_one(stack: Stack, tmp_path: Any) -> None:
    shown = [block.text for block in blocks(monitoring.DOCS) if block.language == "yaml"]
    (configuration,) = (text for text in shown if "scrape_configs" in text)
    # Debian's Prometheus is built without Kubernetes.
    here = configuration.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: [{targets: ['localhost']}]")
    assert here != configuration
    (tmp_path / "prometheus.yaml").write_text(here)
    (tmp_path / "alerts.yaml").write_text(monitoring.ALERTS.read_text())
    stack.promtool("check", "config", tmp_path / "prometheus.yaml")


def test_the_docs_list_every_alert_by_its_severity() -> None:
    parts = re.split(r"^\| (critical|warning) \| \|$", monitoring.DOCS.read_text(), flags=re.MULTILINE)
    listed: dict[str, str] = {}
    for severity, part in zip(parts[1::2], parts[2::2], strict=True):
        rows = re.match(r"\n(\|.*\n)+", part)
        assert rows is not None
        listed |= dict.fromkeys(re.findall(r"`(VCenterOperator\w+)`", rows[0]), severity)
    assert listed == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
