"""A chain of entries, and what may be wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.anchor import AnchorState
from edgeferry.domain.ledger_chain import Link, find_breaches, find_key_breaches, judge_anchor
from edgeferry.domain.release import Entry


def link(number: int, *, kind: str = "release", subject: str = "x") -> Link:
    entry = Entry(f"{number:06d}-{kind}-{subject}", kind, subject, "", "ann", {"n": number}, "", "")
    previous = f"d{number - 1}" if number > 1 else ""
    return Link(entry.id, number, kind, subject, entry, "", previous, f"d{number}")


CHAIN = [link(number) for number in range(1, 5)]


def places(links: list[Link]) -> list[tuple[str, str]]:
    return [(one.where[:6], one.reason) for one in find_breaches(links, lambda _: "")]


def test_a_whole_chain_has_nothing_wrong() -> None:
    assert places(CHAIN) == []
    assert places([]) == []


@pytest.mark.parametrize(
    ("links", "where", "why"),
    [
        pytest.param([*CHAIN[:1], *CHAIN[2:]], "000003", "entry 2 is missing", id="one was deleted"),
        pytest.param([*CHAIN[:1], *CHAIN[3:]], "000004", "entries from 2 on are missing", id="two were"),
        pytest.param(CHAIN[1:], "000002", "entry 1 is missing", id="the first was deleted"),
        pytest.param(
            [CHAIN[0], replace(CHAIN[1], digest="other"), *CHAIN[2:]],
            "000003",
            "the one before was changed",
            id="the one before was changed",
        ),
        pytest.param([*CHAIN[:2], CHAIN[1], *CHAIN[2:]], "000002", "there twice", id="a number twice"),
        pytest.param(
            [replace(CHAIN[0], subject="y"), *CHAIN[1:]], "000001", "name of another", id="another's name"
        ),
        pytest.param(
            [CHAIN[0], replace(CHAIN[1], entry=None, unreadable="no JSON"), *CHAIN[2:]],
            "000002",
            "cannot be read: no JSON",
            id="garbage",
        ),
    ],
)
def test_the_first_place_that_is_wrong_is_named(links: list[Link], where: str, why: str) -> None:
    found = places(links)
    assert found[0][0] == where
    assert why in found[0][1]


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_only_the_chain_itself_or_its_beginning_is_whole(order: list[int], gone: set[int]) -> None:
    """Content moved under other names, and some of it away: the numbers still count up."""
    chain = [link(number) for number in range(1, 7)]
    moved = [chain[place] for place in order if place not in gone]
    named = [replace(one, number=n, id=f"{n:06d}") for n, one in enumerate(moved, 1)]
    whole = [one.previous for one in named] == [one.previous for one in chain[: len(named)]]
    assert (find_breaches(named, lambda _: "") == ()) is whole


def test_a_signature_that_does_not_count_is_told_with_its_reason() -> None:
    found = find_breaches(CHAIN, lambda one: "forged" if one.number == 2 else "")
    assert [(one.where, one.reason) for one in found] == [(CHAIN[1].id, "forged")]


@pytest.mark.parametrize(
    ("state", "count", "descends", "why"),
    [
        pytest.param(AnchorState(), 0, False, "", id="the hub never heard of it"),
        pytest.param(AnchorState("abc", 3), 3, True, "", id="as the hub remembers it"),
        pytest.param(AnchorState("abc", 3), 4, True, "", id="a crash between push and anchor"),
        pytest.param(AnchorState("abc", 3), 2, False, "removed or rewritten", id="pushed back"),
        pytest.param(
            AnchorState("abc", 3), 3, False, "removed or rewritten", id="pushed back and grown again"
        ),
        pytest.param(AnchorState("abc", 3), 2, True, "branch has 2", id="a commit that removes the last"),
    ],
)
def test_the_branch_must_hold_what_the_hub_remembers(
    state: AnchorState, count: int, descends: bool, why: str
) -> None:
    reason = judge_anchor(state, count, descends=descends)
    assert (reason == "") is (why == "")
    assert why in reason


@pytest.mark.parametrize(
    ("pinned", "trusted", "why"),
    [
        pytest.param({"ann": ["a"]}, {"ann": ["a"]}, "", id="the same"),
        pytest.param({}, {"ann": ["a"]}, "the hub has no fingerprint", id="slipped in"),
        pytest.param({"ann": ["a"]}, {}, "not among the trusted keys", id="taken away"),
        pytest.param({"ann": ["a"]}, {"ann": ["b"]}, "b counts here, and the hub has a", id="exchanged"),
        pytest.param({"ann": ["a"]}, {"ann": ["a", "b"]}, "a and b counts", id="a second one slipped in"),
    ],
)
def test_the_keys_that_count_are_those_the_hub_knows(
    pinned: dict[str, list[str]], trusted: dict[str, list[str]], why: str
) -> None:
    found = find_key_breaches(pinned, trusted)
    assert [one.where for one in found] == (["key of ann"] if why else [])
    assert all(why in one.reason for one in found)
