"""The report is one safe, self-contained page, whatever the number and the names of the domains."""

import json
import math
import re
from pathlib import Path

import pytest

from data_prep import InputError
from tests.support.pages import Page
from tf_syncrec import report
from tf_syncrec.reporting.run_report import write_report


def result(value, users=100):
    names = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")
    return {"users": users} | dict.fromkeys(names, value if users else 0.0)


def sample(domain):
    return {
        "user_id": "<i>u1</i>",
        "domain": domain,
        "history": ["i1", "i2"],
        "earlier": 3,
        "recommended": ["i3", "<u>i4</u>"],
        "target": "i3",
    }


def data_card(domains):
    counts = {"users": 5, "items": 6, "interactions": 70, "test_targets": 4}
    return {
        "dataset": "made/up/1.0.0",
        "split": "leave-one-out",
        "rows": {"read": 99, "bad": {"an empty field": 2}, "repeated": 3}
        | {"dropped_by_core": 4, "kept": 90},
        "users": {"kept": 40, "test_targets": 39},
        "items": {"kept": 30, "in_training": 29},
        "unknown_test_targets": 1,
        "lengths": {"median": 4.5, "max": 17},
        "domains": dict.fromkeys(domains, counts),
        "shared_users": [[1] * len(domains) for _ in domains],
    }


def view(i: int) -> dict:
    """A row of `compare_views`: in turn hurt, helped and neither."""
    mean = (-0.02, 0.02, 0.001)[i % 3]
    difference = {"users": 50, "mean": mean, "low": mean - 0.01, "high": mean + 0.01}
    return {
        **{"users": 50, "single": 0.05, "cross": 0.05 + mean, "blend": 0.06},
        **{"cross_less_single": difference, "blend_less_single": difference},
        "verdict": ("hurt", "helped", "no clear difference")[i % 3],
    }


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
        "views": {"overall": view(3), "domains": {d: view(i) for i, d in enumerate(domains)}},
        "view_weights": {d: {"single": 1.75, "cross": 0.25} for d in domains[-1:]},
        "influence": {
            d: {e: {"users": 9, "change": -0.02, "error": 0.001} for e in domains if e != d}
            for d in domains
        },
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
            "gates": {
                "experts": ["cross 1", "single 1"],
                "domains": {d: {"cross": [0.75, 0.25], "single": [0.5, 0.5]} for d in domains[1:]},
            },
        }
        for epoch in range(1, epochs + 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.json").write_text(json.dumps(history))
    (folder / "samples.json").write_text(json.dumps([sample(domain) for domain in domains]))
    (folder / "data_card.json").write_text(json.dumps(data_card(domains)))
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
        assert page.text.count(domain) >= 4, domain  # results, views, λ and gap, the bars
    assert page.tags.count("figure") == (9 if count > 1 else 8)  # the first one has no users
    assert not re.search(r"\bnan\b", source.lower())


def test_user_input_is_escaped(tmp_path):
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b", "$x_{$", "_"]
    hostile.append("#010101")  # what the pictures are drawn with
    run = make_run(tmp_path / "<b>run", hostile)
    source = render(run)
    page = Page(source)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<b>run" in page.text
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name in hostile:
        assert name in page.text
    # In the pictures too; it alone, as the last one, has weights of the views.
    assert page.text.count("#010101") == page.text.count("_") + 1
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


def test_titles_stand_in_the_place_of_ids(tmp_path):
    run = make_run(tmp_path, ["books", "toys"])
    text = Page(render(run)).text
    assert {"i1", "i2", "i3", "<u>i4</u>"} <= set(text)
    write_report(run, {"i1": "A <b>title</b>", "i3": "Another"})
    text = Page((run / "report.html").read_text()).text
    assert "A <b>title</b>" in text and "i2" in text
    assert not {"i1", "i3"} & set(text)


def test_beside_a_comparison(tmp_path, capsys):
    run, other = make_run(tmp_path / "run", ["books", "toys"]), tmp_path / "comparison"
    other.mkdir()

    def mean(value):
        return {"ndcg@10": {"mean": value}}

    models = {
        "syncrec": {},
        "syncrec_single": {
            "test": {"overall": mean(0.4321), "domains": {"books": mean(0.1), "toys": mean(0.2345)}}
        },
    }
    protocol = json.loads((run / "metrics.json").read_text())["protocol"] | {"dataset": "a/b"}
    comparison = {"protocol": protocol, "models": models}
    arguments = ["--run", str(run), "--comparison", str(other)]

    def put(**changes):
        (other / "comparison.json").write_text(json.dumps(comparison | changes))

    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"protocol": protocol}))
    put()
    report.main(arguments)
    source = (run / "report.html").read_text()
    assert "0.4321" in source and "0.2345" in source and "trained on the domain alone" in source
    put(protocol=protocol | {"dataset": "c/d"})
    with pytest.raises(InputError, match="other data: c/d"):
        report.main(arguments)
    put(models={"syncrec": {}})
    with pytest.raises(InputError, match=r"--comparison.*syncrec"):
        report.main(arguments)
    with pytest.raises(InputError, match=r"comparison\.json is missing"):
        report.main(["--run", str(run), "--comparison", str(tmp_path)])
    with pytest.raises(InputError, match=r"metrics\.json is missing"):
        report.main(["--run", str(tmp_path)])


