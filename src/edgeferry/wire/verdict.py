"""Smoke requests and verdicts in the companion's twin and in the answer of its method. Format: ours.

desired   models.<model>   = {url, digest, version, cases_sha256, nonce}
reported  verdicts.<model> = {state, digest, version, cases_sha256, nonce, reason, asked, failed,
                              latency_ms, slowest_ms, at}
method    smokeTest {"model"?: name, "nonce": str} -> {"verdicts": {<model>: as reported}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeferry.domain.smoke import SmokeRequest, Verdict
from edgeferry.errors import UsageError

COMPANION_PORT = 8081
"""Where the companion answers `GET /verdict` on the device's network."""
REASON_LENGTH = 1000
"""Longer reasons are cut: a twin's string holds at most 4 KiB."""

_REQUEST_TEXTS = ("url", "digest", "version", "cases_sha256", "nonce")
_VERDICT_TEXTS = ("digest", "version", "cases_sha256", "nonce", "reason", "at")


def render_smoke_request(request: SmokeRequest) -> dict[str, Any]:
    """The value of the companion's `properties.desired.models.<model>`."""
    return {key: value for key, value in asdict(request).items() if key != "model"}


def parse_smoke_request(model: str, said: object) -> SmokeRequest:
    """The request below `models.<model>`; UsageError naming what is missing."""
    if not isinstance(said, Mapping):
        raise _unreadable(f"models.{model}", "it is not an object")
    return SmokeRequest(model=model, **_texts(f"models.{model}", said, _REQUEST_TEXTS))


def render_verdict(verdict: Verdict) -> dict[str, Any]:
    """The value of the companion's `properties.reported.verdicts.<model>`."""
    said = {key: value for key, value in asdict(verdict).items() if key != "model"}
    said["reason"] = verdict.reason[:REASON_LENGTH]
    return said


def parse_verdict(model: str, said: object) -> Verdict:
    """The verdict below `verdicts.<model>`; UsageError when it is none."""
    where = f"verdicts.{model}"
    if not isinstance(said, Mapping):
        raise _unreadable(where, "it is not an object")
    state = said.get("state")
    if state not in ("Passed", "Failed", "Inconclusive"):
        raise _unreadable(where, f"the state {state!r} is unknown")
    try:
        return Verdict(
            model=model,
            state=state,
            asked=int(said["asked"]),
            failed=int(said["failed"]),
            latency_ms=float(said["latency_ms"]),
            slowest_ms=float(said["slowest_ms"]),
            **_texts(where, said, _VERDICT_TEXTS),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(where, f"{error} is missing or wrong") from error


def render_verdicts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The payload of the method's answer, and of `GET /verdict`."""
    return {"verdicts": {verdict.model: render_verdict(verdict) for verdict in verdicts}}


def parse_verdicts(payload: object) -> dict[str, Verdict]:
    """The verdicts by model in a `{"verdicts": …}` payload or reported section; UsageError when wrong."""
    said = payload.get("verdicts", {}) if isinstance(payload, Mapping) else None
    if not isinstance(said, Mapping):
        raise _unreadable("verdicts", "it is not an object")
    return {model: parse_verdict(model, value) for model, value in said.items()}


def _texts(where: str, said: Mapping[str, Any], keys: Sequence[str]) -> dict[str, str]:
    for key in keys:
        if not isinstance(said.get(key), str):
            raise _unreadable(where, f"{key} is missing or not a text")
    return {key: said[key] for key in keys}


def _unreadable(where: str, why: str) -> UsageError:
    return UsageError(f"{where} cannot be read: {why}", fix="set it with this version of edgeferry")
