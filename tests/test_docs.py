"""What the documents say of the tree is so."""

import re

import pytest

from tests.support.documents import PAGES, ROOT
from tf_syncrec.config import reference, schema

PACKAGES = ("data_prep", "tf_syncrec", "serving")


def test_the_map_names_every_room_and_no_other():
    named = re.findall(
        r"^\| `([\w/]+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    there = [
        str(path.parent.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    ]
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_holds_at_most_a_dozen_files_and_says_what_it_is_for(package):
    for room in (ROOT / package).rglob("__init__.py"):
        files = [file.name for file in room.parent.glob("*.py") if file != room]
        assert len(files) <= 12, f"{room.parent}: {sorted(files)}"
        assert room.read_text().startswith('"""'), f"{room} says nothing"


def test_every_setting_is_explained_as_the_schema_has_it():
    assert (ROOT / "docs/settings.md").read_text() == reference()
    assert [name for name, facts in schema().items() if not facts.get("description")] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"https?:|mailto:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


FILES = [
    f"/{file.relative_to(ROOT)}"
    for folder in (*PACKAGES, "benchmarks", "docs", "examples", "tests")
    for file in (ROOT / folder).rglob("*.py")
]
NAMED = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells of what was


@pytest.mark.parametrize("page", NAMED, ids=[str(page.relative_to(ROOT)) for page in NAMED])
def test_files_and_modules_that_a_page_names_are_there(page):
    text = page.read_text()
    for name in re.findall(r"(?<![\w/.*])[\w/]+\.py\b", text):
        assert any(file.endswith(f"/{name}") for file in FILES), f"{page.name} names {name}"
    for name in re.findall(r"\b(?:tf_syncrec|data_prep|serving|benchmarks)(?:\.\w+)+", text):
        if not name.endswith((".py", ".md")):
            place, rest = ROOT, name.split(".")
            while rest and (place / rest[0]).is_dir():
                place /= rest.pop(0)
            file = place / "__init__.py"
            if rest and (place / f"{rest[0]}.py").exists():
                file = place / f"{rest.pop(0)}.py"
            assert not rest or re.search(rf"\b{rest[0]}\b", file.read_text()), (
                f"{page.name} names {name}, and {file} has no {rest[0]}"
            )
