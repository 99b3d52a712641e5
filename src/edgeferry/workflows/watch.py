"""Watch: what devices report of one layer, until each has proven it or time is up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgeferry.domain.layering import AGENT
from edgeferry.domain.model import COMPANION
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import DeviceFacts, Outcome, State, Wanted, judge_at_deadline, judge_device
from edgeferry.errors import HubError
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer
from edgeferry.wire.facts import parse_facts
from edgeferry.workflows.cases import Known, add_cases, fetch_cases

POLL_S = 0.25


def fetch_facts(services: Services, device: str, module: str) -> DeviceFacts:
    """What the hub knows now of one module on one device."""
    agent = services.hub.module_twin(device, AGENT)
    companion = services.hub.module_twin(device, COMPANION)
    return parse_facts(device, module, agent, companion)


def fetch_wanted(services: Services, release: Entry, layer: ModelLayer) -> Wanted:
    """What a device must report to have proven the layer."""
    asked = layer.model != COMPANION
    return Wanted(
        module=layer.model,
        digest=layer.digest,
        image_hashes=frozenset({layer.digest, release.body["config_digest"]}),
        cases_sha256=layer.cases_sha256,
        nonce=layer.nonce,
        cases=fetch_cases(services, layer.model, layer.digest, layer.cases_sha256) if asked else None,
    )


def watch(
    services: Services,
    release: Entry,
    layer: ModelLayer,
    targeted: Sequence[str],
    timeout_s: float,
    on_change: Callable[[Outcome], None],
) -> list[Outcome]:
    """The outcome of each targeted device, when all have ended or time is up.

    A hub that does not answer is waited for; the last facts known are judged at the deadline.
    """
    wanted = fetch_wanted(services, release, layer)
    deadline = services.now() + timeout_s
    told: dict[str, Outcome] = {}
    facts: dict[str, DeviceFacts] = {}
    known: Known = {}
    while True:
        for device in targeted:
            before = told.get(device)
            if before and before.state is not State.PENDING:
                continue
            try:
                found = fetch_facts(services, device, layer.model)
                facts[device] = add_cases(services, found, known)
            except HubError as error:
                if not error.retryable or services.now() >= deadline:
                    raise
                continue
            outcome = judge_device(wanted, facts[device])
            if is_news(before, outcome):
                on_change(outcome)
            told[device] = outcome
        if len(told) == len(targeted) and all(each.state is not State.PENDING for each in told.values()):
            return [told[device] for device in targeted]
        if services.now() >= deadline:
            return [end_outcome(wanted, device, told, facts) for device in targeted]
        services.sleep(POLL_S)


def is_news(before: Outcome | None, outcome: Outcome) -> bool:
    """Whether the outcome says something else than the one before."""
    return before is None or replace(outcome, verdict=None) != replace(before, verdict=None)


def end_outcome(
    wanted: Wanted, device: str, told: Mapping[str, Outcome], facts: Mapping[str, DeviceFacts]
) -> Outcome:
    """The device's final word, by the last facts known."""
    outcome = told.get(device)
    if outcome is None:
        return Outcome(device, State.UNREACHABLE, "the hub told nothing of it")
    return outcome if outcome.state is not State.PENDING else judge_at_deadline(wanted, facts[device])
