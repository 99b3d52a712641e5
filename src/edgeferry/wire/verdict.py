"""Smoke requests and verdicts in the companion's twin and in the answer of its method. Format: ours.

desired   models.<model>   = {url, digest, version, cases_sha256, nonce}
          smoke.schedule_s = how often models are asked again; 0: only after a change or a restart
reported  verdicts.<model> = {state, digest, version, cases_sha256, nonce, reason, asked, failed,
                              latency_ms, slowest_ms, at, evidence?, left_out?, companion?}
          companion = the nonce of the rollout that brought this companion, which has it from its environment
          evidence = JSON text [[case, [[status, values or null, latency_ms, media_type?, memory_bytes?], …]],
          …] left_out = of how many cases there was no room for it
method    smokeTest {"model"?: name, "nonce": str} -> {"verdicts": {<model>: as reported, with more evidence}}
          smokeTest {"port": n, "model_type": name} -> 200 {"infer_result": text, "verdicts"} or
          400 {"results": "fail", "reason", "verdicts"}: as the smoke module of
          microsoft/mlops-accelerator-for-edge (edge-smoke-test, 2024) answers
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeferry.domain.smoke import JSON_TYPE, Answer, Evidence, SmokeRequest, Verdict
from edgeferry.errors import UsageError
from edgeferry.wire.canonical import refuse_constant

COMPANION_PORT = 8081
"""Where the companion answers `GET /verdict` on the device's network."""
REASON_LENGTH = 1000
"""Longer reasons are cut: a twin's string holds at most 4 KiB."""

TWIN_EVIDENCE_BYTES = 3000
"""Room for one verdict's evidence in the twin, where a text holds 4 KiB."""
ALL_TWIN_EVIDENCE_BYTES = 12_000
"""Room for the evidence of all models of a device: all that a module reports may be 32 KiB."""
METHOD_EVIDENCE_BYTES = 60_000
"""Room for all evidence in a method's answer, which may be 128 KiB; quotes are escaped there."""
SCHEDULE_S = 3600.0
"""How often the companion asks again unless its twin says otherwise."""

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


def parse_schedule(desired: Mapping[str, Any]) -> float:
    """Seconds from one scheduled smoke test to the next; 0: none. What cannot be read is the default."""
    section = desired.get("smoke")
    said = section.get("schedule_s") if isinstance(section, Mapping) else None
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said) or said < 0:
        return SCHEDULE_S
    return float(said)


def render_verdict(verdict: Verdict, room: int = TWIN_EVIDENCE_BYTES) -> dict[str, Any]:
    """The value of the companion's `properties.reported.verdicts.<model>`, with evidence of at most `room`
    bytes; what does not fit is left out, whole cases."""
    said = {
        key: value
        for key, value in vars(verdict).items()
        if key not in ("model", "evidence", "left_out", "companion", "room")
    }
    if verdict.companion:
        said["companion"] = verdict.companion
    said["reason"] = verdict.reason[:REASON_LENGTH]
    shown: list[str] = []
    for one in verdict.evidence:
        text = json.dumps(
            [one.case, [_render_answer(answer) for answer in one.answers]], separators=(",", ":")
        )
        if len(text) + 1 < room:
            shown.append(text)
            room -= len(text) + 1
    left_out = verdict.left_out + len(verdict.evidence) - len(shown)
    if shown:
        said["evidence"] = f"[{','.join(shown)}]"
    if left_out:
        said["left_out"] = left_out
    return said


def parse_verdict(model: str, said: object, room: int = 0) -> Verdict:
    """The verdict below `verdicts.<model>`, whose evidence had that `room`; UsageError when it is none."""
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
            evidence=_parse_evidence(said.get("evidence", "[]")),
            left_out=int(said.get("left_out", 0)),
            companion=str(said.get("companion", "")),
            room=room,
            **_texts(where, said, _VERDICT_TEXTS),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise _unreadable(where, f"{error} is missing or wrong") from error


def render_verdicts(verdicts: Sequence[Verdict], room: int = ALL_TWIN_EVIDENCE_BYTES) -> dict[str, Any]:
    """The payload of the method's answer, and of `GET /verdict`, with evidence of at most `room` bytes."""
    each = share_room(len(verdicts), room)
    return {"verdicts": {verdict.model: render_verdict(verdict, each) for verdict in verdicts}}


def share_room(count: int, room: int = ALL_TWIN_EVIDENCE_BYTES) -> int:
    """The room for the evidence of each of `count` verdicts."""
    most = TWIN_EVIDENCE_BYTES if room == ALL_TWIN_EVIDENCE_BYTES else room
    return min(most, room // max(count, 1))


def _render_answer(answer: Answer) -> list[Any]:
    said: list[Any] = [
        answer.status,
        answer.values,
        answer.latency_ms,
        answer.media_type,
        answer.memory_bytes,
    ]
    if answer.memory_bytes is None:
        said.pop()
        if answer.media_type == JSON_TYPE:
            said.pop()
    return said


def _parse_evidence(text: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(str(case), tuple(_parse_answer(*answer) for answer in answers))
        for case, answers in json.loads(text, parse_constant=refuse_constant)
    )


def _parse_answer(
    status: Any, values: Any, latency_ms: Any, media_type: Any = JSON_TYPE, memory_bytes: Any = None
) -> Answer:
    return Answer(
        int(status),
        None if values is None else tuple(each if isinstance(each, str) else float(each) for each in values),
        float(latency_ms),
        str(media_type),
        None if memory_bytes is None else int(memory_bytes),
    )


def parse_verdicts(payload: object, room: int = ALL_TWIN_EVIDENCE_BYTES) -> dict[str, Verdict]:
    """The verdicts by model in a `{"verdicts": …}` payload or reported section, with that `room` for the
    evidence of all; UsageError when wrong."""
    said = payload.get("verdicts", {}) if isinstance(payload, Mapping) else None
    if not isinstance(said, Mapping):
        raise _unreadable("verdicts", "it is not an object")
    each = share_room(len(said), room)
    return {model: parse_verdict(model, value, each) for model, value in said.items()}


def _texts(where: str, said: Mapping[str, Any], keys: Sequence[str]) -> dict[str, str]:
    for key in keys:
        if not isinstance(said.get(key), str):
            raise _unreadable(where, f"{key} is missing or not a text")
    return {key: said[key] for key in keys}


def _unreadable(where: str, why: str) -> UsageError:
    return UsageError(f"{where} cannot be read: {why}", fix="set it with this version of edgeferry")
