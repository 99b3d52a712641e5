"""What a rollout's facts mean: the state of each device, and of the whole. Pure.

Green means measured on the device: a device counts only when it *reports* a version at or past the one
that brought this release, this release's image, running, and a passed verdict of its own companion for
this digest, these cases and this rollout's nonce, which shows what was answered (`smoke_proof`). Of a
companion's release, such a verdict of every model that the device has, asked through this very companion; of
an agent's, one of every model that was asked once this very agent ran.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from edgeferry.domain.model import COMPANION, DEVICE_AGENT, RESERVED
from edgeferry.domain.smoke import CaseSet, SmokeRequest, Verdict
from edgeferry.domain.smoke_proof import Question, weigh


class State(StrEnum):
    """The words for how a rollout stands or ended."""

    PENDING = "Pending"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    UNREACHABLE = "Unreachable"
    INCONCLUSIVE = "Inconclusive"
    SKIPPED = "Skipped"
    REVERTED = "Reverted"
    """A person took back what devices had."""


@dataclass(frozen=True)
class Wanted:
    """What a device must prove."""

    module: str
    digest: str
    image_hashes: frozenset[str]
    """Digests an engine may report for this image: index, manifest or config; none where nobody here can read
    it, and the engine alone sees to it that it is of this digest."""
    cases_sha256: str
    nonce: str
    cases: CaseSet | None = None
    """The cases of `cases_sha256`, to judge again what the companion shows; None when they are not at
    hand."""

    @property
    def question(self) -> Question:
        """What the companion was asked."""
        return Question(self.digest, self.cases_sha256, self.nonce, self.cases)


@dataclass(frozen=True)
class Asked:
    """A model that the companion of a device is to ask, and its word on it."""

    request: SmokeRequest
    verdict: Verdict | None
    cases: CaseSet | None = None
    """The cases of `request`; None when they are not at hand."""


@dataclass(frozen=True)
class DeviceFacts:
    """What one targeted device's twins say about one module."""

    device: str
    connected: bool
    """Whether the agent is connected to the hub now."""
    has_base: bool
    desired_image: str
    """The module's image in the agent's desired properties; "" when the layer is not applied."""
    brought_by: int
    """The desired version that brought the module as it is."""
    reported_version: int
    """`lastDesiredVersion` as the agent reports it; 0 before the first."""
    status_code: int
    status_reason: str
    image: str
    image_hash: str
    runtime_status: str
    runtime_reason: str
    verdict: Verdict | None
    since: str = ""
    """When the module was started by its device's clock, by which its companion's verdicts are dated too: ISO
    8601; "" where nothing says."""
    layer_outcome: str = ""
    """What the agent says of the deployment that brought the module; "" where it says nothing of any (Azure
    IoT Edge)."""
    layer_reason: str = ""
    companion: str = ""
    """The nonce of the rollout that brought the companion, by its own word."""
    asked: tuple[Asked, ...] = ()
    """All models of the device that its companion is to ask, where it is the companion or the agent that is
    looked at."""
    models: tuple[str, ...] = ()
    """All that its agent is to run then, whether or not a companion was seen."""
    heard: Mapping[str, Verdict] = field(default_factory=dict)
    """By model what the companion answered when it was asked afresh, with the nonce of this rollout, once the
    agent was the one that is wanted."""


@dataclass(frozen=True)
class Outcome:
    """One device's state, and why."""

    device: str
    state: State
    reason: str
    digest: str = ""
    verdict: Verdict | None = None


_GIVEN_UP = {
    "RolledBack": "the device went back to what it had proven before",
    "Refused": "the device's owner does not allow it",
    "Failed": "it failed on the device, which has nothing to go back to",
}
_BROKEN = frozenset({"failed", "backoff", "dead", "unhealthy"})
_Say = Callable[[State, str], Outcome]


def judge_device(wanted: Wanted, facts: DeviceFacts) -> Outcome:
    """The device's state as of these facts; `Pending` while it may still get there."""
    say = _sayer(facts)
    if missing := _judge_presence(wanted, facts, say):
        return missing
    if wanted.module in RESERVED:
        return _judge_program(wanted, facts, say)
    return _judge_verdict(wanted, facts, say)


