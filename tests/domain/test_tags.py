"""Words of a command line as a merge patch."""

from typing import Any

import pytest

from edgeferry.domain.tags import is_change, parse_changes, render_wanted
from edgeferry.errors import UsageError


@pytest.mark.parametrize(
    ("words", "patch"),
    [
        pytest.param(["models.nyc_taxi=true"], {"models": {"nyc_taxi": True}}, id="dots nest, JSON values"),
        pytest.param(["models.nyc_taxi="], {"models": {"nyc_taxi": None}}, id="an empty value removes"),
        pytest.param(
            ["models.nyc_taxi-", "b-"], {"models": {"nyc_taxi": None}, "b": None}, id="a minus removes"
        ),
        pytest.param(["site=berlin", "floor=3"], {"site": "berlin", "floor": 3}, id="text and number"),
        pytest.param(["a.b=1", "a.c=2"], {"a": {"b": 1, "c": 2}}, id="two below one"),
        pytest.param(["note=a=b-"], {"note": "a=b-"}, id="an equals sign and a minus in the value"),
        pytest.param(['o={"x": [1]}'], {"o": {"x": [1]}}, id="an object"),
    ],
)
def test_words_are_read(words: list[str], patch: dict[str, Any]) -> None:
    assert parse_changes(words) == patch


@pytest.mark.parametrize(
    "words",
    [["models.nyc_taxi"], ["=true"], ["-"], ["a..b=1"], ["a=1", "a.b=2"], ["a.b=2", "a=1"], ["a=1", "a-"]],
)
def test_words_that_cannot_be_read_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_changes(words)


@pytest.mark.parametrize(
    ("condition", "patch"),
    [
        pytest.param("tags.models.pump = true", {"models": {"pump": True}}, id="true"),
        pytest.param(
            "tags.floor = 3 AND tags.site = 'north sea'", {"floor": 3, "site": "north sea"}, id="two"
        ),
        pytest.param(
            "tags.line = '42' AND tags.on = 'true'", {"line": "42", "on": "true"}, id="text like JSON"
        ),
        pytest.param("tags.note = ''", {"note": ""}, id="no letters"),
        pytest.param("tags.a = 1 OR tags.b = 2", {}, id="more than values of tags"),
        pytest.param("", {}, id="no condition"),
    ],
)
def test_the_words_of_a_condition_say_what_it_wants(condition: str, patch: dict[str, Any]) -> None:
    assert parse_changes(render_wanted(condition)) == patch


def test_a_device_is_no_change() -> None:
    assert [is_change(word) for word in ("press-1", "a=1", "a-")] == [False, True, True]
