"""What a score has besides what the network learned: votes, coming back, trend."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_syncrec.layers import (
    ItemNeighbours,
    PopularityTrend,
    RepeatConsumption,
    UserNeighbours,
    ViewWeights,
)
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.layers.score_terms.popularity_trend import BEHIND
from tf_syncrec.models.told_times import ToldTimes
from tf_syncrec.utils.variables import as_array, fill

VOTING = 20
"""The latest interactions that are compared and whose neighbours have votes: with their decays, the
ones before weigh next to nothing."""


class ScoreTerms(ToldTimes):
    """The parts of a `MultiDomainModel`'s score that are fitted when training has ended."""

    view_weights: ViewWeights | None = None
    """Of a model whose score is a weighted sum of two, how much each counts in each domain."""

    mixture: DomainMixture

    def _make_terms(
        self,
        neighbours: int,
        user_neighbours: int,
        user_histories: Sequence[int],
        likeness: int,
        repeat_consumption: bool,
        trend: bool,
        new_items: int,
        unknown_items: bool,
    ) -> None:
        """Arguments are those of `MultiDomainModel`."""
        counts = {
            "neighbours": neighbours,
            "user_neighbours": user_neighbours,
            "likeness": likeness,
            "new_items": new_items,
        }
        for name, count in counts.items():
            if count < 0:
                raise ValueError(f"{name} must be 0 or more. Received: {count}")
        latest = min(VOTING, self.window)
        self.neighbours, self.likeness, self.new_items = (
            ItemNeighbours(self.num_items, count, latest) if count else None
            for count in (neighbours, likeness, new_items)
        )
        self.user_neighbours = (
            UserNeighbours(self.num_items, user_neighbours, latest, *user_histories)
            if user_neighbours
            else None
        )
        self.repeats = RepeatConsumption(self.domain_sizes) if repeat_consumption else None
        gaining = trend or new_items or unknown_items
        self.trend = PopularityTrend(self.num_items) if gaining else None
        self.trending, self.unknown_items = trend, unknown_items

    def _terms_config(self) -> dict[str, Any]:
        """The arguments of `_make_terms`."""
        return {
            "neighbours": self.neighbours.count if self.neighbours else 0,
            "user_neighbours": self.user_neighbours.count if self.user_neighbours else 0,
            "user_histories": [self.user_neighbours.users, self.user_neighbours.interactions]
            if self.user_neighbours
            else [0, 0],
            "likeness": self.likeness.count if self.likeness else 0,
            "repeat_consumption": self.repeats is not None,
            "trend": self.trending,
            "new_items": self.new_items.count if self.new_items else 0,
            "unknown_items": self.unknown_items,
        }

    def timed(self) -> bool:
        """Whether times have a say in its score at all."""
        return bool(self.time_inputs) or (self.repeats is not None and bool(self.repeats.timed()))

    @property
    def voters(self) -> tuple[ItemNeighbours | UserNeighbours | RepeatConsumption, ...]:
        """What says more of items than the network does, by the history, once it is fitted."""
        parts = (
            self.user_neighbours,
            self.neighbours,
            self.likeness,
            self.new_items,
            self.repeats,
        )
        return tuple(part for part in parts if part is not None)

    @property
    def terms(
        self,
    ) -> tuple[ItemNeighbours | UserNeighbours | RepeatConsumption | PopularityTrend, ...]:
        """All that is added to the network's score, which is fitted after training."""
        return self.voters if self.trend is None else (*self.voters, self.trend)

    def put_unknown_behind(self) -> None:
        """Lets items that nobody had in training, and of which nothing is known, rank behind all.

        What the network has of them is where they began, which says nothing.
        """
        if self.trend is None:
            return
        sizes = zip(self.domain_sizes, self.trained_sizes, strict=True)
        unknown = [np.arange(size) >= trained for size, trained in sizes]
        items = 1 + np.flatnonzero(np.concatenate(unknown)).astype(np.int32)
        if self.embedding.attributes is not None:
            items = items[~self.embedding.attributes.known(items).numpy()]
        if len(items):
            gain = np.array(as_array(self.trend.gain))
            gain[items] = BEHIND
            fill(self.trend.gain, gain)

    @property
    def fitted_parts(self) -> tuple[keras.layers.Layer, ...]:
        """Parts of the score that are fitted when training has ended, anew each time."""
        weighed = () if self.view_weights is None else (self.view_weights,)
        return (*self.terms, *weighed, self.mixture)

    @property
    def item_lists(self) -> list[keras.Variable]:
        """Weights that name items by their ids, which others may get where items are added."""
        of_items = [] if self.neighbours is None else [self.neighbours.others]
        of_users = [] if self.user_neighbours is None else [self.user_neighbours.items]
        return of_items + of_users
