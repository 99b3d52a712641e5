"""The truth table of docs/rollouts.md: for each case the device's word, the rollout's, what becomes of it and
the exit code, as the code computes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeferry.domain.model import Tolerance
from edgeferry.domain.plan_conflicts import Conflict, Kind
from edgeferry.domain.rollout import DeviceFacts, Outcome, State, judge_at_deadline, judge_device
from edgeferry.domain.rollout_action import AskApproval, Hold, RollBack
from edgeferry.domain.rollout_decision import find_deadline
from edgeferry.domain.rollout_need import find_need, find_unapproved_wave
from edgeferry.domain.rollout_policy import Limit, RolloutPolicy, Share
from edgeferry.domain.smoke import Answer, CaseSet, EqualCase, Evidence
from edgeferry.errors import RefusedError
from tests.domain.rollout_worlds import World, a_plan
from tests.domain.test_rollout import IMAGE, OTHER, PROVEN, VERDICT, WANTED

PAGE = Path(__file__).parents[2] / "docs" / "rollouts.md"
TIMEOUT_S = RolloutPolicy().timeout_s
ASKED = replace(
    WANTED,
    cases=CaseSet("nyc_taxi", "1", Tolerance(1e-9, 0.0), 100.0, (EqualCase("one", ((1.0,),), (5.0,)),)),
)
RIGHT = replace(VERDICT, asked=1, evidence=(Evidence("one", (Answer(200, (5.0,), 1.0),)),))
WRONG = replace(RIGHT, evidence=(Evidence("one", (Answer(200, (5.1,), 1.0),)),))
WELL = replace(PROVEN, verdict=RIGHT)
OLD_IMAGE = IMAGE.replace("a" * 64, "b" * 64)

FactsAt = Callable[[float], DeviceFacts]
"""A device's facts, so many seconds after the release reached it."""


def steady(**changes: object) -> FactsAt:
    """From the first second on until the end."""
    return lambda _: replace(WELL, **changes)  # type: ignore[arg-type]


def until(seconds: float, before: DeviceFacts) -> FactsAt:
    """Well only after so many seconds."""
    return lambda after_s: before if after_s < seconds else WELL


ASKING = replace(WELL, verdict=None)
UNHEARD = replace(RIGHT, state="Inconclusive", reason="the module does not answer")
PULLING = replace(WELL, image=OLD_IMAGE, status_code=500, status_reason="registry does not answer")

DEVICES: dict[str, FactsAt] = {
    "all of it measured": steady(),
    "the layer is not applied": steady(desired_image=""),
    "the layer is applied and the module is dead": steady(runtime_status="failed"),
    "it runs an image of another content": steady(image_hash=OTHER),
    "the registry has no such image": steady(image="", status_code=406, status_reason="manifest unknown"),
    "the module answers 500": steady(verdict=replace(RIGHT, state="Failed", reason="status 500")),
    "predictions are wrong": steady(verdict=replace(WRONG, state="Failed", reason="5.1, not 5.0")),
    "the module starts slowly, within the deadline": until(TIMEOUT_S - 1, ASKING),
    "the module starts slowly, beyond the deadline": until(math.inf, ASKING),
    "the smoke test says nothing": steady(verdict=UNHEARD),
    "the module flaps": steady(runtime_status="backoff"),
    "its agent went back by itself": steady(image=OLD_IMAGE, layer_outcome="RolledBack"),
    "of two modules, the release's is down": steady(runtime_status="dead"),
    "of two modules, the other one is down": steady(status_code=500, status_reason="other: backoff"),
    "it is offline": steady(connected=False),
    "its twin is stale": steady(reported_version=3),
    "another model's release comes at the same time": lambda after_s: replace(
        WELL, brought_by=4, reported_version=4 + int(after_s)
    ),
    "the companion is missing": steady(verdict=None),
    "the companion tells of another digest": steady(verdict=replace(RIGHT, digest=OTHER)),
    "the companion tells of other cases": steady(verdict=replace(RIGHT, cases_sha256="other")),
    "the companion tells of another rollout": steady(verdict=replace(RIGHT, nonce="other")),
    "another module tells of a verdict": steady(verdict=None),
    "the companion says Passed and shows a wrong answer": steady(verdict=WRONG),
    "the registry is down until the deadline": steady(
        image=OLD_IMAGE, status_code=500, status_reason="registry does not answer"
    ),
    "the registry is down for a while": until(TIMEOUT_S / 2, PULLING),
}
FAILING, LENIENT = steady(runtime_status="failed"), RolloutPolicy(errors=Limit(1))
OTHERWISE: dict[str, tuple[FactsAt, RolloutPolicy, int]] = {
    "it fails; one may, and half must succeed": (
        FAILING,
        replace(LENIENT, success=Share(0.5)),
        1,
    ),
    "it fails; one may, and all must succeed": (FAILING, LENIENT, 1),
    "it fails; one may, all must succeed, a person promotes": (FAILING, LENIENT, 1),
    "it fails, and another; one may": (FAILING, LENIENT, 2),
    "it is offline, a person promotes": (steady(connected=False), RolloutPolicy(), 1),
    "all of it measured; the next wave waits for an approval": (
        steady(),
        RolloutPolicy(approve_waves=True),
        1,
    ),
    "all of it measured; between waves another machine takes its name": (
        steady(),
        RolloutPolicy(approve_waves=True),
        1,
    ),
    "all of it measured; a person takes it back between waves": (
        steady(),
        RolloutPolicy(approve_waves=True),
        1,
    ),
    "all of it measured and committed; a person takes it back": (steady(), RolloutPolicy(), 1),
}
"""The facts, the policy, how many devices are so."""
BLOCKED = {
    "it has no base deployment": Kind.MISSING_BASE,
    "the hub has no room for a deployment": Kind.QUOTA,
}


