"""Watching one model: it is asked until its verdict is conclusive, then on a schedule, and at once when its
server was started anew."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from edgeferry.device.modules.asking import ask
from edgeferry.device.modules.caller import fetch_health, mark_start
from edgeferry.domain.smoke import SmokeRequest, Verdict

JITTER = 0.2
"""By what part of its length a wait for the schedule differs, so that a fleet does not ask at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How patiently models are asked, in seconds."""

    patience_s: float = 60.0
    """How long a model may take to answer before its verdict is Inconclusive."""
    again_s: float = 10.0
    """A model without a conclusive verdict is asked again this often."""
    look_s: float = 30.0
    """How often a model that has its verdict is looked at: whether its server was started anew."""


class Board(Protocol):
    """Where requests stand, and verdicts are put up."""

    @property
    def stopping(self) -> threading.Event:
        """Set when nobody wants to know any more."""

    @property
    def schedule_s(self) -> float:
        """Seconds from one scheduled smoke test to the next; 0: none."""

    def is_current(self, request: SmokeRequest) -> bool:
        """Whether this is what is asked for now."""

    def put_up(self, request: SmokeRequest, verdict: Verdict) -> bool:
        """The verdict stands there, if it says more than the one before; False when something else is asked
        for."""


def watch(request: SmokeRequest, settled: Verdict | None, board: Board, pace: Pace) -> None:
    """Asks as long as the request is current. `settled`: the conclusive verdict that it has already."""
    asked_at, jitter = time.monotonic(), _jitter()
    started, is_due = "", settled is None

    def due_in_s() -> float:
        schedule_s = board.schedule_s
        return asked_at + schedule_s * jitter - time.monotonic() if schedule_s else math.inf

    while board.is_current(request):
        if is_due:
            started = _ask_until_settled(request, board, pace)
            asked_at, jitter = time.monotonic(), _jitter()
        board.stopping.wait(max(0.0, min(due_in_s(), pace.look_s)))
        health = fetch_health(request.url)
        seen = mark_start(health) if health is not None and health.digest == request.digest else ""
        is_new = bool(seen and started and seen != started)
        if health is not None and seen and not started:
            started = seen
            is_new = settled is not None and health.started_at > _seconds(settled.at)
        is_due = is_new or due_in_s() <= 0
        if is_new:
            _log.info("started anew model=%s", request.model)


def _ask_until_settled(request: SmokeRequest, board: Board, pace: Pace) -> str:
    """The mark of the server that the conclusive verdict is about; "" when something else is asked for."""
    patience_s = pace.patience_s
    while board.is_current(request):
        health = fetch_health(request.url)
        verdict = ask(request, patience_s=patience_s, stopping=board.stopping)
        if not board.put_up(request, verdict):
            return ""
        if verdict.state != "Inconclusive":
            return mark_start(health) if health is not None and health.digest == request.digest else ""
        patience_s = 0.0
        board.stopping.wait(pace.again_s)
    return ""


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)


def _seconds(at: str) -> float:
    """The time of a verdict in seconds since 1970; 0 when it says none."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0
