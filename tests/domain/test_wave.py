"""Waves: what their rules mean, and that each condition selects just the devices that the plan says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgeferry.domain.bucket import rollout_bucket
from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.portability import find_remarks
from edgeferry.domain.wave import Member, Wave, cut_waves, parse_tag, parse_waves, read_member
from edgeferry.errors import UsageError


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        pytest.param("", ["100 %"], id="nothing said is everybody at once"),
        pytest.param("1", ["1", "100 %"], id="the last wave is everybody, said or not"),
        pytest.param("1; 10 %; 100 %", ["1", "10 %", "100 %"], id="counts and percentages"),
        pytest.param("2.5%", ["2.5%", "100 %"], id="parts of a per cent"),
        pytest.param(
            "tags.ring = 'a;b'; 50 %",
            ["tags.ring = 'a;b'", "50 %", "100 %"],
            id="a semicolon in a text divides nothing",
        ),
        pytest.param(
            "deviceId = 'press-1'; properties.reported.os = 'x'; *",
            ["deviceId = 'press-1'", "properties.reported.os = 'x'", "*", "100 %"],
            id="conditions by name and by what is reported, and that of all",
        ),
    ],
)
def test_rules_are_read(text: str, rules: list[str]) -> None:
    assert [rule.text for rule in parse_waves(text)] == rules


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("0", "at least 1", id="no device"),
        pytest.param("1.5", "a whole one", id="half a device"),
        pytest.param("0 %", "more than 0", id="no per cent"),
        pytest.param("101 %", "at most 100", id="more than all"),
        pytest.param("20 %; 10 %", "no further than 20 %", id="falling percentages"),
        pytest.param("100 %; 5", "before it", id="a wave after all devices"),
        pytest.param("1; tags.ring =", "wave 'tags.ring ='", id="half a condition"),
        pytest.param("many", "rollout.waves: wave 'many' .* neither tags nor", id="a bare name"),
        pytest.param("1; status = 'enabled'", "names neither tags", id="what tells no devices apart"),
        pytest.param("true; 50 %", "names neither tags", id="a constant"),
    ],
)
def test_rules_that_make_no_sense_are_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_waves(text)


@pytest.mark.parametrize("text", ["site", "deviceId", "tags", "tags.a = 1", "tags.a) or (tags.b"])
def test_what_is_no_tag_cuts_no_strata(text: str) -> None:
    with pytest.raises(UsageError, match="not the path of a tag"):
        parse_tag(text)


def fleet(**sizes: int) -> list[dict[str, Any]]:
    """Devices of these sites; their buckets rise from 0 in each."""
    return [
        {"deviceId": f"{site}-{number}", "tags": {"site": site, "rollout_bucket": 10 * number}}
        for site, size in sizes.items()
        for number in range(size)
    ]


def cut(
    documents: list[dict[str, Any]], rules: str, stratum: str = "", condition: str = "*"
) -> tuple[Wave, ...]:
    members = [read_member(one, parse_tag(stratum)) for one in documents]
    return cut_waves(condition, members, parse_waves(rules), parse_tag(stratum))


@pytest.mark.parametrize(
    ("sizes", "rules", "adds"),
    [
        pytest.param({"a": 4}, "100 %", {"100 %": 4}, id="all at once"),
        pytest.param({"a": 10}, "1; 50 %", {"1": 1, "50 %": 4, "100 %": 5}, id="each wave reaches further"),
        pytest.param({"a": 19}, "10 %", {"10 %": 1, "100 %": 18}, id="a share is rounded down"),
        pytest.param({"a": 3, "b": 90}, "1 %", {"1 %": 2, "100 %": 91}, id="at least one of each stratum"),
        pytest.param({"a": 10, "b": 30}, "8", {"8": 8, "100 %": 32}, id="a count is spread by size"),
        pytest.param({"a": 1, "b": 1}, "1", {"100 %": 2}, id="a wave that is everybody is the last"),
        pytest.param({"a": 5}, "1; 10 %", {"1": 1, "100 %": 4}, id="a wave that adds nobody is left out"),
        pytest.param(
            {"a": 4, "b": 4},
            "1; tags.site = 'b'",
            {"1": 2, "tags.site = 'b'": 3, "100 %": 3},
            id="a selector adds what is not in yet",
        ),
        pytest.param({}, "1; 10 %", {"100 %": 0}, id="nobody"),
    ],
)
def test_waves_add_as_many_as_their_rules_say(
    sizes: dict[str, int], rules: str, adds: dict[str, int]
) -> None:
    assert {wave.rule: len(wave.members) for wave in cut(fleet(**sizes), rules, "tags.site")} == adds


def test_a_wave_is_one_condition_with_a_threshold_for_each_stratum() -> None:
    documents = [{**one, "tags": {**one["tags"], "env": "prod"}} for one in fleet(a=10, b=20)]
    first, last = cut(documents, "10 %", "tags.site", "tags.env = 'prod'")
    assert first.thresholds == {"a": 1, "b": 11}
    assert first.condition == (
        "(tags.env = 'prod') AND ((tags.site = 'a' AND tags.rollout_bucket < 1) OR "
        "(tags.site = 'b' AND tags.rollout_bucket < 11))"
    )
    assert last.condition == "tags.env = 'prod'"
    assert not find_remarks(parse_condition(first.condition).expression)


def test_devices_without_the_tags_come_last() -> None:
    bare = [{"deviceId": "bare", "tags": {"site": "a"}}, {"deviceId": "lost", "tags": {"rollout_bucket": 0}}]
    waves = cut([*fleet(a=4), *bare], "1; 75 %", "tags.site")
    assert {"bare", "lost"} <= set(waves[-1].members)
    assert not {"bare", "lost"} & {device for wave in waves[:-1] for device in wave.members}


SITES = some.one_of(
    some.none(), some.sampled_from(["a", "b", "it's", "1", "ü"]), some.sampled_from([1, 2.5, True, False])
)


@some.composite
def documents(draw: some.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(some.integers(0, 40))):
        tags: dict[str, Any] = {"ring": draw(some.sampled_from(["early", "late"]))}
        if (site := draw(SITES)) is not None:
            tags["site"] = site
        if draw(some.integers(0, 9)):
            bucket = rollout_bucket(f"{draw(some.integers(0, 9))}/{number}")
            tags["rollout_bucket"] = draw(some.sampled_from([bucket] * 9 + [bucket + 0.5, -1, "1"]))
        found.append({"deviceId": f"d{number}", "tags": tags})
    return found


RULES = some.lists(some.sampled_from(["1", "3", "7", "tags.ring = 'early'", "*"]), max_size=3).map(
    lambda parts: "; ".join([*parts, "10 %", "60 %"])
)


@given(documents(), RULES, some.sampled_from(["", "tags.site"]), some.sampled_from(["*", "tags.ring != 'x'"]))
def test_each_condition_selects_the_members_of_the_waves_so_far(
    fleet: list[dict[str, Any]], rules: str, stratum: str, condition: str
) -> None:
    waves = cut(fleet, rules, stratum, condition)
    inside: set[str] = set()
    for wave in waves:
        assert not inside & set(wave.members)
        inside |= set(wave.members)
        parsed = parse_condition(wave.condition)
        assert {one["deviceId"] for one in fleet if matches(parsed, one)} == inside
    assert inside == {one["deviceId"] for one in fleet}
    assert waves[-1].condition == condition
    assert [wave.number for wave in waves] == list(range(1, len(waves) + 1))
    assert all(wave.members for wave in waves[:-1])
    members = [read_member(one, parse_tag(stratum)) for one in fleet]
    for wave in waves[:-1]:
        if wave.thresholds:
            for name in {one.stratum for one in members if reachable(one, stratum)}:
                reached = {one.device for one in members if one.stratum == name} & reached_by(waves, wave)
                assert reached, f"wave {wave.number} has no device of {name!r}"


def reachable(one: Member, stratum: str) -> bool:
    return one.bucket is not None and bool(one.stratum or not stratum)


def reached_by(waves: tuple[Wave, ...], last: Wave) -> set[str]:
    return {device for wave in waves[: last.number] for device in wave.members}
