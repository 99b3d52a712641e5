"""Smoke: ask a device's companion, now, whether the model answers as it should."""

from __future__ import annotations

from dataclasses import dataclass

from edgeferry.domain.smoke import Verdict
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.deployment import COMPANION, ModelLayer
from edgeferry.wire.verdict import parse_verdicts


@dataclass(frozen=True)
class SmokeResult:
    """One device's fresh answer; `passed` only for a verdict on this very release and nonce."""

    device: str
    passed: bool
    state: str
    reason: str
    verdict: Verdict | None = None


def smoke(services: Services, device: str, layer: ModelLayer, timeout_s: int = 60) -> SmokeResult:
    """A fresh verdict by the direct method `smokeTest`, judged against the layer."""
    nonce = services.new_id()
    try:
        answer = services.hub.call_module(
            device, COMPANION, "smokeTest", {"model": layer.model, "nonce": nonce}, timeout_s
        )
    except HubError as error:
        return SmokeResult(device, False, "Inconclusive", error.problem)
    payload = answer.get("payload")
    if answer.get("status") != 200:
        return SmokeResult(device, False, "Inconclusive", f"the companion answered {payload!r}")
    try:
        verdict = parse_verdicts(payload).get(layer.model)
    except UsageError as error:
        return SmokeResult(device, False, "Inconclusive", error.problem)
    if verdict is None:
        return SmokeResult(device, False, "Inconclusive", f"the companion knows no {layer.model}")
    if verdict.nonce != nonce:
        return SmokeResult(device, False, "Inconclusive", "the verdict answers another question", verdict)
    if (verdict.digest, verdict.cases_sha256) != (layer.digest, layer.cases_sha256):
        return SmokeResult(device, False, "Failed", "the verdict is about another release", verdict)
    return SmokeResult(device, verdict.state == "Passed", verdict.state, verdict.reason, verdict)
