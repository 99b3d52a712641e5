"""Waves that keep a disruption budget."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.wave import Member, cut_waves, parse_tag, parse_waves, read_member
from edgeferry.domain.wave_budget import keep_budget


def a_twin(number: int, bucket: int | None, line: str | None) -> dict:
    tags = {"fleet": True, "rollout_bucket": bucket, "line": line, "ring": number % 3}
    return {
        "deviceId": f"d{number:02}",
        "tags": {key: each for key, each in tags.items() if each is not None},
    }


def members_of(twins: list[dict]) -> list[Member]:
    return [read_member(twin, None, parse_tag("tags.line")) for twin in twins]


def test_a_wave_comes_in_parts_that_each_keep_the_budget() -> None:
    twins = [a_twin(number, 10 * number, "left" if number % 2 else "right") for number in range(10)]
    waves = keep_budget(
        cut_waves("tags.fleet = true", members_of(twins), parse_waves("2; 100 %")), members_of(twins), 2
    )
    assert [(wave.number, wave.rule, len(wave.members)) for wave in waves] == [
        (1, "2", 2),
        (2, "100 %, part 1 of 2", 4),
        (3, "100 %, part 2 of 2", 4),
    ]
    assert waves[-1].condition == "tags.fleet = true"


TWINS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 30)), st.sampled_from([None, "a", "b"])), max_size=25
)


@settings(max_examples=150, deadline=None)
@given(TWINS, st.integers(1, 4), st.sampled_from(["100 %", "1; 50 %", "tags.ring = 1; 30 %"]))
def test_each_condition_selects_what_the_parts_say_and_none_is_over_the_budget(
    devices: list[tuple[int | None, str | None]], most: int, rules: str
) -> None:
    twins = [a_twin(number, *each) for number, each in enumerate(devices)]
    members = members_of(twins)
    by_name = {each.device: each for each in members}
    cut = cut_waves("tags.fleet = true", members, parse_waves(rules))
    waves = keep_budget(cut, members, most)
    reached: set[str] = set()
    for number, wave in enumerate(waves, 1):
        assert wave.number == number
        assert not reached & set(wave.members)
        reached |= set(wave.members)
        condition = parse_condition(wave.condition)
        assert {twin["deviceId"] for twin in twins if matches(condition, twin)} == reached
        groups = Counter(by_name[name].group for name in wave.members if by_name[name].group)
        for group in [group for group, count in groups.items() if count > most]:
            assert len({by_name[name].bucket for name in wave.members if by_name[name].group == group}) == 1
    assert reached == set(by_name)
