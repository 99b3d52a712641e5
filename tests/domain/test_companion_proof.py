"""What a companion's release has to prove on a device: itself, and every model through it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.hollow import advance, ask, next_at, want
from edgeferry.domain.hollow_device import Hollow, Pace
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.hollow_report import tell_facts
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.domain.model import Tolerance
from edgeferry.domain.rollout import DeviceFacts, State, Wanted, judge_at_deadline, judge_device
from edgeferry.domain.smoke import NONCE_VARIABLE, CaseSet, EqualCase, SmokeRequest

T0 = 1_700_000_000.0
OLD, NEW, MODEL = "sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64
CASES = CaseSet("", "1", Tolerance(1e-6, 1e-6), 100.0, (EqualCase("one", ((1.0,),), (5.0,)),))
WANTED = Wanted("companion", NEW, frozenset({NEW}), "", "now")
LATER_S = 90.0


def manifest(digest: str, nonce: str, models: tuple[str, ...]) -> DeviceManifest:
    companion = ModuleSpec(
        "companion", f"r/companion@{digest}", env={NONCE_VARIABLE: nonce}, layer=f"companion-{nonce}"
    )
    asked = {name: ModuleSpec(name, f"r/{name}@{MODEL}", layer=name) for name in models}
    return DeviceManifest({"companion": companion, **asked})


def request(model: str, nonce: str = "long ago") -> SmokeRequest:
    return SmokeRequest(model, f"http://{model}:8080", MODEL, "1", "cases", nonce)


def live(hollow: Hollow, until: float) -> Hollow:
    at = next_at(hollow, hollow.wanted_at)
    while at < until:
        hollow = advance(hollow, lambda _: CASES, at)
        at = next_at(hollow, at)
    return advance(hollow, lambda _: CASES, until)


def device(*faults: Fault, models: tuple[str, ...] = ("taxi", "bus"), after_s: float = LATER_S) -> Hollow:
    """A device whose models were proven through the old companion, so long after the new one was desired."""
    new = Hollow("d1", 7, T0, faults, Pace(trial=TrialRules(window_s=20)))
    new = ask(want(new, manifest(OLD, "before", models), 1, T0), {name: request(name) for name in models}, T0)
    new = live(new, T0 + 100)
    return live(want(new, manifest(NEW, "now", models), 2, T0 + 100), T0 + 100 + after_s)


def facts(hollow: Hollow, after_s: float = LATER_S, cases: CaseSet | None = CASES) -> DeviceFacts:
    return tell_facts(hollow, "companion", 2, T0 + 100 + after_s, lambda _: cases)


@pytest.mark.parametrize(
    ("faults", "state", "words"),
    [
        pytest.param((), State.SUCCEEDED, "2 models passed through it", id="sound"),
        pytest.param((Fault("asks_nothing", digest=NEW),), State.FAILED, "0 of 1", id="asks nothing"),
        pytest.param(
            (Fault("lying_verdict", digest=NEW), Fault("wrong_predictions", module="bus", from_s=95)),
            State.FAILED,
            "bus: smoke test failed: the companion says Passed, but one",
            id="says Passed of wrong answers",
        ),
        pytest.param(
            (Fault("wrong_predictions", module="bus", from_s=95),),
            State.FAILED,
            "bus: smoke test failed",
            id="a model that fails through it",
        ),
        pytest.param(
            (Fault("wrong_digest", module="companion", digest=NEW),),
            State.FAILED,
            "another content",
            id="another image's content",
        ),
        pytest.param(
            (Fault("dead", module="companion", digest=NEW),), State.FAILED, "went back", id="it crashes"
        ),
        pytest.param(
            (Fault("lying_digest", digest=NEW),), State.FAILED, "another release", id="lies of the digest"
        ),
        pytest.param(
            (Fault("lying_cases", digest=NEW),), State.FAILED, "another release", id="lies of the cases"
        ),
        pytest.param(
            (Fault("lying_nonce", digest=NEW),), State.INCONCLUSIVE, "not asked", id="lies of the nonce"
        ),
        pytest.param(
            (Fault("no_companion", from_s=95),), State.INCONCLUSIVE, "not answered", id="does not run"
        ),
        pytest.param((Fault("offline", from_s=95),), State.UNREACHABLE, "not connected", id="offline"),
        pytest.param(
            (Fault("slow_start", module="bus", seconds=900, from_s=95),),
            State.INCONCLUSIVE,
            "bus: smoke test inconclusive",
            id="a model that does not answer it",
        ),
    ],
)
def test_a_companions_rollout_judges_a_device_by_its_fault(
    faults: tuple[Fault, ...], state: State, words: str
) -> None:
    outcome = judge_at_deadline(WANTED, facts(device(*faults)))
    assert (outcome.state, words in outcome.reason) == (state, True), outcome


def test_a_device_without_models_proves_that_the_companion_answers() -> None:
    bare = facts(device(models=()))
    assert judge_device(WANTED, bare).state is State.SUCCEEDED
    assert judge_device(WANTED, replace(bare, companion="before")).state is State.PENDING


def test_what_the_companion_before_found_out_proves_nothing() -> None:
    seconds = [step / 4 for step in range(40)]
    outcomes = [judge_device(WANTED, facts(device(after_s=at), at)) for at in seconds]
    states = [outcome.state for outcome in outcomes]
    assert states == sorted(states, key=[State.PENDING, State.SUCCEEDED].index)
    assert len(set(states)) == 2
    assert any("not asked through this companion" in outcome.reason for outcome in outcomes)
    proven = device()
    old = {name: replace(verdict, companion="before") for name, verdict in proven.verdicts.items()}
    assert judge_device(WANTED, facts(replace(proven, verdicts=old))).state is State.PENDING


def test_a_model_that_was_rolled_out_meanwhile_has_to_be_asked_for_that() -> None:
    proven = device()
    meanwhile = {**proven.requests, "taxi": (request("taxi", "just now"), T0)}
    outcome = judge_device(WANTED, facts(replace(proven, requests=meanwhile)))
    assert (outcome.state, outcome.reason) == (
        State.PENDING,
        "taxi: it was not asked through this companion",
    )


def test_without_the_cases_at_hand_nothing_is_held_against_it_and_nothing_is_green() -> None:
    assert judge_at_deadline(WANTED, facts(device(), cases=None)).state is State.INCONCLUSIVE
