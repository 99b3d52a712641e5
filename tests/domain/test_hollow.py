"""Hollow devices: what happens to them happens at its own time, and as a real device would report it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.hollow import advance, ask, next_at, note_traffic, serve_until, want
from edgeferry.domain.hollow_device import Hollow, Pace, is_on
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.hollow_report import report_agent, tell_facts
from edgeferry.domain.manifest import DeviceManifest, ModuleSpec
from edgeferry.domain.model import Tolerance
from edgeferry.domain.rollout import State, Wanted, judge_at_deadline, judge_device
from edgeferry.domain.smoke import (
    BetweenCase,
    CaseSet,
    ChangesCase,
    DecreasingCase,
    EqualCase,
    IncreasingCase,
    MemoryCase,
    RefusedCase,
    SameCase,
    SmokeRequest,
)

T0 = 1_700_000_000.0
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CASES = CaseSet(
    model="taxi",
    version="2",
    tolerance=Tolerance(1e-6, 1e-6),
    latency_ms=100.0,
    cases=(
        EqualCase("equal", ((1.0, 2.0), (3.0, 4.0)), (5.0, 6.0), repeats=2),
        RefusedCase("refused", {"data": "x"}),
        IncreasingCase("up", ((1.0,), (2.0,), (3.0,))),
        DecreasingCase("down", ((1.0,), (2.0,))),
        BetweenCase("between", ((1.0,),), 0.0, 10.0),
        ChangesCase("changes", ((1.0,), (2.0,))),
        SameCase("same", ((({"data": [[1], [2]]}),), ({"data": [[1]]}, {"data": [[2]]}))),
        MemoryCase("memory", ((1.0,),), 1_000_000),
    ),
)
WANTED = Wanted("taxi", NEW, frozenset({NEW}), "cases", "nonce", CASES)


def request(digest: str, nonce: str = "nonce") -> SmokeRequest:
    return SmokeRequest("taxi", "http://taxi:8080", digest, "2", "cases", nonce)


def manifest(digest: str) -> DeviceManifest:
    companion = ModuleSpec("companion", "r/companion@sha256:cc", layer="companion")
    taxi = ModuleSpec("taxi", f"r/taxi@{digest}", layer=f"layer-{digest[7]}")
    return DeviceManifest({"companion": companion, "taxi": taxi})


def live(hollow: Hollow, until: float) -> Hollow:
    """The device, looked at whenever something happens."""
    at = next_at(hollow, hollow.wanted_at)
    while at < until:
        hollow = advance(hollow, lambda _: CASES, at)
        at = next_at(hollow, at)
    return advance(hollow, lambda _: CASES, until)


def proven(*faults: Fault) -> Hollow:
    """A device that has proven the old version, and is 100 seconds old."""
    new = Hollow("d1", 7, T0, faults, Pace(trial=TrialRules(window_s=20)))
    new = ask(want(new, manifest(OLD), 1, T0), {"taxi": request(OLD, "first")}, T0)
    return live(new, T0 + 100)


def released(*faults: Fault, after_s: float = 60) -> Hollow:
    """The same, `after_s` after the new version was desired."""
    device = proven(*faults)
    device = ask(want(device, manifest(NEW), 2, T0 + 100), {"taxi": request(NEW)}, T0 + 100)
    return live(device, T0 + 100 + after_s)


def fault(kind: str, **more: object) -> Fault:
    """A fault of the new version only."""
    return replace(Fault(kind, module="taxi", digest=NEW), **more)


@pytest.mark.parametrize(
    ("faults", "state", "words"),
    [
        pytest.param((), State.SUCCEEDED, "8 smoke cases passed", id="sound"),
        pytest.param((fault("dead"),), State.FAILED, "went back", id="a dead module is taken back"),
        pytest.param((fault("flapping"),), State.FAILED, "went back", id="a flapping one too"),
        pytest.param((fault("wrong_digest"),), State.FAILED, "another content", id="another image's content"),
        pytest.param((fault("image_404"),), State.FAILED, "404", id="no such image"),
        pytest.param((fault("http_500"),), State.FAILED, "went back", id="answers 500"),
        pytest.param((fault("wrong_predictions"),), State.FAILED, "went back", id="answers wrongly"),
        pytest.param((fault("slow_start", seconds=20.0),), State.SUCCEEDED, "passed", id="slow, but in time"),
        pytest.param((fault("slow_start", seconds=900.0),), State.INCONCLUSIVE, "answer", id="too slow"),
        pytest.param((Fault("offline", from_s=90),), State.UNREACHABLE, "not connected", id="offline"),
        pytest.param((Fault("no_companion", from_s=90),), State.INCONCLUSIVE, "answer", id="none"),
        pytest.param((Fault("lying_digest"),), State.TIMED_OUT, "another release", id="lies of the digest"),
        pytest.param((Fault("lying_cases"),), State.TIMED_OUT, "another release", id="lies of the cases"),
        pytest.param((Fault("lying_nonce"),), State.TIMED_OUT, "another release", id="lies of the nonce"),
        pytest.param(
            (fault("wrong_predictions"), Fault("lying_verdict")),
            State.FAILED,
            "says Passed, but",
            id="says Passed of wrong answers",
        ),
        pytest.param(
            (Fault("registry_down", module="taxi", from_s=95, until_s=130),),
            State.SUCCEEDED,
            "passed",
            id="the registry comes back in time",
        ),
        pytest.param(
            (Fault("registry_down", module="taxi", from_s=95),),
            State.FAILED,
            "does not answer",
            id="the registry does not come back",
        ),
    ],
)
def test_a_rollout_judges_a_hollow_device_by_its_fault(
    faults: tuple[Fault, ...], state: State, words: str
) -> None:
    device = released(*faults, after_s=90)
    outcome = judge_at_deadline(WANTED, tell_facts(device, "taxi", 2, T0 + 190))
    assert (outcome.state, words in outcome.reason) == (state, True), outcome


def test_nothing_is_green_before_it_was_measured() -> None:
    states = [
        judge_device(WANTED, tell_facts(released(after_s=seconds), "taxi", 2, T0 + 100 + seconds)).state
        for seconds in (0, 1, 2, 10)
    ]
    assert states[0] is State.PENDING
    assert states[-1] is State.SUCCEEDED


def test_a_failed_layer_goes_back_to_what_was_proven() -> None:
    report = report_agent(released(fault("http_500")), T0 + 160)
    assert report.modules["taxi"].spec.image.endswith(OLD)
    assert report.layers["layer-b"].outcome == "RolledBack"
    assert report.status_code == 500
    assert report.last_desired_version == 2


def test_how_often_a_device_is_looked_at_changes_nothing() -> None:
    often, seldom = released(), proven()
    seldom = ask(want(seldom, manifest(NEW), 2, T0 + 100), {"taxi": request(NEW)}, T0 + 100)
    seldom = advance(seldom, lambda _: CASES, T0 + 160)
    assert seldom.verdicts == often.verdicts
    assert seldom.running == often.running
    for second in range(100, 160):
        often = note_traffic(often, T0 + second)
    assert serve_until(often, "taxi", T0 + 160) == serve_until(seldom, "taxi", T0 + 160)


def test_the_same_seed_gives_the_same_and_another_one_does_not() -> None:
    one = want(Hollow("d1", 7, T0), manifest(OLD), 1, T0)
    same = want(Hollow("d1", 7, T0), manifest(OLD), 1, T0)
    other = want(Hollow("d1", 8, T0), manifest(OLD), 1, T0)
    assert one.images == same.images
    assert one.images != other.images


def test_what_the_version_before_answered_is_not_told_of_the_one_of_now() -> None:
    before = note_traffic(proven(), T0 + 100)
    assert 90 <= before.served["taxi"].traffic.requests <= 110
    served = serve_until(released(), "taxi", T0 + 160)
    assert served is not None
    assert served.digest == NEW
    assert served.traffic.requests <= 70


def test_a_quiet_model_is_not_asked() -> None:
    device = released(fault("quiet", rate=0.0))
    served = serve_until(device, "taxi", T0 + 160)
    assert served is not None
    assert served.traffic.requests == 0


def test_a_fault_is_on_in_its_time_only() -> None:
    device = Hollow("d1", 7, T0, (Fault("offline", from_s=10, until_s=20),), Pace())
    assert [is_on(device, "offline", T0 + at) for at in (9, 10, 19, 20)] == [False, True, True, False]
