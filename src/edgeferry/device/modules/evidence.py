"""What models' servers counted of their users' requests, read from their `/metrics` and told to the hub.

Told soon after another version has come and when somebody asks; else when there is a tenth more to tell than
the hub knows, and once a minute at most: messages cost, and a fleet has many companions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edgeferry.device.link import Link
from edgeferry.device.modules.asking import now
from edgeferry.device.modules.caller import Caller
from edgeferry.domain.smoke import SmokeRequest
from edgeferry.errors import EdgeferryError, UsageError
from edgeferry.wire.evidence_report import (
    EvidenceReport,
    parse_evidence_report,
    parse_metrics,
    render_evidence,
)

LOOK_S = 15.0
"""How often servers are read."""
REPORT_S = 60.0
_PART = 10
_AT_ONCE = 4

_log = logging.getLogger(__name__)


class Evidence:
    """The counts of the models that are asked for, and which of them the hub holds."""

    def __init__(
        self,
        requests: Callable[[], Sequence[SmokeRequest]],
        stopping: threading.Event,
        *,
        look_s: float = LOOK_S,
        report_s: float = REPORT_S,
    ) -> None:
        self._requests = requests
        self._stopping = stopping
        self._look_s = look_s
        self._report_s = report_s
        self._lock = threading.Lock()
        self._counted: dict[str, EvidenceReport] = {}
        self._held: dict[str, EvidenceReport | None] = {}
        """By the hub; None for what cannot be read."""
        self._told_at: dict[str, float] = {}
        self._asked = threading.Event()

    def take_reported(self, reported: Mapping[str, Any]) -> None:
        """What the hub holds as reported: a companion that was started anew tells no less than that."""
        said = reported.get("evidence")
        held = {model: _parse(model, each) for model, each in said.items()} if isinstance(said, dict) else {}
        with self._lock:
            self._held = held
            for model, counted in held.items():
                if counted is not None:
                    self._counted.setdefault(model, counted)

    def answer(self, said: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """(status, answer) of the method: servers are read now, and the hub is told as well."""
        model = said.get("model")
        requests = [request for request in self._requests() if model in (None, request.model)]
        if model is not None and not requests:
            return 404, {"message": f"no model {model!r} is asked for on this device"}
        self._read(requests)
        self._asked.set()
        with self._lock:
            found = {each.model: self._counted.get(each.model) for each in requests}
        return 200, {
            "evidence": {
                name: render_evidence(each, len(found)) for name, each in found.items() if each is not None
            }
        }

    def tell_until_stopped(self, link: Link) -> None:
        """Reads servers, and tells the hub what is worth telling."""
        while not self._stopping.is_set():
            try:
                self._read(self._requests())
                is_asked = self._asked.is_set()
                self._asked.clear()
                if link.connected and not self._stopping.is_set():
                    self._tell(link, is_asked)
            except EdgeferryError as error:
                _log.warning("evidence not reported: %s", error)
            except Exception:  # noqa: BLE001 - the thread outlives whatever a server says
                _log.exception("evidence")
            self._asked.wait(self._look_s)

    def _read(self, requests: Sequence[SmokeRequest]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            reports = list(pool.map(_fetch, [request.url for request in requests]))
        with self._lock:
            for request, report in zip(requests, reports, strict=True):
                if report is not None:
                    self._counted[request.model] = report

    def _tell(self, link: Link, is_asked: bool) -> None:
        names = {request.model for request in self._requests()}
        moment = time.monotonic()
        with self._lock:
            held = self._held
            for model in [model for model in self._counted if model not in names]:
                del self._counted[model]
            new = {
                model: counted
                for model, counted in self._counted.items()
                if is_asked or self._is_due(model, held.get(model), counted, moment)
            }
            gone = [model for model in held if model not in names]
            many = len(self._counted)
        patch = {model: render_evidence(each, many) for model, each in new.items()} | dict.fromkeys(gone)
        if not patch:
            return
        link.report({"evidence": patch})
        with self._lock:
            self._told_at |= dict.fromkeys(new, moment)
            if self._held is held:
                self._held = {model: each for model, each in (held | new).items() if model in names}

    def _is_due(
        self, model: str, held: EvidenceReport | None, counted: EvidenceReport, moment: float
    ) -> bool:
        if held is None or held.digest != counted.digest:
            return True
        return moment - self._told_at.get(model, -self._report_s) >= self._report_s and has_news(
            held, counted
        )


def has_news(held: EvidenceReport, report: EvidenceReport) -> bool:
    """Whether a report of the same version is worth a message, `held` being what the hub knows."""
    return held.since != report.since or any(
        after > before and (after - before) * _PART >= before
        for before, after in ((held.requests, report.requests), (held.errors, report.errors))
    )


def _fetch(url: str) -> EvidenceReport | None:
    """What the server there counted; None when none answers, or it does not count."""
    try:
        caller = Caller(url)
    except UsageError:
        return None
    try:
        reply = caller.call("GET", "/metrics")
    except EdgeferryError:
        return None
    finally:
        caller.close()
    return parse_metrics(reply.body.decode("utf-8", "replace"), now()) if reply.status == 200 else None


def _parse(model: str, said: object) -> EvidenceReport | None:
    try:
        return parse_evidence_report(model, said)
    except UsageError:
        return None
