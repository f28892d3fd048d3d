"""Every item of a sequence is a target: what its slot says may not follow from it or later ones."""

import numpy as np
import pytest

from tests.support.published import next_of_domain, representations, tiny
from tf_syncrec.models.cross_domain.abxi import ABXI
from tf_syncrec.models.cross_domain.pi_net import PiNet
from tf_syncrec.models.cross_domain.two_domains.c2dsr import C2DSR
from tf_syncrec.models.cross_domain.two_domains.man import MAN
from tf_syncrec.models.cross_domain.two_domains.mifn import MIFN
from tf_syncrec.models.cross_domain.two_domains.tri_cdr import TriCDR

RELATED = np.random.default_rng(0).integers(1, 13, (13, 3, 2))
MERGED = np.array([[1, 2], [1, 7], [2, 7], [7, 1], [7, 10], [7, 12], [12, 7]])
NETWORKS = {
    "abxi": lambda: tiny(ABXI),
    "pi_net": lambda: tiny(PiNet, members=2),
    "c2dsr": lambda: tiny(C2DSR, edges=(MERGED, MERGED[:1]), blocks=1),
    "man": lambda: tiny(MAN, blocks=1, groups=3),
    "mifn": lambda: tiny(MIFN, related=RELATED),
    "tri_cdr": lambda: tiny(TriCDR, blocks=1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_slot_knows_its_target_or_what_comes_later(name, make_items):
    model = NETWORKS[name]()
    items = make_items([6, 4])
    before = representations(model, items)
    for slot in (5, 3):
        other = items.copy()
        other[:, slot] = next_of_domain(items[:, slot])
        after = representations(model, other)
        for one, two in zip(before, after, strict=True):
            np.testing.assert_array_equal(one[:, : slot + 1], two[:, : slot + 1])
        if slot == 3:  # what comes next knows of it
            assert (
                max(np.abs(a - b)[:, 4:].max() for a, b in zip(before, after, strict=True)) > 1e-3
            )


PACKED = ("abxi", "c2dsr", "man", "tri_cdr")
"""Those that train on rows of several sequences."""


@pytest.mark.parametrize("name", PACKED)
def test_sequences_of_a_row_do_not_know_of_each_other(name):
    """What either sequence says is the same whatever the other one has had."""
    model = NETWORKS[name]()
    assert model.batch_layout == "packed"
    items = np.array([[3, 7, 1, 10, 2, 8], [0, 9, 4, 11, 6, 5]], np.int32)
    segments = np.array([[0, 0, 0, 1, 1, 1], [-1, 2, 2, 2, 2, 2]], np.int32)
    before = representations(model, items, segments)
    for own, others in ((slice(0, 3), slice(3, 6)), (slice(3, 6), slice(0, 3))):
        other = items.copy()
        other[0, others] = next_of_domain(items[0, others])
        after = representations(model, other, segments)
        for one, two in zip(before, after, strict=True):
            np.testing.assert_array_equal(one[0, own], two[0, own])
        assert max(np.abs(a - b)[0].max() for a, b in zip(before, after, strict=True)) > 1e-3
