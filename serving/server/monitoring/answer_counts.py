"""Counts of what the answers said: by domain, and of the histories that were asked with.

Counts, and no shares: of two scrapes Prometheus makes the share of whatever time one looks at.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

EVERY_DOMAIN = "*"
"""The label of answers that were asked of every domain together; an empty one would be none."""

BOUNDS = (
    *(-30.0, -25.0, -20.0, -17.5, -15.0, -12.5, -10.0, -9.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0),
    *(-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.5, 15.0, 17.5, 20.0),
    *(25.0, 30.0),
)
"""Upper bounds of the histogram of scores: logits of a domain, log-probabilities of all of them."""

_BOUNDS = np.array(BOUNDS, np.float32)
_ANSWERS, _FALLBACK, _EMPTY, _SCORES = range(4)  # columns of what is counted; from the last on, one
_COLUMNS = _SCORES + len(BOUNDS) + 1  # for each bucket


class AnswerCounts(Collector):
    """Counts answers; threads may add to it at a time.

    A request costs a few calls of numpy, however many rows it has: a counter of prometheus_client a
    row and domain would cost more than some answers do.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._rows: dict[bytes, int] = {}
        self._counts = np.zeros([0, _COLUMNS], np.int64)
        self._asked = self._known = 0  # items of histories

    def know(self, domains: Sequence[bytes]) -> None:
        """Makes room for domains, so that they are told from the start, as 0."""
        with self._lock:
            for domain in (*domains, b"") if domains else ():
                self._rows.setdefault(domain, len(self._rows))
            new = len(self._rows) - len(self._counts)
            self._counts = np.concatenate([self._counts, np.zeros([new, _COLUMNS], np.int64)])

    def add(
        self,
        domains: Sequence[bytes],
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        """Counts the answers to one request, by whatever signature; of other models, nothing.

        Args:
            domains: those that the model knows, which are all that can be answered.
            inputs: what it was asked, `{name: array}`.
            outputs: what it said.
        """
        if not all(domain in self._rows for domain in domains):
            self.know(domains)
        if "items" in inputs and "known_items" in outputs:
            asked = int(np.count_nonzero(inputs["items"] != b""))
            known = int(outputs["known_items"].sum())
            with self._lock:
                self._asked += asked
                self._known += known
        if domains and outputs.keys() >= {"items", "scores", "domains", "fallback"}:
            self._add_answers(inputs, outputs)

    def _add_answers(self, inputs, outputs):
        items, scores = outputs["items"][..., 0], outputs["scores"][..., 0]  # the best of each
        # A row is asked in one domain, or answered in each.
        names = outputs["domains"] if items.ndim == 2 else inputs["domain"]
        rows = np.array([self._rows[name] for name in names.ravel()])
        fallback = np.repeat(outputs["fallback"] > 0, items.size // len(items))
        found = (items != b"").ravel()
        # Of what is popular, scores are counts.
        scored = found & ~fallback
        buckets = _SCORES + np.searchsorted(_BOUNDS, scores.ravel()[scored])
        first = rows * _COLUMNS
        cells = first + _ANSWERS, first[fallback] + _FALLBACK, first[~found] + _EMPTY
        more = np.bincount(np.concatenate([*cells, first[scored] + buckets]))
        with self._lock:
            self._counts.ravel()[: len(more)] += more

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads."""
        with self._lock:
            rows, counts = dict(self._rows), self._counts.copy()
            asked, known = self._asked, self._known
        labels = {
            row: [name.decode(errors="replace") or EVERY_DOMAIN] for name, row in rows.items()
        }
        for column, name, what in (
            (_ANSWERS, "syncrec_answers", "Recommendation lists that were requested, by domain."),
            (_FALLBACK, "syncrec_fallback_answers", "Of these, lists of the popularity fallback."),
            (_EMPTY, "syncrec_empty_answers", "Of these, lists without an item."),
        ):
            family = CounterMetricFamily(name, what, labels=["domain"])
            for row, label in labels.items():
                family.add_metric(label, counts[row, column])
            yield family
        for name, what, value in (
            ("syncrec_history_items", "History items in requests.", asked),
            ("syncrec_known_history_items", "Of these, those that the model knows.", known),
        ):
            yield CounterMetricFamily(name, what, value)
        scores = HistogramMetricFamily(
            "syncrec_best_score",
            "Score of the first item of a list, without the popularity fallback.",
            labels=["domain"],
        )
        bounds = [*map(str, BOUNDS), "+Inf"]
        for row, label in labels.items():
            below = np.cumsum(counts[row, _SCORES:]).tolist()
            # No sum: with scores below 0 it would fall, and Prometheus take it for a restart.
            scores.add_metric(label, list(zip(bounds, below, strict=True)), None)
        yield scores
