"""What the server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One server's counters; not Prometheus's global ones, so that there can be two of them in a process."""

    def __init__(self):
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        # fmt: off
        self.requests = Counter("kerascnn_requests", "Requests that were answered, or whose clients went away (499).", ["endpoint", "code"], registry=registry)  # noqa: E501
        self.seconds = Histogram("kerascnn_request_seconds", "From a request's head to the end of its answer.", ["endpoint"], buckets=SECONDS, registry=registry)  # noqa: E501
        self.batch = Histogram("kerascnn_batch_images", "Images that were computed together.", buckets=ROWS, registry=registry)  # noqa: E501
        self.batch_seconds = Histogram("kerascnn_batch_seconds", "Computing a batch.", buckets=SECONDS, registry=registry)  # noqa: E501
        self.queue = Gauge("kerascnn_queue_images", "Images that wait.", registry=registry)
        self.held = Gauge("kerascnn_held_bytes", "Bodies of requests in memory.", registry=registry)
        self.version = Gauge("kerascnn_version", "The version that answers.", registry=registry)
        self.loads = Counter("kerascnn_loads", "Versions that were loaded, or failed to.", ["result"], registry=registry)  # noqa: E501
        # fmt: on
        for result in ("ok", "failed"):
            self.loads.labels(result)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)
