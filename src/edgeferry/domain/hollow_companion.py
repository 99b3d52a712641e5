"""What a hollow device's companion finds out, and when. Pure. Times are Unix seconds."""

from __future__ import annotations

import math
from dataclasses import replace

from edgeferry.domain.hollow_device import (
    CasesOf,
    Hollow,
    find_fault,
    is_about,
    is_on,
    nonce_of,
    ready_at,
    text_of,
)
from edgeferry.domain.hollow_smoke import ask_hollow
from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import Verdict, unjudged


def find_verdicts(hollow: Hollow, cases_of: CasesOf, now_s: float) -> dict[str, Verdict]:
    """What the companion has found out by now."""
    verdicts, nonce = dict(hollow.verdicts), nonce_of(hollow)
    for model, (request, _) in hollow.requests.items():
        before = verdicts.get(model)
        if is_settled(hollow, before):
            continue
        at = answers_at(hollow, model, now_s)
        if at <= now_s:
            spec = hollow.running[model].spec
            found = [fault.kind for fault in hollow.faults if is_about(hollow, fault, spec, at)]
            kinds = ["http_500" if kind == "agent_breaks" else kind for kind in found]
            said = ask_hollow(request, cases_of(request), kinds, text_of(at))
            verdicts[model] = replace(said, companion=nonce)
        elif (before is None or before.companion != nonce) and now_s >= gives_up_at(hollow, model):
            told = text_of(gives_up_at(hollow, model))
            said = unjudged(request, "Inconclusive", f"{model} does not answer", told)
            verdicts[model] = replace(said, companion=nonce)
    return verdicts


def is_settled(hollow: Hollow, verdict: Verdict | None) -> bool:
    """Whether it is the last word of the companion that runs."""
    if verdict is None or verdict.state == "Inconclusive":
        return False
    return COMPANION not in hollow.running or verdict.companion == nonce_of(hollow)


def gives_up_at(hollow: Hollow, model: str) -> float:
    """When (Unix seconds) the companion says that the model does not answer, unless it does by then."""
    runs = hollow.running.get(COMPANION)
    since = max(hollow.requests[model][1], runs.started_at) if runs else hollow.requests[model][1]
    return since + hollow.pace.patience_s


def answers_at(hollow: Hollow, model: str, now_s: float) -> float:
    """When (Unix seconds) the companion has its verdict on the model; infinity while what it asks for does
    not run."""
    request, since = hollow.requests[model]
    runs = hollow.running.get(model)
    if runs is None or not runs.spec.image.endswith("@" + request.digest):
        return math.inf
    companion = hollow.running.get(COMPANION)
    if companion is None or is_on(hollow, "no_companion", now_s):
        return math.inf
    if any(find_fault(hollow, "dead", one.spec, now_s) for one in (runs, companion)):
        return math.inf
    up_at = max(ready_at(hollow, runs, now_s), since, ready_at(hollow, companion, now_s))
    return up_at + hollow.pace.ask_s
