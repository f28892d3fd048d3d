"""The list of mutants is one of today's sources, and the page tells of all of it."""

import ast
import re

import pytest

from tests.mutants.run import PAGE, ROOT, mutants

LISTED = mutants()


def test_names_tell_them_apart():
    assert len({mutant.result_file for mutant in LISTED}) == len(LISTED) >= 60


@pytest.mark.parametrize("mutant", LISTED, ids=[mutant.name for mutant in LISTED])
def test_a_mutant_changes_one_place_of_a_source_that_is_there(mutant):
    source = (ROOT / mutant.file).read_text()
    assert source.count(mutant.text) == 1
    # Another program, and one: what does not compile would be noticed by anything.
    changed = source.replace(mutant.text, mutant.mutated)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("test", sorted({test for mutant in LISTED for test in mutant.tests}))
def test_its_tests_are_there(test):
    file, _, name = test.partition("::")
    source = (ROOT / file).read_text()
    assert f"def {name or 'test_'}" in source


def test_the_page_tells_of_all_and_nothing_survived():
    rows = re.findall(r"^\| (.+) \| `(\S+\.py)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert {(name, file) for name, file, _ in rows} == {(m.name, m.file) for m in LISTED}
    excused = {mutant.name for mutant in LISTED if mutant.excused}
    for name, _, by in rows:
        assert by.startswith("`") or (by == "excused" and name in excused)
