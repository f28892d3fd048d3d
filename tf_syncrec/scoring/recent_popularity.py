"""What has been popular lately: training interactions that count less the older they are."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import USERS_AT_ONCE
from tf_syncrec.evaluation.full_ranking import Batches, PopularityScorer
from tf_syncrec.evaluation.trials import rank_trials
from tf_syncrec.scoring.choices import best_of_domains, listed

HALF_LIVES = (np.inf, 1 / 2, 1 / 8, 1 / 32, 1 / 128, 1 / 512, 1 / 2048)
"""What is tried, as parts of the training interactions. Not as times: a log's unit of time is not
known, and a shop that grows has most of its interactions late. The first forgets nothing."""


def decayed_counts(prepared: Sequences) -> np.ndarray:
    """Training interactions of each item, `[HALF_LIVES, items]` float64.

    One counts 2^-h, if h half-lives of interactions were later. Looks at training rows alone, so
    that under `global_time` all of it was known before the first target.

    Args:
        prepared: dataset with a `train` split that has timestamps.
    """
    rows = prepared.as_dataset("train").map(lambda row: (row["items"], row["timestamps"]))
    parts = [
        (items.flat_values.numpy(), times.flat_values.numpy())
        for items, times in rows.ragged_batch(USERS_AT_ONCE)
    ]
    items, times = (np.concatenate(part) for part in zip(*parts, strict=True))
    del parts  # of a large log it is gigabytes
    later = len(times) - np.searchsorted(np.sort(times), times, side="right")
    ages, number = later / max(len(times), 1), prepared.catalogue.num_items
    del times, later
    items -= 1
    return np.stack([np.bincount(items, np.exp2(-ages / life), number) for life in HALF_LIVES])


def fit_recent_popularity(
    prepared: Sequences, validation: Batches, report: Callable[[str], None] = lambda line: None
) -> PopularityScorer:
    """Ranks by `decayed_counts`, with the half-life that is best on validation in each domain.

    Args:
        prepared: the dataset.
        validation: `data.batches.evaluation_batches` of its validation split.
        report: told what was chosen.
    """
    counts, catalogue = decayed_counts(prepared), prepared.catalogue
    of_ids = counts.astype(np.float32)

    def scores(rows, items, offset, size):
        for trial, each in enumerate(of_ids[:, offset - 1 : offset - 1 + size]):
            yield trial, tf.tile(each[None], [len(items), 1])

    found = rank_trials(
        validation, catalogue, len(HALF_LIVES), lambda batch: batch["target"], scores
    )
    chosen = best_of_domains(found.gains, found.domains, catalogue.num_domains)
    half_lives = [HALF_LIVES[c] for c in chosen]
    shown = listed(catalogue.domains, half_lives)
    report(f"Half-life of popularity, as a share of the training interactions: {shown}")
    return PopularityScorer(counts[chosen[catalogue.item_domains], np.arange(catalogue.num_items)])
