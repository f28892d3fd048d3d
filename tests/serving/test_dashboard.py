"""Dashboard and alerts look at what a scrape has, and at nothing else."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import tensorflow_serving_metrics as tensorflow_serving
from tests.support.exporting import DOMAINS
from tests.support.rest_server import LIMITS, running

FOLDER = Path(__file__).parents[2] / "serving" / "deploy"
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds to whatever it scrapes
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="module")
def scrape(served, tmp_path_factory):
    """`{name: [labels of each sample]}` of a server that was asked a little, with a label."""
    file = tmp_path_factory.mktemp("watched") / "models.config"
    file.write_text(
        'model_config_list { config { name: "syncrec" base_path: "/x" '
        'version_labels { key: "stable" value: 1 } } }'
    )
    with running(served.base, LIMITS, file) as rest:
        url = f"{rest.url}/v1/models/syncrec:predict"
        for domain, status in (("audio", 200), ("", 200), ("no such", 400)):
            body = {"instances": [{"items": [served.ids[0], "who?"], "domain": domain}]}
            assert requests.post(url, json=body, timeout=60).status_code == status
        text = requests.get(f"{rest.url}/metrics", timeout=10).text
    samples: dict[str, list[dict[str, str]]] = {"up": [{}]}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.labels)
    return samples


def labels_of(name, scrape):
    """Names of labels of a metric, or None of one that there is not."""
    if name in scrape:
        return {label for labels in scrape[name] for label in labels} | OF_PROMETHEUS
    if name in tensorflow_serving.LABELS:
        return tensorflow_serving.LABELS[name] | OF_PROMETHEUS
    return None


def expressions():
    """`(where, expression, texts that name labels)` of dashboard and rules."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], [target["legendFormat"]]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], [annotation["titleFormat"]]
    for rule in RULES:
        yield rule["alert"], rule["expr"], [*rule["annotations"].values()]


ALL = list(expressions())
IDS = [f"{where}-{i}" for i, (where, *_) in enumerate(ALL)]


def parsed(expression):
    """As Prometheus reads it, once Grafana has put in what it knows."""
    return promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def nodes(tree):
    """All of an expression, depth first."""
    yield tree
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(tree, name, None)) is not None:
            yield from nodes(inner)
    for argument in getattr(tree, "args", None) or ():
        yield from nodes(argument)


def selectors(tree):
    return [node for node in nodes(tree) if isinstance(node, promql_parser.VectorSelector)]


@pytest.mark.parametrize(("where", "expression", "texts"), ALL, ids=IDS)
def test_every_metric_and_label_is_in_a_scrape(where, expression, texts, scrape):
    tree = parsed(expression)
    found = selectors(tree)
    assert found, f"{where} looks at nothing"
    for selector in found:
        known = labels_of(selector.name, scrape)
        assert known is not None, f"{where}: no server tells {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name in known, f"{where}: {selector.name} has no {matcher.name}"
            check_value(where, selector.name, matcher, scrape)
    there = set.union(*(labels_of(selector.name, scrape) for selector in found))
    for node in nodes(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            for selector in selectors(node.expr):
                labels = labels_of(selector.name, scrape) or set()
                assert set(node.modifier.labels) <= labels, f"{where}: {node.prettify()}"
        matching = getattr(getattr(node, "modifier", None), "matching", None)
        if matching is not None:
            assert set(matching.labels) <= there, f"{where}: {node.prettify()}"
    for text in texts:
        for label in re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", text):
            assert label in kept(tree, scrape), f"{where}: {text!r} wants {label}"


def kept(tree, scrape):
    """Labels that the result of an expression has."""
    if isinstance(tree, promql_parser.AggregateExpr):
        return set(tree.modifier.labels) if tree.modifier else set()
    if isinstance(tree, promql_parser.VectorSelector):
        return labels_of(tree.name, scrape)
    if isinstance(tree, promql_parser.MatrixSelector):
        return kept(tree.vector_selector, scrape)
    if isinstance(tree, promql_parser.BinaryExpr):
        sides = [kept(side, scrape) for side in (tree.lhs, tree.rhs)]
        return sides[0] if sides[0] else sides[1]  # one may be a number
    if isinstance(tree, promql_parser.Call):
        given = set().union(*(kept(argument, scrape) for argument in tree.args))
        return given - ({"le"} if tree.func.name == "histogram_quantile" else set())
    inner = getattr(tree, "expr", None)
    return kept(inner, scrape) if inner is not None else set()


def check_value(where, name, matcher, scrape):
    """A value that is asked for is one that there can be; those with a variable may be any."""
    if "$" in matcher.value or matcher.name in OF_PROMETHEUS:
        return
    pattern = re.compile(matcher.value)
    if name in scrape:
        values = {labels.get(matcher.name) for labels in scrape[name]}
        values |= {str(code) for code in (*range(200, 210), *range(400, 430), *range(500, 505))} & (
            {str(n) for n in range(600)} if matcher.name == "status" else set()
        )
    else:
        loads = name.endswith("load_attempt_count")
        values = tensorflow_serving.LOADS if loads else tensorflow_serving.STATUSES
        for alternative in matcher.value.split("|"):
            assert alternative in values, f"{where}: no status {alternative}"
    matched = {value for value in values if pattern.fullmatch(value)}
    assert matched and matched != values, f"{where}: {name}, {matcher.name} {matcher.value}"


def test_the_dashboard_shows_every_metric_of_the_local_server(scrape):
    """But the counts and sums that belong to a histogram."""
    shown = {
        selector.name for _, expression, _ in ALL for selector in selectors(parsed(expression))
    }
    told = {
        name
        for name in scrape
        if not re.search(r"_(created|sum|count)$", name) and name.startswith("syncrec_")
    }
    assert told <= shown
    assert {labels["domain"] for labels in scrape["syncrec_answers_total"]} == {*DOMAINS, "*"}


def test_panels_have_a_place_and_a_number_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) and panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_variables_are_defined_and_ask_for_what_there_is(scrape):
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(DASHBOARD)))
    assert used == set(variables)
    for variable in variables.values():
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            assert asked and asked[2] in (labels_of(asked[1], scrape) or ())


def test_prometheus_scrapes_where_the_servers_are():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert config["rule_files"] == ["alerts.yaml"]
    (down,) = [rule for rule in RULES if rule["alert"] == "SyncrecDown"]
    assert f'job="{job["job_name"]}"' in down["expr"]
    assert f'path: "{job["metrics_path"]}"' in (FOLDER / "monitoring.config").read_text()


# ------------------------------------------------------------------------------------- promtool


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool (Debian's package prometheus has it)")
    return lambda *words: subprocess.run([found, *map(str, words)], capture_output=True, text=True)


def test_prometheus_takes_rules_and_configuration(promtool):
    for words in (
        ("check", "rules", FOLDER / "alerts.yaml"),
        ("check", "config", FOLDER / "prometheus.yml"),
    ):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_come_when_they_should_and_else_not(promtool):
    file = Path(__file__).with_name("alerts_test.yaml")
    tested = yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
    expected: dict[str, set[bool]] = {}
    for test in tested:
        for check in test["alert_rule_test"]:
            expected.setdefault(check["alertname"], set()).add(bool(check["exp_alerts"]))
    assert expected == {rule["alert"]: {True, False} for rule in RULES}
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
