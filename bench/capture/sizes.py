"""Bytes on disk for one captured inference of each example model."""

from __future__ import annotations

from pathlib import Path

from bench.capture.cost import load
from bench.capture.models import MODELS, train, write_graph
from bench.capture.serving import Wanted, serving
from bench.capture.stored import await_packed, closed_bytes
from bench.report import Report

ROWS = 20_000
BAR_BYTES = {"nyc_taxi": 60.0, "london_taxi": None, "digits": None}
STORE_BYTES = 16 * 1024 * 1024
"""A segment is an eighth of that."""
MOST_LOADS = 12


def measure_sizes(scratch: Path, report: Report) -> None:
    """Rows as the model's own pipeline makes them, one a request, until a segment is closed and packed."""
    for name in MODELS:
        trained = train(name, ROWS)
        bodies = scratch / f"bodies-{name}"
        posted = [trained.body(number) for number in range(len(trained.rows))]
        bodies.write_bytes(b"\n".join(posted) + b"\n")
        store = scratch / f"sizes-{name}"
        store.mkdir()
        model = write_graph(trained, scratch / f"sizes-model-{name}")
        with serving(model, Wanted(captures=store, store_bytes=STORE_BYTES)) as server:
            for _ in range(MOST_LOADS):
                load(server, bodies, 16, 2)
                if closed_bytes(store)[1]:
                    break
            await_packed(store)
        size, count = closed_bytes(store)
        report.add(f"{name}: a request's body", sum(map(len, posted)) / len(posted), "B")
        report.add(f"{name}: records in closed segments", count, "")
        if count:
            report.add(f"{name}: bytes a record in them", size / count, "B", goal=BAR_BYTES[name])
