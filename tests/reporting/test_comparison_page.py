"""The report of a comparison: the best is bold, odd names break nothing, progress is told."""

import json
import re

import matplotlib.image
import numpy as np

from tests.support.comparing import METRICS, ODD, tables_of
from tests.support.pages import Page
from tf_syncrec.reporting.comparison_report import comparison_page
from tf_syncrec.reporting.pictures.charts import model_dots
from tf_syncrec.reporting.terminal_tables import comparison_table


def test_best_is_bold_and_odd_names_break_no_table(compared):
    markdown = (compared.root / "comparison.md").read_text()
    tables = tables_of(markdown)
    for table in tables:
        assert {len(row) for row in table} == {len(table[0])}, table
    assert any(table[0] == ["", *compared.comparison["domains"]] for table in tables)
    models = compared.comparison["models"]
    checked = 0
    for table in tables:
        if not table[0][0].endswith("users") or table[0][1] != "seeds":
            continue
        # The first of them is overall, the others are the domains in order.
        domain = [None, *compared.comparison["domains"]][checked]
        tests = {
            name: model["test"]["overall"] if domain is None else model["test"]["domains"][domain]
            for name, model in models.items()
        }
        for column, metric in enumerate(METRICS, start=2):
            assert table[0][column] == metric.upper()
            best = max(test[metric]["mean"] for test in tests.values())
            for name, seeds, *texts in table[2:]:
                value, text = tests[name][metric], texts[column - 2]
                assert seeds == ("-" if value["std"] is None and name in SCORERS else "2")
                shown = f"{value['mean']:.4f}"
                shown += f" ± {value['std']:.4f}" if value["std"] is not None else ""
                is_best = value["mean"] == best > 0
                assert text == (f"**{shown}**" if is_best else shown)
        checked += 1
    assert checked == 1 + len(compared.comparison["domains"])


def test_the_terminal_shows_every_model_and_leaves_out_domains_where_there_is_no_room(compared):
    models, domains = compared.comparison["models"], compared.comparison["domains"]
    shown = "\n".join(compared.said)
    narrow = comparison_table(compared.comparison, 60).splitlines()
    wide = comparison_table(compared.comparison).splitlines()
    assert "\n".join(wide) in shown
    for lines, expected in ((narrow, 3), (wide, 3 + len(domains))):
        rows = {cells[0]: cells[1:] for cells in (re.split(r"  +", line) for line in lines[2:])}
        assert set(rows) == set(models)
        for name, cells in rows.items():
            assert len(cells) + 1 == expected
            overall = models[name]["test"]["overall"]["ndcg@10"]
            assert cells[0].startswith(f"{overall['mean']:.4f}")
            assert (" ± " in cells[0]) == (len(models[name]["seeds"]) > 1)
    assert max(map(len, narrow)) <= 60 < len(wide[0])
    verdicts = compared.comparison["negative_transfer"]["bprmf_cross"]["domains"]
    for verdict in ("hurt", "helped"):
        found = [name for name, row in verdicts.items() if row["verdict"] == verdict]
        line = f"bprmf_cross, {verdict} by the other domains: {', '.join(found) or 'none'}"
        assert line in shown


SCORERS = ("popularity", "item_knn")


def test_pictures_are_written_and_named_in_the_report(compared):
    markdown = (compared.root / "comparison.md").read_text()
    for name in ("comparison.png", "negative_transfer-bprmf_cross.png"):
        assert f"({name})" in markdown
        picture = matplotlib.image.imread(compared.root / name)
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10
    assert not list(compared.root.rglob("*partial*"))


def test_progress_says_which_cell_of_how_many(compared):
    starts = [re.match(r"\[(\d+)/(\d+)\] (.*): done in \d+ s", line) for line in compared.said]
    done = [match.groups() for match in starts if match]
    assert [(int(i), int(n)) for i, n, _ in done] == [(i, 10) for i in range(1, 11)]
    titles = [title for _, _, title in done]
    assert titles[:3] == ["popularity", "item_knn", "bprmf_cross, seed 3"]
    assert f"bprmf_single, seed 1, {ODD}" in titles
    assert any("bprmf_cross, seed 1: epoch 1/1  loss" in line for line in compared.said)
    assert compared.said[-6:] == [
        str(compared.root / name)
        for name in (
            *("comparison.json", "comparison.md", "report.html", "comparison.png"),
            *("negative_transfer-bprmf_cross.png", "ranks.parquet"),
        )
    ]


