"""Smoke: ask a device's companion, now, whether the model answers as it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import CaseSet, Verdict
from edgeferry.domain.smoke_proof import Question, weigh
from edgeferry.errors import EdgeferryError, HubError, OutsideError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.wire.verdict import METHOD_EVIDENCE_BYTES, parse_verdicts
from edgeferry.workflows.cases import explain_unread, load_cases


@dataclass(frozen=True)
class SmokeResult:
    """One device's fresh answer; `passed` only for a verdict on this very release and nonce."""

    device: str
    passed: bool
    state: str
    reason: str
    verdict: Verdict | None = None
    fix: str = ""
    """Where something else than the model is in the way: what mends that."""


def smoke(services: Services, device: str, layer: ModelLayer, timeout_s: int = 90) -> SmokeResult:
    """A fresh verdict by the direct method `smokeTest`, judged against the layer and the release's own
    cases."""
    return smoke_each(services, [device], layer, timeout_s)[0]


def smoke_each(
    services: Services, devices: Sequence[str], layer: ModelLayer, timeout_s: int = 90
) -> list[SmokeResult]:
    """The same of each device."""
    unread: EdgeferryError | None = None
    try:
        cases = load_cases(services, layer.model, layer.digest, layer.cases_sha256)
    except (OutsideError, UsageError) as error:
        services.say(explain_unread(layer.model, error))
        cases, unread = None, error
    results = []
    with services.work(f"ask {layer.model}", len(devices), "devices") as advance:
        for device in devices:
            results.append(_smoke_one(services, device, layer, cases, timeout_s))
            advance(len(results))
    return [_explain(each, unread) if unread else each for each in results]


def _explain(result: SmokeResult, unread: EdgeferryError) -> SmokeResult:
    """The result with why there were no cases to judge it by, where that is what is in the way."""
    if result.state != "Inconclusive" or result.fix:
        return result
    return replace(result, reason=f"{result.reason}: {unread.problem}", fix=unread.fix)


def find_fix(model: str, results: Sequence[SmokeResult]) -> str:
    """What to do when they did not all pass."""
    wrong = [each for each in results if not each.passed]
    told = next((each.fix for each in wrong if each.fix), "")
    return told or f"edgeferry logs {model} --device {wrong[0].device if wrong else 'DEVICE'}"


def _smoke_one(
    services: Services, device: str, layer: ModelLayer, cases: CaseSet | None, timeout_s: int
) -> SmokeResult:
    nonce = services.new_id()
    try:
        answer = services.hub.call_module(
            device, COMPANION, "smokeTest", {"model": layer.model, "nonce": nonce}, timeout_s
        )
    except HubError as error:
        return SmokeResult(device, False, "Inconclusive", error.problem, fix=error.fix)
    payload = answer.get("payload")
    if answer.get("status") != 200:
        return SmokeResult(device, False, "Inconclusive", f"the companion answered {payload!r}")
    try:
        verdict = parse_verdicts(payload, METHOD_EVIDENCE_BYTES).get(layer.model)
    except UsageError as error:
        return SmokeResult(device, False, "Inconclusive", error.problem)
    if verdict is None:
        return SmokeResult(device, False, "Inconclusive", f"the companion knows no {layer.model}")
    state, reason = weigh(verdict, Question(layer.digest, layer.cases_sha256, nonce, cases))
    return SmokeResult(device, state == "Passed", state, reason, verdict)
