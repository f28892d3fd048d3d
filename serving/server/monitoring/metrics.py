"""What the local server tells Prometheus."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.server.monitoring.answer_counts import AnswerCounts

SECONDS = 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0


class Metrics:
    """Counts and times of one server.

    Attributes:
        registry: all of them.
        answers: what the answers said.
    """

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "syncrec_requests", "Requests answered.", ["status"], registry=self.registry
        )
        self.seconds = Histogram(
            "syncrec_request_seconds",
            "From a request's first byte to its answer.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.active = Gauge(
            "syncrec_requests_active", "Requests being answered.", registry=self.registry
        )
        self.loads = Counter(
            "syncrec_version_loads", "Versions loaded.", ["result"], registry=self.registry
        )
        for result in ("ok", "failed"):  # the first failure is then one more, and not a beginning
            self.loads.labels(result=result)
        self._served = Gauge(
            "syncrec_version_served",
            "Versions that are served.",
            ["version"],
            registry=self.registry,
        )
        self._exported = Gauge(
            "syncrec_version_exported_timestamp_seconds",
            "When versions that are served were exported, in seconds since 1970.",
            ["version"],
            registry=self.registry,
        )
        self._labels = Gauge(
            "syncrec_version_label",
            "Labels of versions, served or not.",
            ["label", "version"],
            registry=self.registry,
        )
        self._told: set[tuple[Gauge, tuple]] = set()
        self.answers = AnswerCounts()
        self.registry.register(self.answers)

    def tell_versions(self, exported: Mapping[int, float], labels: Mapping[str, int]) -> None:
        """Tells which versions there are, and no longer of those that have gone.

        Args:
            exported: when each that is served was exported, in seconds since 1970.
            labels: `{label: version}`.
        """
        now: dict[tuple[Gauge, tuple], float] = {}
        for version, seconds in exported.items():
            now[self._served, (version,)] = 1
            now[self._exported, (version,)] = seconds
        for label, version in labels.items():
            now[self._labels, (label, version)] = 1
        for (gauge, values), value in now.items():
            gauge.labels(*values).set(value)
        for gauge, values in self._told - now.keys():
            gauge.remove(*values)
        self._told = set(now)