def find_unasked(wanted: Wanted, facts: DeviceFacts) -> tuple[str, ...] | None:
    """Models that the companion is to be asked about now, with this rollout's nonce: their device runs the
    agent that is wanted, and what was known of them before says nothing of that. None while it does not."""
    if wanted.module != DEVICE_AGENT or _judge_presence(wanted, facts, _sayer(facts)):
        return None
    unknown = (one for one in facts.asked if _weigh_since(wanted, facts, one)[0] == "Inconclusive")
    return tuple(one.request.model for one in unknown)


def _sayer(facts: DeviceFacts) -> _Say:
    def say(state: State, reason: str) -> Outcome:
        digest = facts.image.partition("@")[2]
        return Outcome(facts.device, state, reason, digest, facts.verdict)

    return say


def _judge_presence(wanted: Wanted, facts: DeviceFacts, say: _Say) -> Outcome | None:
    """What keeps the device from running what is wanted; None when it does."""
    if not facts.desired_image:
        missing = "the layer is not applied yet" if facts.has_base else "it has no base deployment"
        return say(State.PENDING, missing)
    if not facts.desired_image.endswith("@" + wanted.digest):
        return say(State.PENDING, f"another deployment decides this module: {facts.desired_image}")
    if facts.reported_version < facts.brought_by:
        return say(
            State.PENDING,
            f"it reports version {facts.reported_version}, the release came with {facts.brought_by}",
        )
    if given_up := _GIVEN_UP.get(facts.layer_outcome):
        return say(State.FAILED, f"{given_up}: {facts.layer_reason}")
    if not _runs(wanted, facts):
        fault = f"its agent reports {facts.status_code}: {facts.status_reason}"
        return say(State.PENDING, fault if _faulty(facts) else f"it runs {facts.image or 'nothing'}")
    if wanted.module == DEVICE_AGENT and not facts.image_hash:
        return say(State.FAILED, "its agent is no container, and no image updates it")
    if wanted.image_hashes and facts.image_hash not in wanted.image_hashes:
        return say(State.FAILED, f"it runs an image of another content: {facts.image_hash or 'unknown'}")
    if not facts.connected:
        return say(State.PENDING, "its agent is not connected")
    if facts.runtime_status != "running":
        return say(State.PENDING, f"the module is {facts.runtime_status}: {facts.runtime_reason}")
    return None


def _judge_program(wanted: Wanted, facts: DeviceFacts, say: _Say) -> Outcome:
    """By all models of the device: they pass through this companion, or since this agent runs."""
    is_companion = wanted.module == COMPANION
    if is_companion and facts.companion != wanted.nonce:
        return say(State.PENDING, "the companion of this rollout has not answered")
    found = [(one.request.model, *_weigh_asked(wanted, facts, one)) for one in facts.asked]
    unseen = sorted(set(facts.models) - {model for model, *_ in found})
    found += [(model, "Inconclusive", "no companion was seen that is to ask it") for model in unseen]
    for worth, state in (("Failed", State.FAILED), ("Inconclusive", State.PENDING)):
        for model, is_worth, reason in found:
            if is_worth == worth:
                return say(state, f"{model}: {reason}")
    does, how = ("answers", "passed through it") if is_companion else ("runs", "passed since it runs")
    models = f"{len(found)} model{'s' if len(found) != 1 else ''} {how}"
    return say(State.SUCCEEDED, models if found else f"it {does}; the device has no models")


def _weigh_asked(wanted: Wanted, facts: DeviceFacts, asked: Asked) -> tuple[str, str]:
    """What is to be believed of a model, as far as it says something of the program that is wanted."""
    if wanted.module == COMPANION:
        return _weigh_through(wanted, asked)
    return _weigh_since(wanted, facts, asked)


def _weigh_since(wanted: Wanted, facts: DeviceFacts, asked: Asked) -> tuple[str, str]:
    """The same of an agent: what the model answered since it runs; a verdict that has failed since then
    counts whoever asked for it."""
    request, said = asked.request, asked.verdict
    if said is not None and _moment_s(said.at) >= _moment_s(facts.since):
        question = Question(request.digest, request.cases_sha256, request.nonce, asked.cases)
        state, reason = weigh(said, question)
        if state == "Failed":
            return state, f"smoke test failed: {reason}"
    heard = facts.heard.get(request.model)
    if heard is None or (heard.digest, heard.cases_sha256) != (request.digest, request.cases_sha256):
        return "Inconclusive", "it was not asked since this agent runs"
    state, reason = weigh(heard, Question(request.digest, request.cases_sha256, wanted.nonce, asked.cases))
    return state, reason if state == "Passed" else f"smoke test {state.lower()}: {reason}"


