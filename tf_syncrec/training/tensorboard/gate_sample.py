"""How much each expert counts in each domain, on the same few users every time."""

from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import first_users
from tf_syncrec.models.base import MultiDomainModel

USERS = 1024
"""Users of the sample in all: a forward pass of the gates alone, so nothing beside an epoch."""
USERS_PER_DOMAIN = 64


class GateSample:
    """Some validation users of each domain, the first of each, with what they did last.

    Args:
        batches: of `data.batches.evaluation_batches`, each of one domain.
        catalogue: items and domains.
        window: T, items of a history that count.
    """

    def __init__(self, batches: tf.data.Dataset, catalogue: Catalogue, window: int):
        self._names = catalogue.domains
        wanted = max(1, min(USERS_PER_DOMAIN, USERS // catalogue.num_domains))
        rows, domains = [], []
        for domain, batch in first_users(batches, np.full(catalogue.num_domains, wanted)):
            items = batch["items"].numpy()[:, -window:]
            rows += list(np.pad(items, [[0, 0], [window - items.shape[1], 0]]))
            domains += [domain] * len(items)
        self._items = np.array(rows, np.int32).reshape(-1, window)
        self._domains = np.array(domains, np.int32)

    def weights(self, model: MultiDomainModel) -> dict[str, Any] | None:
        """Means over the users of each domain that has some.

        Returns:
            `{"experts": names, "domains": {domain: {"cross": g, "single": g}}}`, each g a weight
            an expert; they sum to 1. None for a model without such gates.
        """
        found = model.gate_weights(tf.constant(self._items), tf.constant(self._domains[:, None]))
        if found is None:
            return None
        cross, single = found[0].numpy(), found[1].numpy()[:, 0]
        return {
            "experts": model.expert_names,
            "domains": {
                self._names[d]: {
                    "cross": cross[self._domains == d].mean(axis=0).tolist(),
                    "single": single[self._domains == d].mean(axis=0).tolist(),
                }
                for d in np.unique(self._domains)
            },
        }
