"""Names are one person when a key joins them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.people import know_people

TRUSTED = {"ann": ["K1", "K2"], "ann@a.org": ["K2"], "annie": ["K3"], "bob": ["K4"], "bob@a.org": ["K5"]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("ann", "Ann", True, id="in other letters"),
        pytest.param("ann", "ann@a.org", True, id="by a key"),
        pytest.param("ann", "annie", True, id="by a key that is not trusted any more"),
        pytest.param("ann@a.org", "annie", True, id="by two keys in turn"),
        pytest.param("ann", "bob", False, id="two people"),
        pytest.param("bob", "bob@a.org", False, id="a login with a key of its own"),
        pytest.param("bob", "bob@b.org", True, id="a login without a key"),
        pytest.param("cleo@a.org", "cleo@b.org", False, id="two logins that nobody here owns"),
    ],
)
def test_who_is_who(one: str, other: str, same: bool) -> None:
    people = know_people(TRUSTED, [("annie", "K1"), ("ci", "")])
    assert (people.id_of(one) == people.id_of(other)) is same


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("123456"))))
def test_two_names_are_one_exactly_when_keys_lead_from_one_to_the_other(pairs: list[tuple[str, str]]) -> None:
    people = know_people({}, pairs)
    for name in {one for one, _ in pairs}:
        reached = {name}
        for _ in pairs:
            keys = {key for one, key in pairs if one in reached}
            reached |= {one for one, key in pairs if key in keys}
        assert {one for one, _ in pairs if people.id_of(one) == people.id_of(name)} == reached
