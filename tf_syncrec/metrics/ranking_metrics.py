"""HR, NDCG and MRR over all users and in each domain, as a Keras metric."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_syncrec.metrics.gains import METRICS, parse_metric


@keras.saving.register_keras_serializable("tf_syncrec")
class RankingMetrics(keras.metrics.Metric):
    """Means over users of what their ranks are worth, overall and by the domain of the target.

    Args:
        domains: names, in the order of their indices.
        metrics: `hr@k`, `ndcg@k` or `mrr`.

    Example:
        >>> metric = RankingMetrics(["books", "films"], ["hr@1"])
        >>> metric.update_state(ranks=[1, 5, 1], domains=[0, 0, 1])
        >>> {name: round(float(value), 3) for name, value in metric.result().items()}
        {'hr@1': 0.667, 'hr@1/books': 0.5, 'hr@1/films': 1.0}
    """

    def __init__(
        self, domains: Sequence[str], metrics: Sequence[str] = METRICS, name="ranking", **kwargs
    ):
        super().__init__(name=name, **kwargs)
        for metric in metrics:
            if metric != "mrr":
                parse_metric(metric)
        self.domains, self.metrics = tuple(domains), tuple(metrics)
        shape = len(self.domains), len(self.metrics)
        # float64, so that the mean over millions of users is what numpy makes of their ranks.
        self.sums = self.add_variable(shape, "zeros", "float64", name="sums")
        self.users = self.add_variable(shape[:1], "zeros", "float64", name="users")

    def update_state(self, ranks, domains):
        """Adds users.

        Args:
            ranks: `[users]`, 1 = best, `gains.MISS` for a miss.
            domains: `[users]` int32, of the targets.
        """
        ranks = tf.cast(ranks, tf.float64)
        gains = tf.stack([_gains(ranks, metric) for metric in self.metrics], axis=1)
        count = len(self.domains)
        self.sums.assign_add(tf.math.unsorted_segment_sum(gains, domains, count))
        ones = tf.ones_like(ranks)
        self.users.assign_add(tf.math.unsorted_segment_sum(ones, domains, count))

    def result(self) -> dict[str, Any]:
        """`{"ndcg@10": x, "ndcg@10/DOMAIN": x, ...}`, 0 without users."""
        sums, users = tf.convert_to_tensor(self.sums), tf.convert_to_tensor(self.users)
        overall = tf.math.divide_no_nan(tf.reduce_sum(sums, 0), tf.reduce_sum(users))
        by_domain = tf.math.divide_no_nan(sums, users[:, None])
        found = dict(zip(self.metrics, tf.unstack(overall), strict=True))
        for d, domain in enumerate(self.domains):
            for m, metric in enumerate(self.metrics):
                found[f"{metric}/{domain}"] = by_domain[d, m]
        return found

    def table(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """The same as `{"overall": R, "domains": {name: R}}`, `R = {"users", metric: x}`.

        Args:
            names: what domains are called here; None: as they are called.
        """
        result = {name: float(value) for name, value in self.result().items()}
        users = tf.convert_to_tensor(self.users).numpy().astype(int).tolist()

        def row(count, suffix=""):
            return {"users": count} | {m: result[m + suffix] for m in self.metrics}

        called = zip(names or self.domains, self.domains, users, strict=True)
        return {
            "overall": row(sum(users)),
            "domains": {name: row(count, f"/{domain}") for name, domain, count in called},
        }

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"domains": self.domains, "metrics": self.metrics}


def _gains(ranks, metric: str):
    """As `gains.user_gains`, in TensorFlow: `[users]` float64."""
    if metric == "mrr":
        return 1.0 / ranks
    kind, cut_off = parse_metric(metric)
    logarithm = tf.math.log(1.0 + ranks) / tf.math.log(tf.constant(2.0, tf.float64))
    gains = tf.ones_like(ranks) if kind == "hr" else 1.0 / logarithm
    return tf.where(ranks <= cut_off, gains, 0.0)
