"""A tag that is nearly the one that devices have."""

from __future__ import annotations

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.known_tags import find_near_tags, list_tags, tags_in

KNOWN = list(
    list_tags(
        {"site": "berlin", "line1": 1, "model": "T1", "models": {"nyc_taxi": True, "london_taxi": True}}
    )
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        pytest.param("sitte", "site", id="a letter too many"),
        pytest.param("modles.nyc_taxi", "models.nyc_taxi", id="a slip above"),
        pytest.param("models.nyctaxi", "models.nyc_taxi", id="a slip below"),
        pytest.param("modls.nyc_taxi", "models.nyc_taxi", id="a letter missing"),
        pytest.param("modls.nyctaxi", "", id="two slips"),
        pytest.param("edgefery", "edgeferry", id="one of every fleet's, which no device has yet"),
        pytest.param("site", "", id="known"),
        pytest.param("models", "", id="what known ones are below"),
        pytest.param("line2", "", id="another number"),
        pytest.param("models.pump", "", id="another model"),
        pytest.param("floor", "", id="another tag"),
    ],
)
def test_a_name_that_is_nearly_a_known_one_is_told(name: str, meant: str) -> None:
    line = f"no device has the tag {name}: did you mean {meant}?"
    assert find_near_tags([name], KNOWN) == ([line] if meant else [])


def test_the_tags_of_a_condition_are_found_by_column() -> None:
    condition = parse_condition("tags.b.c = 1 AND (deviceId = 'x' OR is_defined(tags.a)) AND tags.b.c != 2")
    assert list(dict.fromkeys(tags_in(condition.expression))) == ["b.c", "a"]
