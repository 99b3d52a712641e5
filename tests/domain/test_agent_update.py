"""Who acts while one agent follows another: each decision, and that power cuts at any moment end well."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.agent_update import (
    OFFLINE_PASSES,
    Discard,
    Fetch,
    Forget,
    Found,
    GiveUp,
    HandOver,
    Launch,
    Leave,
    Nothing,
    Phase,
    Prepare,
    Prove,
    Settle,
    Sight,
    Successor,
    Turn,
    Update,
    choose_desired,
    decide,
    whose_turn,
    why_failed,
)
from edgeferry.domain.device_rules import UpdateRules

RULES = UpdateRules(ready_s=60, proven_s=180)
OLD = Sight(own="a", own_image="r/agent:1", own_image_id="id1", desired="r/agent:2")
PREPARED = Update(Phase.PREPARED, "a", "b", "r/agent:2")
HANDED = replace(PREPARED, phase=Phase.HANDED)
PROVEN = replace(PREPARED, phase=Phase.PROVEN)
FAILED = replace(PREPARED, phase=Phase.FAILED, reason="it crashed")
NEW = Sight(own="b", own_image="r/agent:2", own_image_id="id2", desired="r/agent:2")


@pytest.mark.parametrize(
    ("sight", "action"),
    [
        pytest.param(replace(OLD, desired=""), Nothing, id="no desired image"),
        pytest.param(replace(OLD, desired="r/agent:1"), Nothing, id="its own image"),
        pytest.param(
            replace(OLD, desired="mcr.microsoft.com/azureiotedge-agent:1.5"), Nothing, id="IoT Edge's"
        ),
        pytest.param(OLD, Fetch, id="an image that is not there"),
        pytest.param(replace(OLD, found=Found("id1", True)), Nothing, id="its own by another name"),
        pytest.param(replace(OLD, found=Found("id2", False)), GiveUp, id="no agent's image"),
        pytest.param(replace(OLD, found=Found("id2", True)), Prepare, id="another agent's image"),
        pytest.param(replace(OLD, update=PREPARED), Launch, id="no container yet"),
        pytest.param(replace(OLD, update=PREPARED, successor=Successor()), Nothing, id="it starts"),
        pytest.param(
            replace(OLD, update=PREPARED, successor=Successor(ready=True)), HandOver, id="it is ready"
        ),
        pytest.param(
            replace(OLD, update=PREPARED, successor=Successor(problem="newer state")), GiveUp, id="it cannot"
        ),
        pytest.param(
            replace(OLD, update=PREPARED, successor=Successor(ended="ended")), GiveUp, id="it ended"
        ),
        pytest.param(
            replace(OLD, update=PREPARED, successor=Successor(), waited_s=61), GiveUp, id="it takes too long"
        ),
        pytest.param(
            replace(OLD, update=PREPARED, desired="r/agent:3", successor=Successor(ready=True)),
            Forget,
            id="another is desired meanwhile",
        ),
        pytest.param(replace(OLD, update=HANDED), GiveUp, id="the successor let go"),
        pytest.param(replace(OLD, update=FAILED, successor=Successor()), Discard, id="a failed one is there"),
        pytest.param(replace(OLD, update=FAILED), Nothing, id="a failed one is still desired"),
        pytest.param(replace(OLD, update=FAILED, desired=""), Nothing, id="failed, and nothing is desired"),
        pytest.param(
            replace(OLD, update=FAILED, desired="r/agent:3"), Forget, id="failed, another is desired"
        ),
        pytest.param(replace(OLD, update=replace(HANDED, before="x")), Forget, id="of other agents"),
        pytest.param(replace(NEW, update=HANDED), Nothing, id="on trial"),
        pytest.param(replace(NEW, update=HANDED, connected=True), Prove, id="on trial and connected"),
        pytest.param(
            replace(NEW, update=HANDED, passes=OFFLINE_PASSES), Prove, id="on trial, offline as before"
        ),
        pytest.param(
            replace(NEW, update=replace(HANDED, connected=True), passes=99), Nothing, id="its hub is lost"
        ),
        pytest.param(replace(NEW, update=PROVEN), Settle, id="proven"),
        pytest.param(replace(NEW, update=FAILED), Leave, id="the device was taken back"),
    ],
)
def test_the_agent_that_acts_does_what_is_next(sight: Sight, action: type) -> None:
    assert type(decide(sight, RULES)) is action


def test_bad_news_is_told_as_such_and_names_image_and_reason() -> None:
    said = decide(replace(OLD, update=FAILED), RULES)
    assert said == Nothing("the agent r/agent:2 is not run: it crashed", failed=True)


def test_an_agent_that_is_a_program_says_that_its_package_is_to_be_updated() -> None:
    said = decide(replace(OLD, own=""), RULES)
    assert isinstance(said, Nothing)
    assert "update its package" in said.reason
    assert not said.failed


@pytest.mark.parametrize(
    ("phase", "before", "after"),
    [
        (Phase.PREPARED, Turn.TAKE, Turn.STAND_BY),
        (Phase.HANDED, Turn.WATCH, Turn.TAKE),
        (Phase.PROVEN, Turn.WATCH, Turn.TAKE),
        (Phase.FAILED, Turn.TAKE, Turn.REST),
    ],
)
def test_one_of_the_two_may_take_the_device(phase: Phase, before: Turn, after: Turn) -> None:
    update = replace(PREPARED, phase=phase)
    assert (whose_turn("a", update), whose_turn("b", update)) == (before, after)
    assert whose_turn("", update) is whose_turn("c", update) is whose_turn("a", None) is Turn.TAKE


@pytest.mark.parametrize(
    ("successor", "waited_s", "why"),
    [
        pytest.param(Successor(), 180, "", id="in time"),
        pytest.param(Successor(), 181, "not proven within 180 s", id="too late"),
        pytest.param(None, 1, "is gone", id="no container"),
        pytest.param(Successor(ended="ended with 1"), 1, "ended with 1", id="ended"),
    ],
)
def test_the_device_is_taken_back_from_one_that_fails(successor, waited_s: float, why: str) -> None:
    said = why_failed(successor, waited_s, RULES)
    assert (why in said) if why else said == ""


@dataclass
class Machine:
    """Two agents, a record and a lock, moved in any order; `good`: the successor proves itself, `bad`: it
    never does. What an agent knows in memory goes with a power cut."""

    good: bool
    record: Update | None = None
    holder: str = ""
    containers: set[str] = field(default_factory=lambda: {"a"})
    ready: bool = False
    waited: float = 0.0

    def move(self, mark: str) -> None:
        """The agent with that mark does one thing."""
        if mark not in self.containers:
            return
        if self.holder == mark:
            self.act(mark)
            return
        turn = whose_turn(mark, self.record)
        if turn is Turn.STAND_BY:
            self.ready = True
        elif turn is Turn.WATCH and self.record is not None and self.record.phase is Phase.HANDED:
            there = Successor() if "b" in self.containers else None
            if reason := why_failed(there, self.waited, RULES):
                self.put(replace(self.record, phase=Phase.FAILED, reason=reason))
        elif turn is Turn.TAKE:
            if mark == "a" and self.record is not None and self.record.phase is Phase.FAILED:
                self.remove("b")
            self.holder = self.holder or mark

    def act(self, mark: str) -> None:
        own = OLD if mark == "a" else NEW
        successor = Successor(ready=self.ready) if mark == "a" and "b" in self.containers else None
        sight = replace(
            own,
            update=self.record,
            found=Found("id2", True),
            successor=successor,
            connected=mark == "a" or self.good,
            waited_s=self.waited,
        )
        action = decide(sight, RULES)
        match action:
            case Prepare():
                self.put(PREPARED)
            case Launch():
                self.containers.add("b")
            case HandOver():
                self.put(replace(HANDED, connected=True))
                self.holder = ""
            case Prove():
                self.put(PROVEN)
            case Settle():
                self.remove("a")
                self.put(None)
            case GiveUp(reason):
                self.put(replace(self.record or PREPARED, phase=Phase.FAILED, reason=reason))
            case Discard():
                self.remove("b")
            case Leave():
                self.holder = ""
            case Forget():
                self.put(None)

    def put(self, record: Update | None) -> None:
        self.record, self.waited = record, 0.0

    def remove(self, mark: str) -> None:
        self.containers.discard(mark)
        self.holder = "" if self.holder == mark else self.holder

    def cut_power(self) -> None:
        self.holder, self.waited = "", 0.0


@given(
    good=st.booleans(),
    schedule=st.lists(st.sampled_from(["a", "b", "time", "cut"]), max_size=60),
)
def test_after_power_cuts_at_any_moment_one_agent_acts_and_it_is_the_right_one(good, schedule) -> None:
    machine = Machine(good)
    for one in [*schedule, *(["a", "b"] * 8), *(["a", "b", "time"] * 20)]:
        if one == "cut":
            machine.cut_power()
        elif one == "time":
            machine.waited += 30
        else:
            machine.move(one)
    if machine.record is None:
        assert (machine.holder, machine.containers) == ("b", {"b"})
        assert good
    else:
        assert machine.record.phase is Phase.FAILED
        assert (machine.holder, machine.containers) == ("a", {"a"})
        assert not good or "time" in schedule or "cut" in schedule


@pytest.mark.parametrize(
    ("image", "home", "desired"),
    [
        pytest.param("r/agent:2", "r/agent:0", "r/agent:2", id="an agent of ours is desired"),
        pytest.param(
            "mcr.microsoft.com/azureiotedge-agent:1.5", "r/agent:0", "r/agent:0", id="none any more"
        ),
        pytest.param(
            "mcr.microsoft.com/azureiotedge-agent:1.5",
            "",
            "mcr.microsoft.com/azureiotedge-agent:1.5",
            id="none, and it is the one that was installed",
        ),
        pytest.param("", "r/agent:0", "", id="nothing is known"),
    ],
)
def test_a_device_goes_back_to_the_agent_it_was_installed_with(image: str, home: str, desired: str) -> None:
    assert choose_desired(image, home) == desired
