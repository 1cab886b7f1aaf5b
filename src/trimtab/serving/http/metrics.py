"""What /metrics shows: requests as they are answered here, and how the service stands when it is asked.

A registry of its own, so that two servers in one process do not count together. Labels have few values: routes as
they are declared, statuses, adapters that are there.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.serving.service import Service

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counters of one server."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("http_requests", "Requests answered.", "route", "status")
        self.seconds = self._spread("http_request", "From the head of a request to the last byte of its answer.")
        self.first = self._spread("http_first_byte", "From the head of a request to the head of its answer.")
        self.in_flight = Gauge(
            "trimtab_http_in_flight", "Requests that are being answered.", registry=self._registry
        )
        self.errors = self._counter("http_errors", "Requests refused or failed.", "code")
        self.by_model = self._counter("model_requests", "Requests of an adapter or the base.", "model")
        self.inputs = self._counter("model_inputs", "Texts, pairs or conversations asked.", "model")
        self.read = self._counter("prompt_tokens", "Tokens of prompts that were read.", "model")
        self.written = self._counter("written_tokens", "Tokens that were written.", "model")
        self._registry.register(_OfService(service))
        ProcessCollector(registry=self._registry)

    def forget(self, model: str) -> None:
        """Let go what was counted of an adapter that answers no more."""
        for counter in (self.by_model, self.inputs, self.read, self.written):
            counter.remove_by_labels({"model": model})

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"trimtab_{name}", text, labels, registry=self._registry)

    def _spread(self, name: str, text: str) -> Histogram:
        return Histogram(f"trimtab_{name}_seconds", text, ("route",), buckets=_SECONDS, registry=self._registry)


class _OfService(Collector):
    """Facts of the service, read when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        facts = self._service.facts
        yield from (
            CounterMetricFamily(f"trimtab_service_{name}", text, value=getattr(facts, name))
            for name, text in _COUNTED.items()
        )
        yield from (
            GaugeMetricFamily(f"trimtab_service_{name}", text, value=getattr(facts, name))
            for name, text in _GAUGED.items()
        )
        adapters = GaugeMetricFamily("trimtab_adapters", "Adapters by state.", labels=("state",))
        states = [one.state for one in self._service.adapters]
        for state in ("registered", "loading", "loaded"):
            adapters.add_metric((state,), states.count(state))
        yield adapters


_COUNTED = {
    "requests": "Requests taken on.",
    "rows": "Inputs answered.",
    "passes": "Batches run.",
    "tokens": "Tokens written.",
    "refused": "Requests refused because the queue was full.",
    "expired": "Requests given up at their deadline.",
    "loads": "Adapters loaded.",
    "evictions": "Adapters evicted.",
}
_GAUGED = {
    "queued": "Requests that wait or run.",
    "base_bytes": "Memory of the base.",
    "adapter_bytes": "Memory of loaded adapters.",
    "cache_bytes": "Memory of keys and values.",
}
