"""Evidence: what there is to show for a release, looked at in the registry, the ledger and the hub now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate_evidence import EvidenceFact, LiveVersion, Weight, judge_metrics
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.model import RESERVED
from edgeferry.domain.release import Entry
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.wire.deployment import parse_layers
from edgeferry.wire.evidence import VERIFICATION_TYPE, parse_verification
from edgeferry.workflows.release import find_elsewhere, find_entry


def weigh_evidence(
    services: Services, release: Entry, policy: GatePolicy, *, condition: str, environment: str
) -> tuple[EvidenceFact, ...]:
    """All pieces of evidence about the release, each with what it is worth now.

    The hub is asked only where a rule of the policy compares with the version live for `condition`.
    """
    return (
        _weigh_image(services, release),
        _weigh_verification(services, release),
        *_weigh_metrics(services, release, policy, condition, environment),
        *_weigh_missing(),
    )


def _weigh_metrics(
    services: Services, release: Entry, policy: GatePolicy, condition: str, environment: str
) -> tuple[EvidenceFact, ...]:
    if (model := release.body["model"]) in RESERVED:
        return (EvidenceFact("metrics", Weight.HELD, f"the {model} is not trained, and has none"),)
    compared = any(rule.against_live for rule in policy.metrics)
    live = find_live(services, release, condition, environment) if compared else None
    return judge_metrics(policy.metrics, release.body.get("metrics") or {}, live)


def find_live(services: Services, release: Entry, condition: str, environment: str) -> LiveVersion | None:
    """The release of the same model that this environment's devices run until now: the highest layer with
    the same target condition, else the highest of any; None when there is none."""
    owner = Fleet("", environment)
    layers = [
        layer
        for layer in parse_layers(filter(owner.owns, services.hub.configurations()))
        if layer.model == release.body["model"] and layer.release != release.subject
    ]
    if not layers:
        return None
    live = max(layers, key=lambda layer: (layer.target_condition == condition, layer.priority))
    entry = find_entry(services, live.release)
    if entry is None:
        return LiveVersion(live.release, {}, "the ledger holds no such release")
    return LiveVersion(live.release, entry.body.get("metrics") or {}, services.ledger.distrust(entry))


def _weigh_image(services: Services, release: Entry) -> EvidenceFact:
    """Whether the registry holds what was released, under the tag that it was pushed with."""
    if elsewhere := find_elsewhere(release):
        detail = f"{elsewhere}: not ours, and named by its digest: the engine runs no other"
        return EvidenceFact("image", Weight.HELD, detail)
    model, digest = str(release.body["model"]), str(release.body["digest"])
    if not services.registry.has(model, digest):
        return EvidenceFact("image", Weight.FAILED, f"{digest} of {model} is not in the registry any more")
    tag = release.subject.removeprefix(f"{model}-")
    found = services.registry.find_tag(model, tag)
    if found and found != digest:
        return EvidenceFact(
            "image", Weight.FAILED, f"tag {tag} of {model} was moved to {found}; released was {digest}"
        )
    return EvidenceFact("image", Weight.HELD, services.registry.reference(model, digest))


def _weigh_verification(services: Services, release: Entry) -> EvidenceFact:
    """The report whose sha256 the release names, of the very image that it names, passed."""

    def say(weight: Weight, detail: str) -> EvidenceFact:
        return EvidenceFact("verification", weight, detail)

    if find_elsewhere(release):
        return say(Weight.HELD, "it is IoT Edge's own program: the first wave tries it")
    model, digest = str(release.body["model"]), str(release.body["digest"])
    bodies = services.registry.attached(model, digest, VERIFICATION_TYPE)
    if not bodies:
        return say(Weight.NOT_AVAILABLE, "no verification is attached to the image")
    named = str(release.body.get("verification_sha256"))
    body = next((one for one in bodies if hashlib.sha256(one).hexdigest() == named), None)
    if body is None:
        return say(
            Weight.FAILED,
            f"no verification attached to the image is the one that the release names, sha256 {named[:12]}: "
            "it was edited or replaced",
        )
    try:
        verification = parse_verification(body)
    except UsageError as error:
        return say(Weight.FAILED, error.problem)
    if verification.digest != digest:
        return say(Weight.FAILED, f"it is a verification of {verification.digest}")
    if not verification.passed:
        return say(Weight.FAILED, "; ".join(verification.problems[:1]) or "it did not pass")
    worst = f"worst relative difference {verification.worst_relative:.1e}"
    return say(Weight.HELD, f"{verification.asked} equal, {worst}, runtime {verification.runtime}")


def _weigh_missing() -> Iterator[EvidenceFact]:
    for kind in ("sbom", "signature"):
        yield EvidenceFact(kind, Weight.NOT_AVAILABLE, "packaging makes none")
