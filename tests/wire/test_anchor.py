"""The anchor's tags on the reserved identity's twin."""

from __future__ import annotations

import pytest

from edgeferry.domain.anchor import AnchorState, Lease
from edgeferry.domain.twin import TAGS_BYTES, find_fault, merge
from edgeferry.wire.anchor import (
    name_ledger,
    parse_anchor,
    parse_leases,
    render_anchor,
    render_lease,
)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://git.example/team/ferry", id="https"),
        pytest.param("https://ann:secret@git.example/team/ferry.git", id="with a login"),
        pytest.param("ssh://git@git.example/team/ferry.git", id="ssh"),
        pytest.param("git@git.example:team/ferry.git", id="ssh as git writes it"),
        pytest.param("https://git.example/team/ferry/", id="with a slash behind it"),
    ],
)
def test_one_repository_has_one_name_however_it_is_written(url: str) -> None:
    assert name_ledger(url, "ledger") == name_ledger("https://git.example/team/ferry", "ledger")
    assert "secret" not in name_ledger(url, "ledger")[1]


@pytest.mark.parametrize(
    ("url", "branch"),
    [
        pytest.param("https://git.example/team/ferry", "other", id="another branch"),
        pytest.param("https://git.example/other/ferry", "ledger", id="another repository"),
        pytest.param("https://git.example:8443/team/ferry", "ledger", id="another port"),
        pytest.param("/srv/team/ferry", "ledger", id="a folder"),
    ],
)
def test_another_ledger_has_another_name(url: str, branch: str) -> None:
    assert name_ledger(url, branch)[0] != name_ledger("https://git.example/team/ferry", "ledger")[0]


def test_what_is_written_is_read_back_and_is_what_a_hub_takes() -> None:
    keys = {"ann.b@example.org": ("SHA256:a", "SHA256:b"), "ci": ("SHA256:c",)}
    patch = render_anchor("abc", "git.example/x#ledger", "f" * 40, 7, keys)
    assert find_fault(patch, TAGS_BYTES) is None
    assert parse_anchor(merge({}, patch), "abc") == AnchorState("f" * 40, 7, keys)
    assert parse_anchor(merge({}, patch), "other") == AnchorState()


def test_a_key_is_taken_away_and_others_stay() -> None:
    tags = merge({}, render_anchor("abc", "", "f", 1, {"ann": ["SHA256:a"], "ben": ["SHA256:b"]}))
    tags = merge(tags, render_anchor("abc", "", "g", 2, {"ann": None}))
    assert parse_anchor(tags, "abc") == AnchorState("g", 2, {"ben": ("SHA256:b",)})


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"ledgers": 3, "leases": []}, id="no objects"),
        pytest.param(
            {"ledgers": {"abc": {"count": "7"}}, "leases": {"x": 1, "y": {"until": "1"}}}, id="texts"
        ),
    ],
)
def test_tags_of_another_form_say_nothing(tags: dict[str, object]) -> None:
    assert parse_anchor(tags, "abc") == AnchorState()
    assert parse_leases(tags) == {}


def test_a_lease_is_given_and_taken_away_and_an_old_one_goes_with_it() -> None:
    tags = merge({}, render_lease("a v1.2 x", Lease("one", 100.0), {}, 0))
    assert find_fault(tags, TAGS_BYTES) is None
    assert parse_leases(tags) == {"a v1.2 x": Lease("one", 100.0)}
    tags = merge(tags, render_lease("b", Lease("two", 200_000.0), parse_leases(tags), 199_000.0))
    assert parse_leases(tags) == {"b": Lease("two", 200_000.0)}
    assert parse_leases(merge(tags, render_lease("b", None, parse_leases(tags), 0))) == {}
