"""A wave is promoted by those who may approve, and by as many; by others it stays where it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.people import know_people
from edgeferry.domain.promotion import Promoters
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout_policy import RolloutPolicy
from edgeferry.domain.rollout_state import Phase, fold
from tests.domain.rollout_worlds import START_S, World, a_plan, an_entry

GATE = GatePolicy()
RELEASE = replace(an_entry("release", {}, START_S), author="rita")
KEYS = {"ann": ["ann-key"], "annie": ["ann-key"], "bob": ["bob-key"], "rita": ["rita-key"]}


def orders(*by: str, wave: int = 1) -> list[Entry]:
    """A rollout whose first wave runs, paused by cleo, then promoted by these."""
    world = World(a_plan(1, 1), RolloutPolicy())
    world.step()
    world.order("pause", by="cleo")
    for name in by:
        world.append("order", {"order": "promote", "reason": "", "wave": wave})
        world.entries[-1] = replace(world.entries[-1], author=name)
    return world.entries


@pytest.mark.parametrize(
    ("gate", "by", "promoted"),
    [
        pytest.param(GATE, ["ann"], "ann", id="somebody else"),
        pytest.param(GATE, ["rita"], "", id="the author alone"),
        pytest.param(GATE, ["rita", "ann"], "ann", id="the author, and somebody else"),
        pytest.param(
            replace(GATE, self_approval=True), ["rita"], "rita", id="the author, where that is allowed"
        ),
        pytest.param(
            replace(GATE, approvers=frozenset({"ann"})), ["bob"], "", id="somebody who may not approve"
        ),
        pytest.param(replace(GATE, approvals=2), ["ann", "ANN"], "", id="one of two"),
        pytest.param(replace(GATE, approvals=2), ["ann", "annie"], "", id="one of two, with two names"),
        pytest.param(replace(GATE, approvals=2), ["ann", "bob"], "ann and bob", id="two of two"),
        pytest.param(GATE, ["ci"], "", id="a pipeline"),
    ],
)
def test_who_promotes_and_how_many(gate: GatePolicy, by: list[str], promoted: str) -> None:
    state = fold(orders(*by), Promoters(RELEASE, gate, know_people(KEYS)))
    said = [(one.order, one.author) for one in state.orders]
    assert said == [("pause", "cleo"), *([("promote", promoted)] if promoted else [])]
    assert (state.phase is Phase.PAUSED) is not bool(promoted)


@pytest.mark.parametrize(
    ("by", "says"),
    [
        pytest.param([], "0 of 2 people promote it", id="nobody"),
        pytest.param(["ann"], "1 of 2 people promote it (ann)", id="one"),
        pytest.param(["rita"], "0 of 2 people promote it: rita made this release", id="its author"),
        pytest.param(["ann", "bob"], "", id="two"),
    ],
)
def test_what_is_missing_is_said(by: list[str], says: str) -> None:
    promoters = Promoters(RELEASE, replace(GATE, approvals=2), know_people(KEYS))
    lacking = promoters.judge(orders(*by)[-len(by) :] if by else [])[1]
    assert lacking.startswith(says)
    assert bool(lacking) is bool(says)


def test_a_wave_that_nobody_has_seen_run_is_promoted_by_nobody() -> None:
    entries = orders("ann", wave=2)
    started = an_entry(
        "wave", {"wave": 2, "event": "started", "condition": "wave 2"}, START_S + 60, number=99
    )
    assert [one.order for one in fold([*entries, started]).orders] == ["pause"]
