from dataclasses import replace

import pytest

from edgeferry.domain.device_state import (
    MOST_APPLIES,
    MOST_QUARANTINED,
    Applied,
    Crashed,
    DeviceState,
    Doing,
    Failed,
    Found,
    Left,
    Proved,
    Retried,
    advance,
)
from edgeferry.domain.manifest import ModuleSpec

A1 = {"a": ModuleSpec("a", "a:1", layer="L1"), "b": ModuleSpec("b", "b:1", layer="L1")}
A2 = {"a": ModuleSpec("a", "a:2", layer="L2")}
APPLIED = Applied("h2", ("L2",), 7, A2, ("b",), "t1")


def fold(*events, state=None):
    state = state or DeviceState()
    for event in events:
        state = advance(state, event)
    return state


PROVEN = fold(Applied("h1", ("L1",), 3, A1, (), "t0"), Proved("h1", A1, (), "t0+"))


def test_a_unit_that_was_applied_is_on_trial_until_it_is_proven():
    state = fold(APPLIED, state=PROVEN)
    assert state.trials["h2"].modules == ("a", "b")
    assert state.good == A1
    state = fold(Proved("h2", A2, ("b",), "t2"), state=state)
    assert (state.good, state.trials) == (A2, {})
    assert [(one.outcome, one.ended_at) for one in state.applies] == [("Proven", "t0+"), ("Proven", "t2")]


def test_one_that_failed_is_quarantined_and_what_was_proven_stays():
    state = fold(APPLIED, Failed("h2", "it broke", "t2", True), state=PROVEN)
    assert (state.good, state.trials) == (A1, {})
    assert (state.quarantine["h2"].reason, state.quarantine["h2"].version) == ("it broke", 7)
    assert (state.applies[-1].outcome, state.applies[-1].reason) == ("RolledBack", "it broke")
    assert fold(Retried("L1"), state=state).quarantine == state.quarantine
    assert fold(Retried("L2"), state=state).quarantine == {}


def test_one_that_failed_with_nothing_to_go_back_to_stays_on_trial():
    state = fold(APPLIED, Failed("h2", "it broke", "t2", False))
    assert (state.trials["h2"].failed, state.quarantine) == ("it broke", {})
    assert state.applies[-1].outcome == "Failed"
    assert fold(Proved("h2", A2, ("b",), "t3"), state=state).applies[-1].outcome == "Proven"
    assert fold(Left("h2", "t3"), state=state).applies[-1].outcome == "Failed"


def test_an_end_of_a_module_is_counted_once():
    state = fold(APPLIED, Crashed("h2", "a", "t5"), Crashed("h2", "a", "t5"), Crashed("h2", "a", "t6"))
    assert state.trials["h2"].crashes == {"a": ("t5", "t6")}


def test_a_later_wish_for_the_same_modules_supersedes_a_trial():
    later = replace(APPLIED, hash="h3", version=8)
    state = fold(APPLIED, later)
    assert list(state.trials) == ["h3"]
    assert [one.outcome for one in state.applies] == ["Superseded", "Trial"]
    apart = Applied("h4", ("X",), 9, {"x": ModuleSpec("x", "x:1")}, (), "t")
    assert sorted(fold(apart, state=state).trials) == ["h3", "h4"]


@pytest.mark.parametrize(
    "event",
    [
        Crashed("other", "a", "t"),
        Failed("other", "x", "t", True),
        Left("other", "t"),
        Doing("start", "a", "because"),
        APPLIED,
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_speaks_of_no_trial_changes_nothing(event):
    state = fold(APPLIED, state=PROVEN)
    assert advance(state, event) == state


def test_what_was_found_counts_as_proven_unless_something_else_was():
    assert fold(Found(A1)).good == A1
    assert fold(Found({**A2, "x": A1["b"]}), state=PROVEN).good["a"] == A1["a"]


def test_history_and_quarantine_are_bounded():
    state = PROVEN
    for number in range(MOST_APPLIES + 10):
        state = fold(replace(APPLIED, hash=f"n{number}"), Failed(f"n{number}", "x", "t", True), state=state)
    assert len(state.applies) == MOST_APPLIES
    assert len(state.quarantine) == MOST_QUARANTINED
    assert f"n{MOST_APPLIES + 9}" in state.quarantine
