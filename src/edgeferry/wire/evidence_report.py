"""What a model's server counted of its users' requests: in its `/metrics`, in the companion's twin and in the
answer of its method. Format: ours.

metrics   edgeferry_evidence_requests_total, edgeferry_evidence_errors_total,
          edgeferry_evidence_outputs_total{bin, from}, edgeferry_evidence_latency_ms_total{bin, from},
          edgeferry_model_info{model, version, digest}, process_start_time_seconds
reported  evidence.<model> = {digest, version, since, at, requests, errors, latency, outputs}
          latency, outputs = text "bin:count bin:count …": bins of domain.sketch, latency in milliseconds
method    evidence {"model"?: name} -> {"evidence": {<model>: as reported}}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from edgeferry.domain.sketch import MOST_BINS, NOT_A_NUMBER, shrink
from edgeferry.errors import UsageError

METHOD = "evidence"
REQUESTS = "edgeferry_evidence_requests_total"
ERRORS = "edgeferry_evidence_errors_total"
OUTPUTS = "edgeferry_evidence_outputs_total"
LATENCY = "edgeferry_evidence_latency_ms_total"
INFO = "edgeferry_model_info"
STARTED = "process_start_time_seconds"

TWIN_BYTES = 12_000
"""Room for the evidence of all models of a device: all that a module reports may be 32 KiB."""
_BIN_BYTES = 28
"""What one bin takes in both histograms, nearly always."""
_REST_BYTES = 230
"""What all else of one report takes."""
_LEAST_BINS = 12
"""Fewer say too little to be worth their room."""

_MOST = 2**52 - 1
"""The largest whole number that a twin takes."""
_MOST_TEXT = 256

_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class EvidenceReport:
    """What one server counted since it was started, read at one time."""

    digest: str
    version: str
    since: str
    """When the server was started: ISO 8601, UTC."""
    at: str
    requests: int
    """Of users: scored, or failed by the model or for want of time."""
    errors: int
    latency: Mapping[int, int] = field(default_factory=dict)
    outputs: Mapping[int, int] = field(default_factory=dict)


def parse_metrics(text: str, at: str) -> EvidenceReport | None:
    """The evidence in a server's `/metrics`, read at `at`; None when it shows none: a server of one's own, or
    of an older edgeferry."""
    numbers: dict[str, float] = {}
    histograms: dict[str, dict[int, int]] = {OUTPUTS: {}, LATENCY: {}}
    info: dict[str, str] = {}
    for name, labels_text, value in _SAMPLE.findall(text):
        if name in (REQUESTS, ERRORS, STARTED, *histograms, INFO):
            labels = {label: _unescape(said) for label, said in _LABEL.findall(labels_text)}
            try:
                if name == INFO:
                    info = labels
                elif name in histograms:
                    histograms[name][_bin(labels["bin"])] = _count(int(float(value)))
                else:
                    numbers[name] = float(value)
            except (KeyError, ValueError, OverflowError):
                return None
    try:
        return EvidenceReport(
            digest=_text(info["digest"]),
            version=_text(info["version"]),
            since=_render_time(numbers[STARTED]),
            at=at,
            requests=_count(int(numbers[REQUESTS])),
            errors=_count(int(numbers[ERRORS])),
            latency=histograms[LATENCY],
            outputs=histograms[OUTPUTS],
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def render_evidence(report: EvidenceReport, models: int = 1) -> dict[str, Any]:
    """The value of the companion's `properties.reported.evidence.<model>`, beside those of `models` models in
    all: the more there are, the coarser, and at last without histograms."""
    most = _share_bins(models)
    said = {key: value for key, value in vars(report).items() if key not in ("latency", "outputs")}
    for key, histogram in (("latency", report.latency), ("outputs", report.outputs)):
        shown = shrink(histogram, most) if most else {}
        said[key] = " ".join(f"{each}:{count}" for each, count in sorted(shown.items()))
    return said


def parse_evidence_report(model: str, said: object) -> EvidenceReport:
    """The evidence below `evidence.<model>`; UsageError when it is none."""
    if not isinstance(said, Mapping):
        raise _unreadable(model, "it is not an object")
    try:
        return EvidenceReport(
            **{key: _text(said[key]) for key in ("digest", "version", "since", "at")},
            requests=_count(said["requests"]),
            errors=_count(said["errors"]),
            latency=_parse_histogram(said["latency"]),
            outputs=_parse_histogram(said["outputs"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(model, f"{error!r}") from error


def _share_bins(models: int) -> int:
    """How many bins each histogram may have; 0 where they would be too few to say anything."""
    bins = (TWIN_BYTES // max(models, 1) - _REST_BYTES) // _BIN_BYTES
    return min(bins, MOST_BINS) if bins >= _LEAST_BINS else 0


def _parse_histogram(text: str) -> dict[int, int]:
    histogram = {}
    for pair in text.split():
        number, _, count = pair.partition(":")
        histogram[_bin(number)] = _count(int(count))
    return histogram


def _bin(text: str) -> int:
    number = int(text)
    if abs(number) > NOT_A_NUMBER:
        raise ValueError(f"there is no bin {number}")
    return number


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise ValueError(f"{value!r} is no count")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise TypeError(f"{value!r} is no short text")
    return value


def _render_time(seconds: float) -> str:
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is no time")
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def _unreadable(model: str, why: str) -> UsageError:
    problem = f"evidence.{model} cannot be read: {why}"
    return UsageError(problem, fix="let a companion of this version of edgeferry report it")
