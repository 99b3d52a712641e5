"""Twins of `$edgeAgent` and of the companion, read as the facts and the evidence that judge a rollout.

Formats: IoT Hub module twin (2021-04-12), `$edgeAgent` reported properties schema 1.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgeferry.domain.fields import members
from edgeferry.domain.layering import locate
from edgeferry.domain.model import COMPANION, RESERVED
from edgeferry.domain.rollout import Asked, DeviceFacts
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.domain.smoke import DIGEST_VARIABLE, SmokeRequest, Verdict
from edgeferry.errors import UsageError
from edgeferry.wire.evidence_report import parse_evidence_report
from edgeferry.wire.verdict import parse_smoke_request, parse_verdict, share_room


def parse_facts(
    device: str, module: str, agent: Mapping[str, Any] | None, companion: Mapping[str, Any] | None
) -> DeviceFacts:
    """What the two twins say about one module; a missing or odd part reads as "nothing reported"."""
    properties = members(members(agent).get("properties"))
    desired = members(properties.get("desired"))
    reported = members(properties.get("reported"))
    status = members(reported.get("lastDesiredStatus"))
    kind, name = locate(module)
    running = members(members(reported.get(kind)).get(name))
    settings = members(running.get("settings"))
    entry = members(members(desired.get(kind)).get(name))
    wanted = members(entry.get("settings"))
    metadata = members(members(members(desired.get("$metadata")).get(kind)).get(name))
    layer = _layer_of(entry)
    stands = members(members(reported.get("layers")).get(layer))
    return DeviceFacts(
        device=device,
        connected=members(agent).get("connectionState") == "Connected",
        has_base="systemModules" in desired,
        desired_image=str(wanted.get("image", "")),
        brought_by=_number(metadata.get("$lastUpdatedVersion"), _number(desired.get("$version"), 0)),
        reported_version=_number(reported.get("lastDesiredVersion"), 0),
        status_code=_number(status.get("code"), 0),
        status_reason=str(status.get("description", "")),
        image=str(settings.get("image", "")),
        image_hash=str(settings.get("imageHash", "")),
        runtime_status=str(running.get("runtimeStatus", "unknown")),
        runtime_reason=str(running.get("statusDescription", "")),
        verdict=parse_reported_verdict(companion, module),
        since=str(running.get("lastStartTimeUtc") or ""),
        layer_outcome=str(stands.get("outcome", "")),
        layer_reason=str(stands.get("reason", "")),
        companion=str(
            members(members(members(companion).get("properties")).get("reported")).get(COMPANION, "")
        ),
        asked=_parse_asked(companion) if module in RESERVED else (),
        models=tuple(_find_models(members(desired.get("modules")))) if module in RESERVED else (),
    )


def _find_models(modules: Mapping[str, Any]) -> Iterator[str]:
    """Those of an agent's desired modules that are told which digest they serve: no other is a model's."""
    for name, entry in modules.items():
        if DIGEST_VARIABLE in members(members(entry).get("env")):
            yield name


def _parse_asked(companion: Mapping[str, Any] | None) -> tuple[Asked, ...]:
    """Every model that the companion is to ask; a request that cannot be read is one that nothing answers."""
    desired = members(members(members(companion).get("properties")).get("desired"))
    asked = []
    for model, said in members(desired.get("models")).items():
        try:
            request = parse_smoke_request(model, said)
        except UsageError:
            request = SmokeRequest(model, "", "", "", "", "")
        asked.append(Asked(request, parse_reported_verdict(companion, model)))
    return tuple(asked)


def parse_reported_verdict(companion: Mapping[str, Any] | None, model: str) -> Verdict | None:
    """The companion's verdict on one model as its twin reports it; None when absent or malformed."""
    properties = members(members(companion).get("properties"))
    verdicts = members(members(properties.get("reported")).get("verdicts"))
    document = verdicts.get(model)
    try:
        return parse_verdict(model, document, share_room(len(verdicts)))
    except UsageError:
        return None


def parse_evidence(companion: Mapping[str, Any] | None, model: str) -> DeviceEvidence | None:
    """What a companion's twin reports that the model's server counted; None when absent or malformed."""
    reported = members(members(members(companion).get("properties")).get("reported"))
    try:
        found = parse_evidence_report(model, members(reported.get("evidence")).get(model))
    except UsageError:
        return None
    device = str(members(companion).get("deviceId", ""))
    return DeviceEvidence(device, found.digest, found.requests, found.errors, found.latency, found.outputs)


def _layer_of(module: object) -> str:
    """The deployment that brought the module, under its name in `layers`; "" where the hub does not say."""
    return str(members(members(module).get("configuration")).get("id") or "")


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
