"""What a rollout does next: tables of cases, and laws that hold whatever devices, people and crashes do."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_action import (
    Action,
    AskApproval,
    Commit,
    End,
    Hold,
    JudgeWave,
    Repair,
    RollBack,
    Soak,
    StartWave,
    Wait,
)
from edgeferry.domain.rollout_decision import find_deadline, needs_evidence
from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.domain.rollout_policy import Budget, Guard, Limit, RolloutPolicy, Share, parse_policy
from edgeferry.domain.rollout_state import Phase, RolloutState, fold
from edgeferry.domain.wave import parse_tag
from tests.domain.rollout_worlds import (
    NEW,
    OLD,
    START_S,
    OutcomeOf,
    World,
    a_plan,
    a_start,
    an_entry,
    succeeds,
)

SITE = parse_tag("tags.site")
assert SITE
QUIET = RolloutPolicy(guard=Guard(compare=False))
SOAKING = replace(QUIET, soak_s=60.0)


def says(word: State, *devices: str, else_of: OutcomeOf = succeeds) -> OutcomeOf:
    """These devices say the word, from the third second on; the others what `else_of` says."""

    def outcome_of(device: str, after_s: float) -> Outcome:
        if device in devices and after_s >= 2:
            return Outcome(device, word, f"it is {word}")
        return else_of(device, after_s)

    return outcome_of


def kinds(world: World) -> list[str]:
    """The actions, without what only waits."""
    return [type(each).__name__ for each in world.log if not isinstance(each, Wait)]


def test_one_wave_without_a_soak_is_started_judged_and_committed() -> None:
    world = World(a_plan(3), QUIET)
    assert world.run().end == (State.SUCCEEDED, "measured on 3 devices")
    assert kinds(world) == ["StartWave", "Repair", "JudgeWave", "Commit"]


def test_a_wave_soaks_before_the_next_one_starts() -> None:
    world = World(a_plan(1, 2), SOAKING)
    world.run()
    assert kinds(world) == ["StartWave", "Repair", "Soak", "JudgeWave"] * 2 + ["Commit"]
    assert world.now_s == START_S + 2 * (2 + 60)


@pytest.mark.parametrize(
    ("policy", "outcome_of", "end", "wave"),
    [
        pytest.param(QUIET, succeeds, "Succeeded", 3, id="all prove it"),
        pytest.param(QUIET, says(State.FAILED, "d1"), "Failed", 1, id="the first device fails"),
        pytest.param(QUIET, says(State.FAILED, "d9"), "Failed", 2, id="a device of the second wave fails"),
        pytest.param(
            replace(QUIET, errors=Limit(1), success=Share(0.9)),
            says(State.FAILED, "d9"),
            "Succeeded",
            3,
            id="one failure is allowed, and the share succeeds",
        ),
        pytest.param(
            replace(QUIET, errors=Limit(1), success=Share(0.9)),
            says(State.FAILED, "d9", "d8"),
            "Failed",
            2,
            id="one failure more than allowed",
        ),
        pytest.param(
            replace(QUIET, errors=Limit(5)),
            says(State.FAILED, "d9"),
            "held Inconclusive",
            2,
            id="a failure is allowed, but all have to succeed",
        ),
        pytest.param(QUIET, says(State.PENDING, "d1"), "held TimedOut", 1, id="a device never gets there"),
        pytest.param(QUIET, says(State.UNREACHABLE, "d1"), "held Unreachable", 1, id="a device is offline"),
        pytest.param(
            replace(QUIET, success=Share(0.9)),
            says(State.UNREACHABLE, "d30"),
            "Succeeded",
            3,
            id="a device is offline, and the share succeeds",
        ),
        pytest.param(
            QUIET, says(State.INCONCLUSIVE, "d1"), "held Inconclusive", 1, id="a smoke test says nothing"
        ),
    ],
)
def test_how_a_rollout_in_three_waves_ends(
    policy: RolloutPolicy, outcome_of: OutcomeOf, end: str, wave: int
) -> None:
    world = World(a_plan(1, 9, 20), policy, outcome_of)
    state = world.run()
    last = world.log[-1]
    assert (f"held {last.state}" if isinstance(last, Hold) else str(state.end and state.end[0])) == end
    assert state.wave == wave
    assert (world.condition is None) == (end == "Failed")


def test_a_failure_takes_the_layer_away_before_the_rollout_ends() -> None:
    world = World(a_plan(1, 9), QUIET, says(State.FAILED, "d2"))
    world.run()
    assert kinds(world)[-3:] == ["JudgeWave", "RollBack", "End"]
    assert world.condition is None


def test_a_failure_is_not_waited_for() -> None:
    world = World(a_plan(10), QUIET, says(State.FAILED, "d2", else_of=says(State.PENDING, "d3")))
    world.run()
    assert world.now_s == START_S + 2


def test_a_failure_while_others_soak_goes_back_at_once() -> None:
    def outcome_of(device: str, after_s: float) -> Outcome:
        return says(State.FAILED, "d1")(device, after_s) if after_s >= 30 else succeeds(device, after_s)

    world = World(a_plan(2, 2), SOAKING, outcome_of)
    assert world.run().end is not None
    assert (world.started(), world.now_s) == ([1], START_S + 30)


def test_a_failure_after_a_wave_has_passed_still_goes_back() -> None:
    world = World(a_plan(1, 1), replace(QUIET, approve_waves=True))
    assert isinstance(world.log[-1] if world.run() and world.log else None, AskApproval)
    world.outcome_of = says(State.FAILED, "d1")
    world.now_s += 60
    assert world.run().end is not None
    assert world.condition is None


def test_a_held_wave_that_is_proven_later_goes_on_by_itself() -> None:
    def late(device: str, after_s: float) -> Outcome:
        return succeeds(device, after_s if device != "d1" else after_s - 500)

    world = World(a_plan(1, 2), replace(SOAKING, timeout_s=180), late)
    world.run()
    assert isinstance(world.log[-1], Hold)
    assert world.now_s <= START_S + 180 + 5
    world.now_s += 400
    state = world.run()
    assert state.end == (State.SUCCEEDED, "measured on 3 devices")
    assert [verdict.state for verdict in state.judged] == ["inconclusive", "pass", "pass"]


def test_a_verdict_of_each_hold_is_written_once() -> None:
    world = World(a_plan(1, 2), QUIET, says(State.PENDING, "d1"))
    for _ in range(400):
        world.step()
    assert kinds(world)[:3] == ["StartWave", "Repair", "JudgeWave"]
    assert set(kinds(world)[3:]) == {"Hold"}


def test_nobody_targeted_is_inconclusive_and_starts_nothing() -> None:
    plan = a_plan(0)
    world = World(plan, QUIET)
    assert world.run().end == (State.INCONCLUSIVE, "nobody targeted")
    assert world.started() == []


def test_devices_that_are_all_deleted_prove_nothing() -> None:
    world = World(a_plan(2), QUIET)
    world.step()
    world.step()
    world.gone = {"d1", "d2"}
    world.run()
    assert world.log[-1] == Hold(State.INCONCLUSIVE, "nobody targeted")
    assert not world.committed


def test_a_device_that_is_deleted_is_not_waited_for() -> None:
    world = World(a_plan(2), QUIET, says(State.PENDING, "d1"))
    world.step()
    world.step()
    world.gone = {"d1"}
    assert world.run().end == (State.SUCCEEDED, "measured on 1 device")


def test_a_device_that_joins_a_wave_has_to_prove_the_release_too() -> None:
    world = World(a_plan(2), QUIET)
    look = world.look
    world.look = lambda: replace(  # type: ignore[method-assign]
        look(),
        targeted=look().targeted | {"new"},
        outcomes={**look().outcomes, "new": says(State.FAILED, "new")("new", world.now_s - START_S)},
    )
    assert world.run().end is not None
    assert "new: it is Failed" in world.state.judged[-1].reason


@pytest.mark.parametrize("strata", [{"d1": "a", "d2": "a", "d3": "b"}])
def test_thresholds_hold_in_each_stratum(strata: dict[str, str]) -> None:
    """One failure of a hundred in all is one of one in its stratum."""
    names = {f"d{number}": "a" for number in range(1, 100)} | {"d100": "b"}
    policy = replace(QUIET, errors=Limit(0, 0.05), success=Share(0.95))
    world = World(a_plan(100, strata=names), policy, says(State.FAILED, "d100"))
    assert str(world.run().end[0]) == "Failed"  # type: ignore[index]
    assert world.state.judged[-1].reason.startswith("b: 1 of 1 failed, 0 may")
    world = World(a_plan(100, strata=names), policy, says(State.FAILED, "d99"))
    assert str(world.run().end[0]) == "Succeeded"  # type: ignore[index]


def test_a_paused_rollout_starts_nothing_and_goes_on_when_resumed() -> None:
    world = World(a_plan(1, 1), SOAKING)
    world.order("pause", "lunch")
    for _ in range(300):
        assert world.step() == Hold(State.INCONCLUSIVE, "paused by ana: lunch")
    assert world.started() == []
    world.order("resume")
    world.run(most_s=10)
    world.order("pause")
    for _ in range(300):
        assert isinstance(world.step(), Hold)
    assert world.started() == [1]
    world.order("resume")
    assert world.run().end is not None


def test_a_paused_rollout_still_goes_back_when_it_fails() -> None:
    world = World(a_plan(1, 1), SOAKING)
    world.run(most_s=10)
    world.order("pause")
    world.outcome_of = says(State.FAILED, "d1")
    state = world.run()
    assert state.end is not None
    assert state.end[0] is State.FAILED


@pytest.mark.parametrize(
    ("order", "word", "layer"),
    [
        pytest.param("abort", State.INCONCLUSIVE, "wave 1", id="abort leaves what is there"),
        pytest.param("revert", State.REVERTED, None, id="revert takes it back"),
    ],
)
def test_what_a_person_may_end(order: str, word: State, layer: str | None) -> None:
    world = World(a_plan(1, 1), SOAKING)
    world.run(most_s=10)
    world.order(order, "it smells")
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.condition, world.started()) == (word, layer, [1])
    assert "by ana: it smells" in state.end[1]


def test_an_order_before_the_first_wave_skips_the_rollout() -> None:
    for order in ("abort", "revert"):
        world = World(a_plan(1), QUIET)
        world.order(order)
        state = world.run()
        assert state.end is not None
        assert (state.end[0], world.started()) == (State.SKIPPED, [])


def test_promoting_goes_on_without_a_pass_but_never_says_succeeded() -> None:
    world = World(a_plan(1, 1), QUIET, says(State.UNREACHABLE, "d1"))
    world.run()
    world.order("promote", "d1 is in repair")
    world.run()
    assert world.started() == [1, 2]
    world.order("promote")
    state = world.run()
    assert state.end is not None
    assert state.end[0] is State.UNREACHABLE
    assert world.committed == 1


@pytest.mark.parametrize(
    ("others", "word"),
    [
        pytest.param({}, State.INCONCLUSIVE, id="the others have proven it"),
        pytest.param({"d2": State.UNREACHABLE}, State.UNREACHABLE, id="another one is away"),
    ],
)
def test_a_failure_that_is_allowed_leaves_the_word_of_a_promoted_rollout_to_the_others(
    others: dict[str, State], word: State
) -> None:
    def outcome_of(device: str, after_s: float) -> Outcome:
        state = {"d1": State.FAILED, **others}.get(device)
        return Outcome(device, state, "so it is") if state else succeeds(device, after_s)

    world = World(a_plan(3), replace(QUIET, errors=Limit(1)), outcome_of)
    world.run()
    world.order("promote", "d1 is in repair")
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.committed) == (word, 1)
    assert "1 failed, which the policy allows" in state.end[1]


def test_a_pipeline_cannot_promote() -> None:
    world = World(a_plan(1, 1), QUIET, says(State.UNREACHABLE, "d1"))
    world.run()
    world.order("promote", by="ci-main")
    world.run()
    assert isinstance(world.log[-1], Hold)
    assert world.started() == [1]


def test_a_pipeline_cannot_resume_what_a_person_paused() -> None:
    for paused_by, started in (("ana", []), ("ci", [1])):
        world = World(a_plan(1), QUIET)
        world.order("pause", by=paused_by)
        world.order("resume", by="ci")
        world.run(most_s=10)
        assert world.started() == started


def test_a_soak_that_a_person_cut_short_is_no_success() -> None:
    world = World(a_plan(1), SOAKING)
    world.run(most_s=10)
    world.order("promote", "no time")
    assert world.run().end == (
        State.INCONCLUSIVE,
        "promoted by ana: no time; measured on 1 device",
    )


def test_promoting_one_wave_is_no_word_on_the_next() -> None:
    world = World(a_plan(1, 1, 1), QUIET, says(State.PENDING, "d1", "d2"))
    world.run()
    world.order("promote")
    world.run()
    assert isinstance(world.log[-1], Hold)
    assert world.started() == [1, 2]


def test_promoting_a_wave_that_has_passed_meanwhile_is_no_word_on_the_next() -> None:
    entries = [
        a_start(),
        an_entry("wave", {"wave": 1, "event": "started", "condition": "wave 1"}, START_S),
        an_entry("wave", {"wave": 2, "event": "started", "condition": "wave 2"}, START_S),
    ]
    for said, wave in (({"wave": 1}, 1), ({"wave": 2}, 2), ({}, 2)):
        promoted = an_entry("order", {"order": "promote", "reason": "", **said}, START_S)
        assert [order.wave for order in fold([*entries, promoted]).orders] == [wave]


def test_promoting_does_not_help_what_fails() -> None:
    world = World(a_plan(1, 1), QUIET, says(State.FAILED, "d1"))
    world.run(most_s=1)
    world.order("promote")
    world.now_s += 5
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.started()) == (State.FAILED, [1])


def test_a_person_is_asked_between_waves() -> None:
    world = World(a_plan(1, 1), replace(QUIET, approve_waves=True))
    world.run()
    assert world.log[-1] == AskApproval(2, "wave 2 of 2: 1 more device")
    world.approve(2)
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.started()) == (State.SUCCEEDED, [1, 2])


def between_waves(sizes: tuple[int, int], policy: RolloutPolicy = QUIET) -> World:
    """A first wave that has passed, and a second one that was approved and has yet to start."""
    world = World(a_plan(*sizes), replace(policy, approve_waves=True))
    world.run()
    assert isinstance(world.log[-1], AskApproval)
    world.approve(2)
    return world


def test_what_was_proven_by_a_machine_that_is_gone_starts_no_wave_until_its_successor_proves_it() -> None:
    world = between_waves((1, 1))
    world.replace("d1")
    world.run(most_s=1)
    assert (world.started(), world.state.phase) == ([1], Phase.HELD)
    assert world.state.judged[-1].reason.startswith(
        "replaced since: d1; 0 of 1 succeeded, 1 must: d1: it pulls"
    )
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.started()) == (State.SUCCEEDED, [1, 2])
    assert [each.state for each in state.judged] == ["pass", "inconclusive", "pass", "pass"]


@pytest.mark.parametrize(
    ("sizes", "policy", "after_s", "before"),
    [
        pytest.param((1, 1), QUIET, 2.0, "1", id="the successor has proven it, too"),
        pytest.param((2, 1), replace(QUIET, success=Share(0.5)), 0.0, "1", id="enough others have"),
        pytest.param((1, 1), QUIET, 0.0, "", id="the hub does not tell machines apart"),
    ],
)
def test_a_machine_that_was_replaced_holds_nothing_up(
    sizes: tuple[int, int], policy: RolloutPolicy, after_s: float, before: str
) -> None:
    world = World(a_plan(*sizes), replace(policy, approve_waves=True), generations={"d1": before, "d2": "7"})
    world.run()
    world.approve(2)
    world.generations["d1"] = "2"
    world.reached_at["d1"] = world.now_s - after_s
    world.run(most_s=1)
    assert world.started() == [1, 2]


def test_a_machine_that_was_replaced_and_fails_takes_the_release_back() -> None:
    world = between_waves((2, 1))
    world.replace("d1")
    world.outcome_of = says(State.FAILED, "d1")
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.started()) == (State.FAILED, [1])


def test_the_last_wave_names_nobody_who_has_proven_it() -> None:
    world = World(a_plan(1, 1), QUIET)
    state = world.run()
    assert [dict(each.proven) for each in state.judged] == [{"d1": "1"}, {}]


def test_each_wave_names_only_who_has_proven_it_anew() -> None:
    world = World(a_plan(1, 1, 1, 1), replace(QUIET, approve_waves=True))
    for wave in (2, 3, 4):
        world.run()
        world.approved.add(wave)
        if wave == 2:
            world.replace("d1")
            world.reached_at["d1"] = world.now_s - 2
    state = world.run()
    assert [dict(each.proven) for each in state.judged] == [
        {"d1": "1"},
        {"d1": "2", "d2": "1"},
        {"d3": "1"},
        {},
    ]


def test_a_machine_of_an_early_wave_that_was_replaced_holds_a_late_one() -> None:
    world = World(a_plan(1, 1, 1), replace(QUIET, approve_waves=True))
    world.run()
    world.approved.add(2)
    world.run()
    world.replace("d1")
    world.outcome_of = says(State.PENDING, "d1")
    world.approved.add(3)
    world.run(most_s=5)
    assert world.started() == [1, 2]
    assert world.state.judged[-1].reason.startswith("replaced since: d1")


def test_a_promotion_is_no_approval_of_the_next_wave() -> None:
    world = World(a_plan(1, 1), replace(QUIET, approve_waves=True))
    world.run()
    world.order("promote")
    world.run()
    assert world.log[-1] == AskApproval(2, "wave 2 of 2: 1 more device")
    assert world.started() == [1]


def test_a_wave_waits_for_its_maintenance_window() -> None:
    # the world begins on a Tuesday at 22:13:20
    windows = parse_policy({"rollout.windows": "02:00-04:00; sat 12:00-13:00"}).windows
    world = World(a_plan(1), replace(QUIET, windows=windows))
    action = world.decide()
    assert isinstance(action, Wait)
    assert action.until_s - START_S == (3 * 60 + 46) * 60 + 40
    world.now_s = action.until_s
    assert isinstance(world.decide(), StartWave)


def test_a_release_is_taken_back_outside_the_windows_too() -> None:
    windows = parse_policy({"rollout.windows": "22:00-22:30"}).windows
    world = World(a_plan(2), replace(SOAKING, windows=windows))
    world.run(most_s=10)
    world.now_s += 3600
    world.outcome_of = says(State.FAILED, "d1")
    assert world.run().end is not None


def test_the_disruption_budget_holds_what_would_break_it() -> None:
    budget = replace(QUIET, budget=Budget(2, SITE), success=Share(0.5))
    world = World(a_plan(2, 4, groups=2), budget, says(State.UNREACHABLE, "d1"))
    world.run(most_s=500)
    assert world.started() == [1]
    assert "1 devices with tags.site = 'g0' are not well" in world.log[-1].reason
    world = World(a_plan(2, 6, groups=2), budget)
    world.run()
    assert world.started() == [1]
    assert "wave 2 changes 3 devices with tags.site = 'g0' at once, 2 may" in world.log[-1].reason


def test_a_layer_that_somebody_changed_is_mended() -> None:
    world = World(a_plan(2, 2), SOAKING)
    world.run(most_s=10)
    world.condition = "wave 2"
    assert world.step() == Repair("wave 1", "wave 1 was started, and the layer has another target condition")


@pytest.mark.parametrize("soak_s", [0.0, 60.0])
def test_a_wave_is_judged_when_its_deadline_has_come(soak_s: float) -> None:
    policy = replace(QUIET, soak_s=soak_s)
    world = World(a_plan(1, 1), policy, says(State.PENDING, "d1"))
    world.step()
    world.step()
    assert find_deadline(world.state, policy) == START_S + policy.timeout_s
    world.now_s = START_S + policy.timeout_s - 0.1
    assert isinstance(world.decide(), Wait)
    world.now_s = START_S + policy.timeout_s
    assert isinstance(world.step(), JudgeWave)
    assert isinstance(world.decide(), Hold)


def answers(worse: set[str], rate: float = 1.0, share: float = 0.07) -> World:
    """A world in which these devices' outputs leave the band on a share of requests under the release."""

    def evidence_of(device: str, exposed: bool, now_s: float) -> DeviceEvidence:
        count = int((now_s - START_S) * rate) if exposed else int(5000 + (now_s - START_S) * rate)
        stray = share if exposed and device in worse else 0.018
        hits = int(count * stray + int(device[1:]) / 100)
        return DeviceEvidence(
            device,
            NEW if exposed else OLD,
            count,
            0,
            {80: count},
            {300: count - hits, 500: hits // 2, 100: hits - hits // 2},
        )

    plan = a_plan(20, 80)
    return World(plan, RolloutPolicy(soak_s=300), evidence_of=evidence_of, tick_s=15)


ALL = {f"d{number}" for number in range(1, 101)}


def test_outputs_that_leave_the_band_more_often_take_the_release_back() -> None:
    world = answers(ALL)
    state = world.run()
    assert state.end is not None
    assert state.end[0] is State.FAILED
    assert "outputs outside the predecessor's band: 6." in state.end[1]
    assert world.started() == [1]
    assert world.now_s < START_S + 302


def test_outputs_like_the_predecessors_pass() -> None:
    world = answers(set())
    state = world.run()
    assert state.end is not None
    assert state.end[0] is State.SUCCEEDED
    assert "measured on 100 devices" in state.end[1]


def test_one_bad_device_does_not_take_the_release_back_but_holds_it() -> None:
    world = answers({"d1"}, share=0.9)
    world.run()
    assert isinstance(world.log[-1], Hold)
    assert world.started() == [1]


def test_too_little_traffic_never_promotes() -> None:
    world = answers(set(), rate=0.001)
    for _ in range(200):
        world.step()
    assert world.started() == [1]
    assert "tell too little" in world.log[-1].reason


def test_the_last_wave_is_compared_with_what_the_ledger_keeps_of_the_predecessor() -> None:
    world = answers(ALL, share=0.02)
    world.run(most_s=400)
    assert world.started() == [1, 2]
    world.evidence_of = answers(ALL).evidence_of
    state = world.run()
    assert state.end is not None
    assert (state.end[0], world.committed) == (State.FAILED, 0)


def test_no_soak_compares_nothing() -> None:
    assert not needs_evidence(fold([a_start()]), RolloutPolicy())
    assert needs_evidence(fold([a_start()]), RolloutPolicy(soak_s=1))


@pytest.mark.parametrize(
    ("events", "wave", "phase"),
    [
        pytest.param([], 0, "starting", id="only begun"),
        pytest.param([("started", 1)], 1, "rolling", id="a wave runs"),
        pytest.param([("started", 1), ("started", 1)], 1, "rolling", id="a wave that was started twice"),
        pytest.param([("started", 2)], 0, "starting", id="a wave out of turn"),
        pytest.param([("started", 1), ("soaking", 1)], 1, "soaking", id="it soaks"),
        pytest.param([("started", 1), ("soaking", 2)], 1, "rolling", id="another wave's soak"),
        pytest.param([("started", 1), ("pass", 1)], 1, "waiting", id="it has passed"),
        pytest.param([("started", 1), ("inconclusive", 1)], 1, "held", id="it is held"),
        pytest.param(
            [("started", 1), ("inconclusive", 1), ("soaking", 1)], 1, "soaking", id="held, then it soaks"
        ),
        pytest.param(
            [("started", 1), ("inconclusive", 1), ("pass", 1)], 1, "waiting", id="held, then passed"
        ),
        pytest.param([("started", 1), ("pass", 1), ("started", 2)], 2, "rolling", id="the next wave"),
        pytest.param([("started", 1), ("fail", 1)], 1, "reverting", id="it failed"),
        pytest.param([("started", 1), ("nonsense", 1)], 1, "held", id="a verdict that is no word"),
        pytest.param([("started", 1), ("pass", 2)], 1, "rolling", id="a verdict on a wave to come"),
        pytest.param([("started", 1), ("pause", 0)], 1, "paused", id="paused"),
        pytest.param([("started", 1), ("pause", 0), ("resume", 0)], 1, "rolling", id="resumed"),
        pytest.param([("started", 1), ("pause", 0), ("fail", 1)], 1, "reverting", id="paused, and failed"),
        pytest.param([("started", 1), ("abort", 0), ("resume", 0)], 1, "paused", id="aborted stays so"),
        pytest.param([("started", 1), ("dance", 0)], 1, "rolling", id="an order that is none"),
        pytest.param([("started", 1), ("end", 0), ("started", 2)], 1, "ended", id="after the end"),
    ],
)
def test_the_phase_that_entries_tell_of(events: list[tuple[str, int]], wave: int, phase: str) -> None:
    entries = [a_start()]
    for event, number in events:
        if event in ("started", "soaking"):
            entries.append(an_entry("wave", {"wave": number, "event": event, "condition": ""}, START_S))
        elif event in ("pass", "fail", "inconclusive", "nonsense"):
            verdict = {"state": event, "reason": ""}
            entries.append(an_entry("wave", {"wave": number, "event": "judged", "verdict": verdict}, START_S))
        elif event == "end":
            entries.append(an_entry("end", {"state": "Succeeded", "reason": ""}, START_S))
        else:
            entries.append(an_entry("order", {"order": event, "reason": ""}, START_S))
    state = fold(entries)
    assert (state.wave, str(state.phase)) == (wave, phase)


@pytest.mark.parametrize(
    ("ends", "word", "reason"),
    [
        pytest.param(["Succeeded"], State.SUCCEEDED, "0", id="not taken back"),
        pytest.param(
            ["Succeeded", "revert"],
            State.REVERTED,
            "reverted by ana: fares; how that ended is not in the ledger",
            id="ordered back, and no more is known, as in older ledgers",
        ),
        pytest.param(["Succeeded", "revert", "Reverted"], State.REVERTED, "2", id="taken back"),
        pytest.param(["Inconclusive", "revert", "Reverted"], State.REVERTED, "2", id="aborted, taken back"),
        pytest.param(["Succeeded", "Reverted"], State.SUCCEEDED, "0", id="nobody ordered that"),
        pytest.param(
            ["Succeeded", "revert", "Reverted", "Succeeded"], State.REVERTED, "2", id="an end that is none"
        ),
        pytest.param(["Succeeded", "abort", "Reverted"], State.SUCCEEDED, "0", id="another order"),
        pytest.param(["Failed", "revert", "Reverted"], State.FAILED, "0", id="it was back already"),
        pytest.param(["Skipped", "revert"], State.SKIPPED, "0", id="back already, in the word of before"),
    ],
)
def test_a_rollout_that_has_ended_can_be_taken_back(ends: list[str], word: State, reason: str) -> None:
    entries = [a_start(), an_entry("wave", {"wave": 1, "event": "started", "condition": ""}, START_S)]
    for number, each in enumerate(ends):
        if each in ("revert", "abort"):
            entries.append(an_entry("order", {"order": each, "reason": "fares"}, START_S))
        else:
            entries.append(an_entry("end", {"state": each, "reason": str(number)}, START_S))
    state = fold(entries)
    assert (state.end, str(state.phase)) == ((word, reason), "ended")


WORDS = st.sampled_from([State.SUCCEEDED, State.SUCCEEDED, State.PENDING, State.FAILED, State.UNREACHABLE])
POLICIES = st.builds(
    RolloutPolicy,
    success=st.sampled_from([Share(1.0), Share(0.5)]),
    errors=st.sampled_from([Limit(), Limit(1), Limit(0, 0.4)]),
    soak_s=st.sampled_from([0.0, 20.0]),
    approve_waves=st.booleans(),
    timeout_s=st.just(30.0),
    guard=st.just(Guard(compare=False)),
    budget=st.sampled_from([None, Budget(2, SITE)]),
)
DOINGS = st.sampled_from(
    ["step"] * 12
    + [
        "wait",
        "wait",
        "die before the hub",
        "twice",
        "pause",
        "resume",
        "abort",
        "revert",
        "promote",
        "approve",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    POLICIES,
    st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=16, max_size=16),
    st.lists(DOINGS, max_size=120),
)
def test_whatever_happens_the_laws_hold(
    sizes: list[int], policy: RolloutPolicy, words: list[list[State]], doings: list[str]
) -> None:
    def outcome_of(device: str, after_s: float) -> Outcome:
        told = words[int(device[1:]) - 1]
        return Outcome(device, told[min(int(after_s / 15), 2)], "as told", NEW)

    world = World(a_plan(*sizes, groups=2), policy, outcome_of)
    for doing in doings:
        before = world.state
        if doing == "wait":
            world.now_s += 7
        elif doing in ("pause", "resume", "abort", "revert", "promote"):
            if doing not in ("abort", "revert") or len(doings) % 4 == 0:
                world.order(doing)
        elif doing == "approve":
            world.approve(before.wave + 1)
        elif doing == "die before the hub":
            world.write(world.decide())
        elif doing == "twice":  # two controllers that decided alike; the second one's entry is passed over
            action = world.decide()
            world.write(action)
            if not isinstance(action, JudgeWave | Commit | End):
                world.write(action)
            world.carry_out(action)
        else:
            check(world, world.step(), before)
    started = world.started()
    assert sorted(set(started)) == list(range(1, len(set(started)) + 1))
    end = world.state.end
    if end and end[0] is State.SUCCEEDED:
        told = [o for d, o in world.look().outcomes.items() if d in world.targeted()]
        assert told
        assert sum(o.state is State.SUCCEEDED for o in told) >= policy.success.needed(len(told))
        assert not any(verdict.state == "fail" for verdict in world.state.judged)


def check(world: World, action: Action, state: RolloutState) -> None:
    """The laws of one step, by what the ledger said before it."""
    policy, verdict = world.policy, state.verdict
    promoted = any(order.order == "promote" and order.wave == state.wave for order in state.orders)
    may_go_on = state.phase not in (Phase.PAUSED, Phase.REVERTING, Phase.ENDED)
    assert action.reason
    match action:
        case StartWave(wave=wave):
            assert wave == state.wave + 1
            assert wave == 1 or promoted or (verdict and verdict.state == "pass")
            assert may_go_on
            assert not {"abort", "revert"} & {order.order for order in state.orders}
            assert "fail" not in {each.state for each in state.judged}
            if policy.approve_waves and wave > 1:
                assert promoted or wave in state.approved_waves
            if policy.budget:
                assert count_down(world, wave) <= policy.budget.most
        case Repair():
            assert may_go_on
        case RollBack():
            assert state.phase is Phase.REVERTING
        case Commit():
            assert state.wave == len(world.plan.waves)
            assert promoted or (verdict and verdict.state == "pass")
        case Soak():
            assert policy.soak_s > 0
        case Wait(until_s=until_s) if state.phase in (Phase.ROLLING, Phase.SOAKING):
            assert until_s <= find_deadline(state, policy) or promoted
        case Wait() | JudgeWave() | Hold() | AskApproval() | End():
            pass


def count_down(world: World, wave: int) -> int:
    """The most devices of one group that are out of service once the wave is started."""
    groups = world.plan.groups
    down = [groups[d] for d, each in world.look().outcomes.items() if each.state is not State.SUCCEEDED]
    coming = [groups[device] for device in world.plan.waves[wave - 1].members]
    return max(down.count(group) + coming.count(group) for group in coming)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_any_prefix_of_the_entries_can_be_carried_on(sizes: list[int], data: st.DataObject) -> None:
    """Killed after any entry, before or after it got to the hub: who carries on ends as it would have."""
    whole = World(a_plan(*sizes), SOAKING, tick_s=10)
    end = whole.run().end
    cut = data.draw(st.integers(1, len(whole.entries)))
    reached = data.draw(st.booleans())
    again = World(whole.plan, SOAKING, entries=whole.entries[:cut], tick_s=10)
    again.now_s = max(START_S, *(datetime.fromisoformat(entry.at).timestamp() for entry in again.entries))
    if reached and again.state.wave:
        again.carry_out(Repair(whole.plan.waves[again.state.wave - 1].condition, ""))
    for _ in range(20):
        again.run()
        if again.state.end:
            break
    assert again.state.end == end
    assert again.started() == whole.started()