def test_the_page_has_the_tables_and_loads_nothing(compared):
    source = (compared.root / "report.html").read_text()
    page = Page(source)
    text = {" ".join(part.split()) for part in page.text}
    for name, model in compared.comparison["models"].items():
        assert name in text
        assert f"{model['test']['overall']['ndcg@10']['mean']:.4f}" in source
    assert ODD in text and "Data card" in text
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("script") == 1  # sorts tables, and is in the page
    links = [value for name, value in page.attributes if name in ("href", "src")]
    assert links and all(link.startswith("#") for link in links)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"@import|url\((?!#)|\\\$|fetch|import ", source)
    charts = page.tags.count("figure")
    assert charts == 2 + 2  # models, alone or together; losses and validation of BPRMF
    assert "tf_syncrec.compare" in source and "model.window=6" in source


def test_tables_of_the_page_are_those_of_the_markdown(compared):
    """The same text in every cell; what is bold here is strong there, a verdict has its colour."""
    page = Page((compared.root / "report.html").read_text())
    headings = [[text for text, _ in table[0]] for table in page.tables]
    kinds = {kind for table in page.tables for row in table for _, kind in row}
    here = tables_of((compared.root / "comparison.md").read_text())
    start, bold = headings.index(here[0][0]), 0
    for shown, table in zip(page.tables[start:], here, strict=False):
        lines = [table[0], *table[2:]]  # the second one aligns
        assert len(shown) == len(lines)
        for cells, texts in zip(shown, lines, strict=True):
            for (text, kind), expected in zip(cells, texts, strict=True):
                is_bold = expected.startswith("**")
                plain = expected.strip("*") if is_bold else expected
                assert " ".join(text.split()) == plain
                assert kind == ("strong" if is_bold else f"strong {plain}" if kind else "")
                bold += is_bold
                if " ± " in plain or " p " in plain:  # breaks before the interval and p alone
                    assert text.count(" ") == (2 if " p " in plain else 0), text
    assert bold > 20
    verdicts = compared.comparison["negative_transfer"]["bprmf_cross"]["domains"].values()
    found = {row["verdict"] for row in verdicts} & {"hurt", "helped"}
    assert {kind for kind in kinds if kind.startswith("strong ")} == {f"strong {v}" for v in found}


def test_names_bring_no_markup(compared):
    """Whatever a domain is called, a page has the same elements, but for the ticks of a chart."""
    hostile = "<script>alert(1)</script> [x](javascript:alert(1)) ![y](http://a/b.png) &lt; *i*"
    renamed = json.loads(json.dumps(compared.comparison).replace("plain", "DOMAIN"))
    named = json.loads(json.dumps(renamed).replace("DOMAIN", hostile))
    pages = [Page(comparison_page(each, {})) for each in (renamed, named)]
    drawn = {"g", "path", "text", "use"}  # a long name leaves less room for an axis
    elements, of_hostile = ([tag for tag in page.tags if tag not in drawn] for page in pages)
    assert elements == of_hostile and {"svg", "table"} < set(elements)
    assert pages[1].text.count(hostile) > 5  # as it is


def test_a_domain_may_be_called_overall():
    """Each panel of the picture has the numbers of its own place."""
    value = lambda mean: {"ndcg@10": {"mean": mean, "std": None}}  # noqa: E731
    figure = model_dots(
        {
            "domains": ["overall", "b"],
            "reference": "m",
            "models": {
                "m": {
                    "test": {
                        "overall": value(0.1),
                        "domains": {"overall": value(0.2), "b": value(0.3)},
                    }
                }
            },
        }
    )
    lines = [float(np.ravel(axes.lines[-1].get_xdata())[0]) for axes in figure.axes]
    dots = [float(np.ravel(axes.lines[0].get_xdata())[0]) for axes in figure.axes]
    assert lines == dots == [0.1, 0.2, 0.3]
