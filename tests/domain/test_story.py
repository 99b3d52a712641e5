"""The ledger's entries about one release or rollout, and what each says in a line."""

from __future__ import annotations

import pytest

from edgeferry.domain.release import Entry
from edgeferry.domain.story import describe, find_story
from tests.domain.test_audit import FIRST, PLANS, SECOND, end, entry, order, release, wave


def test_the_story_of_a_release_has_its_rollouts_and_that_of_a_rollout_its_release() -> None:
    yes = entry(1, "approval", "x", decision="yes")
    others = [entry(1, "plan", "taxi-v1"), entry(2, "approval", "taxi-v1", decision="no"), *SECOND]
    entries = [*FIRST, yes, *others]
    assert find_story(entries, "taxi-v1") == (*FIRST, *others[:2])
    assert find_story(entries, "taxi-v1-01") == (*FIRST, yes, others[0])
    assert find_story(entries, "nothing") == ()


@pytest.mark.parametrize(
    ("told", "says"),
    [
        pytest.param(release(1, "taxi-v1"), "version 1, sha256:aa", id="release"),
        pytest.param(entry(1, "plan", "x", **PLANS["two waves"]), "2 devices in 2 waves", id="plan"),
        pytest.param(
            entry(1, "approval", "x", decision="yes", expires_at="2026-12-01", wave=2),
            "yes for wave 2 by ann, until 2026-12-01",
            id="approval",
        ),
        pytest.param(entry(1, "rollout", "x", layer="l"), "started, layer l", id="rollout"),
        pytest.param(
            entry(1, "rollout", "x", layer="l", condition="tags.a = 1"),
            "started for devices where tags.a = 1, layer l",
            id="rollout with its devices",
        ),
        pytest.param(
            entry(1, "rollout", "x", layer="l", state="Failed", reason="r"),
            "Failed: r, layer l",
            id="old one",
        ),
        pytest.param(wave(1, "x", 1), "wave 1 started", id="wave"),
        pytest.param(
            entry(1, "wave", "x", wave=1, event="judged", verdict={"state": "fail", "reason": "r"}),
            "wave 1 judged: fail: r",
            id="verdict",
        ),
        pytest.param(order(1, "x", "abort"), "abort: I say so", id="order"),
        pytest.param(end(1, "x", "Failed"), "Failed: so it is", id="end"),
    ],
)
def test_an_entry_in_a_line(told: Entry, says: str) -> None:
    assert describe(told) == says
