"""What a model server counts, as Prometheus reads it (exposition formats, text 0.0.4)."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgeferry.domain.sketch import cut, edge_of, join_words, shrink
from edgeferry.wire.evidence_report import ERRORS, LATENCY, OUTPUTS, REQUESTS, STARTED

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
_BATCH = 512
"""So many numbers are counted at once."""
_MOST_NUMBERS = 16
"""An answer of more is counted in part, each time other rows of it: they are no independent witnesses."""
_MOST_SHOWN = 256
"""Bins of one histogram on the page."""
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


class Tally:
    """What users got: how many were answered and how many not, how soon, and which numbers. The companion's
    own questions are not among them."""

    def __init__(self) -> None:
        self._requests = self._errors = 0
        self._latencies: list[float] = []
        self._outputs: list[float] = []
        self._latency_words: Counter[int] = Counter()
        self._output_words: Counter[int] = Counter()

    def add(self, latency_ms: float, answers: Sequence[float]) -> None:
        """One more that was scored; its answers, as far as they are numbers."""
        self._requests += 1
        self._latencies.append(latency_ms)
        if len(answers) > _MOST_NUMBERS:
            step = -(-len(answers) // _MOST_NUMBERS)
            answers = answers[self._requests % step :: step]
        self._outputs += answers
        if len(self._outputs) >= _BATCH or len(self._latencies) >= _BATCH:
            self._count()

    def fail(self) -> None:
        """One more that the model failed, or had no time for."""
        self._requests += 1
        self._errors += 1

    def render(self) -> str:
        """Its lines."""
        self._count()
        return (
            render_metric(REQUESTS, "Requests of users that were scored or failed.", self._requests)
            + render_metric(ERRORS, "Those that the model failed, or had no time for.", self._errors)
            + _render_histogram(OUTPUTS, "Numbers in answers, by bin.", self._output_words)
            + _render_histogram(LATENCY, "Scored requests, by bin of milliseconds.", self._latency_words)
        )

    def _count(self) -> None:
        for numbers, words in (
            (self._outputs, self._output_words),
            (self._latencies, self._latency_words),
        ):
            words.update(cut(numbers))
            numbers.clear()


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


def render_process(started_at: float) -> str:
    """What the process uses, and when it began (seconds since 1970): the names that Prometheus' own clients
    use."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    return (
        render_metric("process_resident_memory_bytes", "Resident memory size in bytes.", resident)
        + render_metric(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            time.process_time(),
        )
        + render_metric(STARTED, "When the server was started, in seconds since 1970.", started_at)
    )


def _render_histogram(name: str, about: str, words: Mapping[int, int]) -> str:
    shown = shrink(join_words(words), _MOST_SHOWN)
    values = [
        ({"bin": str(each), "from": f"{edge_of(each):g}"}, count) for each, count in sorted(shown.items())
    ]
    return render_metric(name, about, values)


def _render_labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
