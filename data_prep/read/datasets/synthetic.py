"""Made-up logs, by their kind: `data.synthetic.kind`."""

from __future__ import annotations

import pyarrow as pa

from data_prep.read.datasets import shared_taste, telco
from data_prep.settings import SyntheticConfig

_KINDS = {"shared_taste": shared_taste.generate, "telco": telco.generate}


def generate(settings: SyntheticConfig | None = None) -> pa.Table:
    """Generates interactions.

    Args:
      settings: which kind, how much, and the seed: equal settings give equal tables. By default
        the defaults.

    Returns:
      A table with `user_id, item_id, domain, timestamp` (seconds), a user's rows together and in
      the order of time.
    """
    chosen = settings or SyntheticConfig()
    return _KINDS[chosen.kind](chosen)
