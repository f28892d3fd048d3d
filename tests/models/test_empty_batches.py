"""A replica may have no rows at the end of an epoch: their targets cost nothing."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_no_look_ahead import NETWORKS
from tests.support.published import tiny
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.models.syncrec import SyNCRec

NETWORKS = NETWORKS | {
    "sasrec": lambda: tiny(SASRec, blocks=1),
    "syncrec": lambda: tiny(SyNCRec, blocks=1, experts=2, cross_experts=1),
}


@pytest.mark.parametrize("shape", [(0, 7), (2, 7)], ids=["no_rows", "padding_alone"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_has_no_targets_costs_nothing(name, shape):
    losses = NETWORKS[name]().batch_losses(tf.zeros(shape, tf.int32))
    assert all(np.isfinite(each).all() for each in losses)
    if name == "man":  # it has a loss of weights alone
        losses = losses._replace(total=losses.total - losses.disentangling)
    assert float(losses.total) == 0.0