def test_a_run_that_left_test_out_shows_validation(tmp_path):
    run = make_run(tmp_path / "run", ["books", "toys"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert "--no_test" not in render(run)
    metrics["validation"] = metrics.pop("test") | {"overall": result(0.4321)}
    popularity = metrics["baselines"]["popularity"]
    popularity["validation"] = popularity.pop("test") | {"overall": result(0.1234)}
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = " ".join(Page(render(run)).text)
    assert "0.4321" in text and "0.1234" in text and "--no_test" in text
    for of_test in ("test users", "Test results", "(test)"):
        assert of_test not in text
        assert of_test.replace("test", "validation").replace("Test", "Validation") in text
    (tmp_path / "comparison.json").write_text(json.dumps({"protocol": metrics["protocol"]}))
    with pytest.raises(InputError, match=r"--comparison .*--no_test"):
        report.main(["--run", str(run), "--comparison", str(tmp_path)])


@pytest.mark.parametrize(
    "missing",
    ["baselines", "training", "negative_transfer", "views", "view_weights", "protocol"],
)
def test_optional_keys(tmp_path, missing):
    run = make_run(tmp_path, ["books", "toys"])
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics[missing]
    (run / "metrics.json").write_text(json.dumps(metrics))
    Page(render(run))


def test_optional_files_and_partial_history(tmp_path):
    run = make_run(tmp_path, ["books", "toys"], epochs=1)
    for name in ("config.yaml", "samples.json", "data_card.json"):
        (run / name).unlink()
    (run / "history.json").write_text(json.dumps([{"epoch": 1, "loss": 1.0, "validation": None}]))
    assert Page(render(run)).tags.count("figure") == 4
    (run / "history.json").unlink()
    assert Page(render(run)).tags.count("figure") == 3


def test_the_page_says_what_the_views_say(tmp_path):
    source = render(make_run(tmp_path, ["hurt one", "helped one", "neither"]))
    rows = re.findall(
        r'<th scope="row">([^<]*)</th>\n<td data-label="users">.*?<b[^>]*>([^<]+)</b>',
        source[source.index("<h2>Which domains") :],
        flags=re.S,
    )
    assert dict(rows) == {
        "hurt one": "Hurt:",
        "helped one": "Helped:",
        "neither": "No clear difference.",
    }
    text = "".join(Page(source).text)  # the last domain alone has weights of the two views
    assert text.count("Weight of its own view") == 1
    assert "Weight of its own view 88 %, of the view of all domains 12 %" in " ".join(text.split())


def test_a_gap_is_no_verdict(tmp_path):
    """Whatever steered the training, nothing is called hurt or helped for it."""
    run = make_run(tmp_path, ["books", "toys"])
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["views"]["domains"] = {d: view(2) for d in ("books", "toys")}
    metrics["negative_transfer"] = {
        "books": {"lambda": 0.001, "gap": -9.0},
        "toys": {"lambda": 0.999, "gap": 9.0},
    }
    (run / "metrics.json").write_text(json.dumps(metrics))
    source = render(run)
    assert not re.search(r"<b[^>]*>(Hurt|Helped):</b>", source)
    assert "-9.0" in source.replace("−", "-")


def test_run_without_metrics(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        write_report(tmp_path)


def test_many_domains_show_the_extremes(tmp_path):
    domains = [f"d{i:02d}" for i in range(50)]
    source = render(make_run(tmp_path, domains))
    weights = source[source.index("λ per domain</h3>") : source.index("Gap per domain</h3>")]
    legend = re.findall(r"</svg>([^<]+)</li>", weights)
    assert legend == [*domains[:4], *domains[-4:], "42 others"]


def test_a_run_whose_settings_were_tuned_says_of_how_many_trials_they_are(tmp_path):
    run = make_run(tmp_path / "run", ["books", "toys"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert "trials" not in " ".join(Page(render(run)).text)
    tuning = {"trials": 12, "chosen": 7, "settings": {"model.dropout": 0.35}}
    for first in (0.4321, None):  # None: the first one failed
        of_tuning = {"tuning": tuning | {"validation": 0.5432, "validation_of_first": first}}
        (run / "metrics.json").write_text(json.dumps(metrics | of_tuning))
        text = " ".join(" ".join(Page(render(run)).text).split())
        assert "best of 12 trials on validation" in text and "model.dropout=0.35" in text
        assert ("0.5432" in text) == ("0.4321" in text) == (first is not None)


def test_new_items_are_named_with_those_who_would_get_them(tmp_path):
    run = make_run(tmp_path, ["a"])
    assert "Who would get" not in render(run)
    user = {"user_id": "u1", "history": ["i7", "i8"], "earlier": 3, "rank": 1200}
    item = {"item_id": "<i9>", "domain": "a", "candidates": 40000, "users": [user]}
    (run / "new_items.json").write_text(json.dumps([item, item | {"users": []}]))
    titles = {"<i9>": "A <b>knife</b>", "i7": "A board"}
    source = write_report(run, titles).read_text(encoding="utf-8")
    assert "Who would get 2 of the items" in source and "<b>knife" not in source
    text = " ".join(source.split())
    for shown in ("A &lt;b&gt;knife", "among 40,000 candidates", "<li>A board</li>", "<li>i8</li>"):
        assert shown in text
    assert "place 1,200 for user u1, after 5 known items" in text