def _moment_s(text: str) -> float:
    """Unix seconds of an ISO 8601 text, UTC unless it says; not a number, which no other is at or after,
    where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _weigh_through(wanted: Wanted, asked: Asked) -> tuple[str, str]:
    """What is to be believed of a model, by what this companion shows of it."""
    request, verdict = asked.request, asked.verdict
    if verdict is None or (verdict.companion, verdict.nonce) != (wanted.nonce, request.nonce):
        return "Inconclusive", "it was not asked through this companion"
    question = Question(request.digest, request.cases_sha256, request.nonce, asked.cases)
    state, reason = weigh(verdict, question, unshown="Failed")
    return state, reason if state == "Passed" else f"smoke test {state.lower()}: {reason}"


def _runs(wanted: Wanted, facts: DeviceFacts) -> bool:
    return facts.image.endswith("@" + wanted.digest)


def _faulty(facts: DeviceFacts) -> bool:
    """Whether the agent could not do all of its last desired version; it may be another module's fault."""
    return facts.status_code not in (0, 200)


def _judge_verdict(wanted: Wanted, facts: DeviceFacts, say: _Say) -> Outcome:
    verdict = facts.verdict
    if verdict is None:
        return say(State.PENDING, "its companion has not reported a verdict")
    fresh = (verdict.digest, verdict.cases_sha256, verdict.nonce)
    if fresh != (wanted.digest, wanted.cases_sha256, wanted.nonce):
        return say(State.PENDING, "its companion's verdict is about another release or rollout")
    state, reason = weigh(verdict, wanted.question)
    if state == "Passed":
        return say(State.SUCCEEDED, f"{verdict.asked} smoke cases passed")
    if state == "Failed":
        return say(State.FAILED, f"smoke test failed: {reason}")
    return say(State.PENDING, f"smoke test inconclusive: {reason}")


def _is_inconclusive(wanted: Wanted, facts: DeviceFacts) -> bool:
    """Whether it was asked in this rollout, and that says nothing."""
    if wanted.module == COMPANION:
        heard = [one for one in facts.asked if one.verdict and one.verdict.companion == wanted.nonce]
        return any(_weigh_through(wanted, one)[0] == "Inconclusive" for one in heard)
    if wanted.module == DEVICE_AGENT:
        answered = [one for one in facts.asked if one.request.model in facts.heard]
        return any(_weigh_since(wanted, facts, one)[0] == "Inconclusive" for one in answered)
    verdict = facts.verdict
    if verdict is None or verdict.nonce != wanted.nonce:
        return False
    return weigh(verdict, wanted.question)[0] == "Inconclusive"


def judge_at_deadline(wanted: Wanted, facts: DeviceFacts) -> Outcome:
    """The device's final state: `Pending` becomes the word for what kept it from success."""
    outcome = judge_device(wanted, facts)
    if outcome.state is not State.PENDING:
        return outcome
    if not facts.connected:
        state = State.UNREACHABLE
    elif (_faulty(facts) and not _runs(wanted, facts)) or facts.runtime_status in _BROKEN:
        state = State.FAILED
    elif _is_inconclusive(wanted, facts):
        state = State.INCONCLUSIVE
    else:
        state = State.TIMED_OUT
    return Outcome(outcome.device, state, outcome.reason, outcome.digest, outcome.verdict)


def judge_rollout(outcomes: Sequence[Outcome]) -> tuple[State, str]:
    """The rollout's state and why: the worst of its devices; nobody targeted is `Inconclusive`."""
    if not outcomes:
        return State.INCONCLUSIVE, "nobody targeted"
    order = (State.PENDING, State.FAILED, State.UNREACHABLE, State.TIMED_OUT, State.INCONCLUSIVE)
    for state in order:
        hit = [outcome for outcome in outcomes if outcome.state is state]
        if hit:
            return state, "; ".join(f"{outcome.device}: {outcome.reason}" for outcome in hit)
    return State.SUCCEEDED, f"measured on {len(outcomes)} device{'s' if len(outcomes) != 1 else ''}"
