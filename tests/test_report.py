"""The report is one safe, self-contained page, whatever the number and the names of the domains."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tf_syncrec.report import write_report

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects the elements and the text, and demands that tags are balanced."""

    def __init__(self, source: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def result(value, users=100):
    names = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")
    return {"users": users} | dict.fromkeys(names, value if users else 0.0)


def make_run(folder: Path, domains: list[str], epochs: int = 6) -> Path:
    """A run directory as `fit` leaves it; the first domain has no test users."""
    measured = {d: result(0.05 + 0.002 * i, users=100 * i) for i, d in enumerate(domains)}
    both = {"overall": result(0.08), "domains": measured}
    popular = {"overall": result(0.04), "domains": {d: result(0.03) for d in domains}}
    transfer = {d: {"lambda": 1.0 + 0.01 * i, "gap": 0.1 * i - 0.2} for i, d in enumerate(domains)}
    metrics = {
        "protocol": {"split": "leave-one-out", "candidates": {"kind": "full", "misses": 0.03}},
        "validation": both,
        "test": both,
        "negative_transfer": transfer,
        "baselines": {"popularity": {"test": popular}},
        "training": {
            "seconds_per_epoch": 1.5,
            "epochs": epochs,
            "best_epoch": epochs,
            "peak_memory_mb": 512.0,
            "parameters": 123456,
            "command": "python -m tf_syncrec.fit --set 'a=<b>'",
            "versions": {"tensorflow": "2.21.0"},
        },
    }
    history = [
        {
            "epoch": epoch,
            "seconds": 1.5,
            **{"loss": 3.0 / epoch, "loss_single": 1.0, "loss_cross": 1.1, "loss_mim": 0.01},
            **{"alpha": 1.0, "beta": 0.5},
            "domains": {
                d: {
                    "loss_single": 1.0,
                    "loss_cross": 1.0,
                    "gap": math.sin(i),
                    "lambda": 1 + 0.1 * i,
                }
                for i, d in enumerate(domains)
            },
            "validation": result(0.01 * epoch),
        }
        for epoch in range(1, epochs + 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.json").write_text(json.dumps(history))
    (folder / "config.yaml").write_text("model:\n  dim: 64  # </pre><script>\n")
    return folder


def render(folder: Path) -> str:
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [1, 2, 9, 50])
def test_every_domain_appears(tmp_path, count):
    domains = [f"domain {i:02d}" for i in range(count)]
    source = render(make_run(tmp_path, domains))
    page = Page(source)
    for domain in domains:
        assert page.text.count(domain) >= 3, domain  # results, λ and gap, the bars
    assert page.tags.count("figure") == 5
    assert not re.search(r"\bnan\b", source.lower())


def test_user_input_is_escaped(tmp_path):
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b", "$x_{$", "_"]
    run = make_run(tmp_path / "<b>run", hostile)
    source = render(run)
    page = Page(source)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<b>run" in page.text
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name in hostile:
        assert name in page.text
    assert "dim: 64  # </pre><script>" in "".join(page.text)


def test_nothing_is_loaded(tmp_path):
    source = render(make_run(tmp_path, ["books", "toys"]))
    page = Page(source)
    loaders = {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}
    targets = [value for name, value in page.attributes if name in loaders]
    assert all(value.startswith("#") for value in targets), targets
    assert not re.search(r"@import|url\((?!#)", source)
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)


def test_ids_are_unique_and_references_resolve(tmp_path):
    source = render(make_run(tmp_path, ["books", "toys"]))
    page = Page(source)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)", source)
    used += [value[1:] for name, value in page.attributes if name == "xlink:href"]
    assert used
    assert set(used) <= set(ids)


def test_colours_follow_the_theme(tmp_path):
    source = render(make_run(tmp_path, [f"d{i}" for i in range(12)]))
    body = source[source.index("</style>") :]
    assert "var(--s0)" in body
    assert not re.search(r"#[0-9a-f]{6}\b(?=[;\"'])", body)
    assert "prefers-color-scheme: dark" in source


def test_same_run_same_report(tmp_path):
    run = make_run(tmp_path, ["books", "toys"])
    assert render(run) == render(run)


@pytest.mark.parametrize(
    "missing", ["baselines", "training", "negative_transfer", "protocol", "validation"]
)
def test_optional_keys(tmp_path, missing):
    run = make_run(tmp_path, ["books", "toys"])
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics[missing]
    (run / "metrics.json").write_text(json.dumps(metrics))
    Page(render(run))


def test_optional_files_and_partial_history(tmp_path):
    run = make_run(tmp_path, ["books", "toys"], epochs=1)
    (run / "config.yaml").unlink()
    (run / "history.json").write_text(json.dumps([{"epoch": 1, "loss": 1.0, "validation": None}]))
    assert Page(render(run)).tags.count("figure") == 2
    (run / "history.json").unlink()
    assert Page(render(run)).tags.count("figure") == 1


def test_reading_follows_the_sign_of_the_gap(tmp_path):
    source = render(make_run(tmp_path, ["hurt one", "minus", "zero", "helped one"]))
    rows = re.findall(
        r'<th scope="row">([^<]*)</th>\n<td class="\w+">.*?<b[^>]*>(\w+):</b>', source, flags=re.S
    )
    assert dict(rows) == {
        "hurt one": "Hurt",
        "minus": "Hurt",
        "zero": "Neither",
        "helped one": "Helped",
    }


def test_run_without_metrics(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        write_report(tmp_path)


def test_many_domains_show_the_extremes(tmp_path):
    domains = [f"d{i:02d}" for i in range(50)]
    source = render(make_run(tmp_path, domains))
    weights = source[source.index("λ per domain</h3>") : source.index("Gap per domain</h3>")]
    legend = re.findall(r"</svg>([^<]+)</li>", weights)
    assert legend == [*domains[:4], *domains[-4:], "42 others"]
