"""What the documents say of the tree is so."""

import re

import pytest

from tests.documents import PAGES, ROOT

PACKAGES = ("data_prep", "tf_syncrec", "serving")


def test_the_map_names_every_module_and_no_other():
    named: dict[str, list[str]] = {package: [] for package in PACKAGES}
    package = ""
    for line in (ROOT / "docs/architecture.md").read_text().splitlines():
        if line.startswith("## "):
            package = re.split(r"\W", line[3:])[0]
        elif line.startswith("| `"):
            named[package] += re.findall(r"`([\w/]+\.py)`", line.split("|")[1])
    for package, files in named.items():
        folder = ROOT / package
        there = [str(path.relative_to(folder)) for path in folder.rglob("*.py")]
        assert sorted(files) == sorted(name for name in there if "__init__" not in name)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"https?:|mailto:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
