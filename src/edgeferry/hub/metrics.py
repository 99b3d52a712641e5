"""What `/metrics` tells, in Prometheus' text format 0.0.4. Nothing is told by device: labels stay few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgeferry.hub.events import DesiredChanged, Event

# Else each series has a twin with the time it began.
disable_created_metrics()  # type: ignore[no-untyped-call]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_CONNACK_ACCEPTED = "0"


class Metrics:
    """Counts what the hub does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "edgeferry_hub_request_seconds",
            "Service requests and how long they took",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._connects = self._counter("connects", "MQTT connects by the code of their answer", ("code",))
        self._telemetry = self._counter("telemetry", "Messages that ended connections had sent")
        self._pushes = self._counter(
            "pushes", "Changes of desired properties announced to modules and devices"
        )
        self._assignments = Histogram(
            "edgeferry_hub_assignment_seconds",
            "Changes of deployments, until every device that they concern was assigned",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._assigned = self._counter("devices_assigned", "Devices assigned after changes of deployments")
        self._refused = self._counter(
            "assignments_refused", "Devices left as they were, by contradicting layers"
        )

    def _counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"edgeferry_hub_{name}", meaning, labels, registry=self.registry)

    def tell(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """`edgeferry_hub_NAME` is what `value` says when it is asked."""
        Gauge(f"edgeferry_hub_{name}", meaning, registry=self.registry).set_function(value)

    def note(self, event: str, facts: dict[str, Any]) -> None:
        """Counts what goes into the log."""
        match event:
            case "request":
                route = facts.get("route", "other")
                method = facts["method"] if "route" in facts else ""  # else clients could invent labels
                told = self._requests.labels(method, route, facts["status"])
                told.observe(facts.get("ms", 0) / 1000)
            case "connected":
                self._connects.labels(_CONNACK_ACCEPTED).inc()
            case "connection refused":
                self._connects.labels(str(facts.get("code", "protocol"))).inc()
            case "disconnected":
                self._telemetry.inc(facts.get("telemetry", 0))
            case "assigned":
                self._assigned.inc(facts["devices"])
                self._assignments.observe(facts["ms"] / 1000)
            case "assignment refused":
                self._refused.inc()

    def announced(self, events: Sequence[Event]) -> None:
        """Counts what clients are told."""
        self._pushes.inc(sum(isinstance(event, DesiredChanged) for event in events))

    def route(self) -> Route:
        """GET /metrics."""
        return Route("/metrics", self._show, methods=["GET"])

    async def _show(self, _request: Request) -> Response:
        return Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})