def judged(facts_at: FactsAt, devices: int = 1) -> Callable[[str, float], Outcome]:
    """The outcomes of so many devices with such facts, d1 …, and of others, which are well soon."""
    such = {f"d{number + 1}" for number in range(devices)}
    soon = until(5, ASKING)

    def outcome_of(device: str, after_s: float) -> Outcome:
        facts = replace((facts_at if device in such else soon)(after_s), device=device)
        judge = judge_at_deadline if after_s >= TIMEOUT_S else judge_device
        return judge(ASKED, facts)

    return outcome_of


def story_of(world: World) -> tuple[str, str, str, str]:
    """The device's word, the rollout's, what became of it, the exit code."""
    look = world.look()
    device = world.state.judged[-1].devices.get("d1", (State.SUCCEEDED, ""))[0] if world.started() else ""
    end, last = world.state.end, world.log[-1]
    word = end[0] if end else last.state if isinstance(last, Hold) else None
    word = State.PENDING if isinstance(last, AskApproval) else word
    if not world.started():
        became = "nothing touched"
    elif look.layer_condition is None:
        became = "taken back"
    else:
        became = "committed" if world.committed else "held"
    told = str(device) if "d1" in world.reached_at and "d1" not in world.gone else "-"
    return told, str(word), became, "0" if word is State.SUCCEEDED else "1"


def play(case: str) -> tuple[str, str, str, str]:
    """What the code makes of a case."""
    if case in BLOCKED:
        conflict = Conflict(BLOCKED[case], "blocks", case, "")
        assert replace(a_plan(2), conflicts=(conflict,)).blocked
        return "-", "-", "nothing touched", str(RefusedError.exit_code)
    policy = RolloutPolicy()
    if case in OTHERWISE:
        facts, policy, devices = OTHERWISE[case]
        world = World(a_plan(3, 1) if policy.approve_waves else a_plan(3), policy, judged(facts, devices))
        world.run()
        if case.endswith("promotes"):
            world.order("promote")
            world.run()
        elif "takes its name" in case:
            world.replace("d1")
            world.outcome_of = judged(steady(connected=False))
            world.approve(2)
            world.run()
        elif "takes it back" in case:
            world.order("revert")
            if world.committed:
                world.carry_out(RollBack("as `rollback` does"))
            world.run()
        return story_of(world)
    if case == "nobody is targeted":
        world = World(a_plan(0), policy)
        world.run()
        return story_of(world)
    if "deleted meanwhile" in case:
        world = World(a_plan(2), policy, judged(until(math.inf, ASKING)))
        world.run(most_s=5)
        world.gone = {"d1", "d2"} if case.startswith("all") else {"d1"}
    elif "joins meanwhile" in case:
        late = steady() if case.endswith("proves the release") else steady(desired_image="")
        world = World(a_plan(2), policy, judged(late), gone={"d1"})
        world.run(most_s=2)
        world.gone = set()
    else:
        world = World(a_plan(2), policy, judged(DEVICES.get(case, steady())))
    world.run(most_s=1)
    deadline_s = find_deadline(world.state, policy)
    if case == "the same rollout runs twice":
        world.write(world.decide())
    world.run()
    assert world.now_s <= deadline_s + 5, "it was judged too late"
    assert world.started() == [1]
    return story_of(world)


def rows(first: str = "the device") -> list[tuple[str, ...]]:
    table = PAGE.read_text("utf-8").partition(f"| {first} |")[2].partition("\n\n")[0]
    found = re.findall(r"^\| (.+) \|$", table, re.M)
    return [tuple(cell.strip() for cell in row.split("|")) for row in found]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_case_is_judged_as_the_truth_table_says(row: tuple[str, ...]) -> None:
    case, *said = row
    assert play(case) == tuple(said)


def test_the_truth_table_holds_every_case() -> None:
    cases = [row[0] for row in rows()]
    assert len(cases) == len(set(cases))
    assert set(DEVICES) | set(BLOCKED) | set(OTHERWISE) <= set(cases)


WATCHED: dict[str, Callable[[World], None]] = {
    "has succeeded": lambda world: None,
    "has ended otherwise": lambda world: world.order("abort"),
    "is held": lambda world: None,
    "is held, and was promoted": lambda world: world.order("promote"),
    "is paused": lambda world: world.order("pause"),
    "waits for the approval of a wave": lambda world: None,
    "waits for the approval of a wave, which was given": lambda world: world.approve(2),
    "rolls or soaks": lambda world: None,
}


@pytest.mark.parametrize("row", rows("the rollout"), ids=lambda row: row[0])
def test_watching_ends_where_a_person_is_needed(row: tuple[str, ...]) -> None:
    case, says, code = row
    waits = "approval" in case
    policy = RolloutPolicy(approve_waves=waits)
    facts = steady(connected=False) if "held" in case or "otherwise" in case else steady()
    world = World(a_plan(2, 2) if waits else a_plan(2), policy, judged(facts))
    world.run(most_s=3 if case in ("rolls or soaks", "is paused") else 10_000)
    WATCHED[case](world)
    if "otherwise" in case:
        world.run()
    state = world.state
    need = find_need(state)
    word = need.word if need else ""
    if find_unapproved_wave(state, len(world.plan.waves), approve_waves=waits):
        word = "approval needed"
    if state.end:
        word = str(state.end[0]) if state.end[0] is State.SUCCEEDED else "its word"
    assert (word or "goes on") == says
    assert code == ("0" if word == "Succeeded" else "1" if word else "-")
    assert need is None or f"edgeferry rollouts revert {state.id}" in need.fix
