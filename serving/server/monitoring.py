"""What the local server tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0


class Metrics:
    """Counts and times of one server."""

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
        self.served = Gauge(
            "syncrec_version_served",
            "Versions that are served.",
            ["version"],
            registry=self.registry,
        )
