"""What a model server counts, as Prometheus reads it (exposition formats, text 0.0.4)."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Latencies:
    """A histogram of how long answers took."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_MS) + 1)
        self._sum_ms = 0.0

    def add(self, latency_ms: float) -> None:
        """One more."""
        self._counts[bisect_left(_BOUNDS_MS, latency_ms)] += 1
        self._sum_ms += latency_ms

    def render(self, name: str, about: str) -> str:
        """Its lines, in seconds."""
        lines = [f"# HELP {name} {about}", f"# TYPE {name} histogram"]
        total = 0
        for bound, count in zip((*_BOUNDS_MS, None), self._counts, strict=True):
            total += count
            text = "+Inf" if bound is None else f"{bound / 1000:g}"
            lines.append(f'{name}_bucket{{le="{text}"}} {total}')
        return "\n".join([*lines, f"{name}_sum {self._sum_ms / 1000!r}", f"{name}_count {total}", ""])


def render_metric(
    name: str, about: str, values: float | Iterable[tuple[Mapping[str, str], float]], kind: str = ""
) -> str:
    """The lines of one metric: a value, or values by their labels. `kind`: counter for `…_total`, else gauge,
    unless told."""
    kind = kind or ("counter" if name.endswith("_total") else "gauge")
    pairs = [({}, values)] if isinstance(values, int | float) else list(values)
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_render_labels(labels)} {value + 0!r}" for labels, value in pairs]
    return "\n".join([*lines, ""])


def render_process() -> str:
    """What the process uses: the names that Prometheus' own clients use."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    return render_metric(
        "process_resident_memory_bytes", "Resident memory size in bytes.", resident
    ) + render_metric(
        "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", time.process_time()
    )


def _render_labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
