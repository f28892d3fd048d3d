"""Where a cell lives says which domain it is of, and no two live together."""

import hashlib

from tf_syncrec.comparison.cells import Cell
from tf_syncrec.comparison.names import parse_name

NAMES = ["Home & Kitchen", "Home / Kitchen", "música", "..", "", "a" * 300, "A" * 300, "$a|b c$"]


def cell(domain):
    return Cell(parse_name("sasrec_single"), 0, domain)


def test_the_domain_can_be_read_and_no_two_share_a_folder(tmp_path):
    folders = [cell(name).directory(tmp_path) for name in NAMES]
    assert len({str(folder).lower() for folder in folders}) == len(NAMES)
    assert folders[0].name.startswith("Home_Kitchen-") and folders[2].name.startswith("música-")
    for folder in folders:
        assert folder.resolve().parent == folders[0].parent and len(folder.name) < 50
        folder.mkdir(parents=True)


def test_a_cell_of_before_is_found_where_it_is(tmp_path):
    folder = cell("books").directory(tmp_path)
    before = folder.with_name("domain-" + hashlib.sha256(b"books").hexdigest()[:16])
    before.mkdir(parents=True)
    assert cell("books").directory(tmp_path) == before
