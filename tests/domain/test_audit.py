"""What the ledger says was desired on a device, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from edgeferry.domain.audit import find_desires, parse_moment, read_applies
from edgeferry.domain.release import Entry
from edgeferry.errors import UsageError

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def entry(day: int, kind: str, subject: str, **body: Any) -> Entry:
    at = f"2026-11-{day:02d}T12:00:00.000+00:00"
    return Entry(f"{day:06d}-{kind}-{subject}", kind, subject, at, "ann", body, "", "")


def release(day: int, name: str) -> Entry:
    return entry(day, "release", name, model=name.partition("-")[0], version="1", digest="sha256:aa")


def start(day: int, rollout: str, *, plan: str = "two waves", environment: str = "") -> Entry:
    name = rollout.rpartition("-")[0]
    return entry(
        day,
        "rollout",
        rollout,
        release=name,
        model=name.partition("-")[0],
        environment=environment,
        plan=plan,
        approvals=["000001-approval-x"],
    )


def wave(day: int, rollout: str, number: int) -> Entry:
    return entry(day, "wave", rollout, wave=number, event="started", condition="*")


def end(day: int, rollout: str, state: str, *devices: str) -> Entry:
    told = {device: {"state": state, "reason": "so it is", "digest": "sha256:aa"} for device in devices}
    return entry(day, "end", rollout, state=state, reason="so it is", devices=told)


def order(day: int, rollout: str, word: str) -> Entry:
    return entry(day, "order", rollout, order=word, reason="I say so")


PLANS: Mapping[str, Mapping[str, Any]] = {
    "two waves": {"waves": [{"wave": 1, "devices": ["press-1"]}, {"wave": 2, "devices": ["press-2"]}]}
}
FIRST = [
    release(1, "taxi-v1"),
    start(2, "taxi-v1-01"),
    wave(3, "taxi-v1-01", 1),
    wave(5, "taxi-v1-01", 2),
    end(7, "taxi-v1-01", "Succeeded", "press-1", "press-2", "press-9"),
]
SECOND = [release(8, "taxi-v2"), start(9, "taxi-v2-02"), wave(10, "taxi-v2-02", 1)]


def desired(entries: list[Entry], device: str, day: int) -> list[str]:
    at = parse_moment(f"2026-11-{day:02d}", NOW)
    return [one.release for one in find_desires(entries, device, at, PLANS.get)]


@pytest.mark.parametrize(
    ("entries", "device", "day", "releases"),
    [
        pytest.param(FIRST, "press-1", 2, [], id="before the wave"),
        pytest.param(FIRST, "press-1", 3, ["taxi-v1"], id="from its wave on"),
        pytest.param(FIRST, "press-2", 4, [], id="before its own wave"),
        pytest.param(FIRST, "press-2", 5, ["taxi-v1"], id="from its own wave on"),
        pytest.param(FIRST, "press-9", 6, [], id="one that joined, before the end"),
        pytest.param(FIRST, "press-9", 7, ["taxi-v1"], id="one that joined, as the end says"),
        pytest.param(FIRST, "press-8", 9, [], id="one that no wave reached"),
        pytest.param([*FIRST, *SECOND], "press-1", 10, ["taxi-v2"], id="the newer release above the older"),
        pytest.param([*FIRST, *SECOND], "press-2", 10, ["taxi-v1"], id="the newer did not come so far"),
        pytest.param(
            [*FIRST, *SECOND, end(11, "taxi-v2-02", "Failed", "press-1")],
            "press-1",
            11,
            ["taxi-v1"],
            id="a failed one leaves the older",
        ),
        pytest.param(
            [*FIRST, *SECOND, end(11, "taxi-v2-02", "TimedOut", "press-1")],
            "press-1",
            11,
            ["taxi-v2"],
            id="one that ran out of time stays",
        ),
        pytest.param(
            [*FIRST, *SECOND, order(11, "taxi-v2-02", "revert")],
            "press-1",
            12,
            ["taxi-v1"],
            id="a person took it back",
        ),
        pytest.param(
            [*FIRST, *SECOND, order(11, "taxi-v2-02", "abort"), end(11, "taxi-v2-02", "Inconclusive")],
            "press-1",
            12,
            ["taxi-v2"],
            id="a person stopped it where it was",
        ),
        pytest.param(
            [*FIRST, *SECOND, order(11, "taxi-v2-02", "revert")],
            "press-1",
            10,
            ["taxi-v2"],
            id="before the person took it back",
        ),
        pytest.param(
            [*FIRST, *SECOND, order(11, "taxi-v2-02", "pause")],
            "press-1",
            12,
            ["taxi-v2"],
            id="a pause takes nothing back",
        ),
        pytest.param(
            [*FIRST, *SECOND, order(11, "taxi-v2-02", "abort")],
            "press-1",
            12,
            ["taxi-v2"],
            id="an abort stops where it is and takes nothing back",
        ),
        pytest.param(
            [
                release(1, "a-v1"),
                release(1, "b-v1"),
                start(2, "a-v1-01"),
                start(2, "b-v1-01"),
                wave(3, "a-v1-01", 1),
                wave(3, "b-v1-01", 1),
            ],
            "press-1",
            4,
            ["a-v1", "b-v1"],
            id="one for each model",
        ),
        pytest.param(
            [
                release(1, "taxi-v1"),
                entry(
                    2, "rollout", "taxi-v1", state="Succeeded", devices={"press-1": {"state": "Succeeded"}}
                ),
            ],
            "press-1",
            3,
            ["taxi-v1"],
            id="a rollout of one entry, as they were at first",
        ),
    ],
)
def test_the_release_desired_on_a_device_that_day(
    entries: list[Entry], device: str, day: int, releases: list[str]
) -> None:
    assert desired(entries, device, day) == releases


def test_how_it_came_is_told() -> None:
    (one,) = find_desires(FIRST, "press-2", NOW, PLANS.get)
    assert (one.wave, one.since, one.state) == (2, "2026-11-05T12:00:00.000+00:00", "Succeeded")
    assert one.rollout.body["approvals"] == ["000001-approval-x"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param("", NOW, id="now"),
        pytest.param(
            "2026-11-28", datetime(2026, 11, 28, 23, 59, 59, 999999, tzinfo=UTC), id="a day: its end"
        ),
        pytest.param("2026-11-28T14:00", datetime(2026, 11, 28, 14, tzinfo=UTC), id="UTC"),
        pytest.param("2026-11-28T14:00+02:00", datetime(2026, 11, 28, 12, tzinfo=UTC), id="another zone"),
    ],
)
def test_a_moment(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(UsageError, match="'soon' is no date"):
        parse_moment("soon", NOW)


def apply(day: int, outcome: str, ended: int = 0, gone: str = "", **images: str) -> Mapping[str, Any]:
    at, until = (f"2026-11-{one:02d}T00:00:00Z" for one in (day, ended))
    end = {"ended_at": until if ended else "", "reason": f"ended {ended}" if ended else ""}
    return {"at": at, "images": images, "outcome": outcome, "gone": gone.split(), **end}


@pytest.mark.parametrize(
    ("applies", "images", "outcome", "undone"),
    [
        pytest.param(
            [apply(2, "Proven", 2, taxi="v1"), apply(3, "Superseded", 5, taxi="v2")],
            {"taxi": "v1"},
            "Proven",
            "taxi: v2, applied at 2026-11-03T00:00:00Z, Superseded: ended 5",
            id="one that was taken back before it was proven",
        ),
        pytest.param(
            [apply(2, "Proven", 2, taxi="v1"), apply(3, "Superseded", 9, taxi="v2")],
            {"taxi": "v2"},
            "Trial",
            "",
            id="one that was taken back later",
        ),
        pytest.param(
            [apply(2, "Proven", 2, taxi="v1"), apply(3, "Failed", taxi="v2")],
            {"taxi": "v2"},
            "Failed",
            "",
            id="one that failed with nothing to go back to",
        ),
        pytest.param(
            [apply(2, "Proven", 2, taxi="v1"), apply(3, "Proven", 3, pump="v1")],
            {"taxi": "v1", "pump": "v1"},
            "Proven",
            "",
            id="another module came after it",
        ),
        pytest.param(
            [apply(2, "Proven", 2, taxi="v1", pump="v1"), apply(3, "Proven", 3, gone="taxi")],
            {"pump": "v1"},
            "Proven",
            "",
            id="a module that went",
        ),
        pytest.param(
            [apply(2, "Superseded", 3, taxi="v1"), apply(3, "Proven", 3, taxi="v2")],
            {"taxi": "v2"},
            "Proven",
            "",
            id="what was undone before it is not told",
        ),
    ],
)
def test_what_ran_is_what_was_applied_last_and_not_undone(
    applies: list[Any], images: Mapping[str, str], outcome: str, undone: str
) -> None:
    answer = {"status": 200, "payload": {"applies": applies[::-1]}}
    ran = read_applies(answer, parse_moment("2026-11-06", NOW))
    assert (ran.note, ran.images, ran.outcome, ran.undone) == ("", images, outcome, undone)


def test_where_nothing_that_was_applied_stayed_it_is_not_known_what_ran() -> None:
    answer = {"status": 200, "payload": {"applies": [apply(3, "RolledBack", 4, taxi="v2")]}}
    ran = read_applies(answer, NOW)
    assert (ran.images, "gone again: taxi: v2" in ran.note) == ({}, True)


APPLIES = [
    {"at": "2026-11-03T00:00:00Z", "images": {"taxi": "r/taxi@sha256:bb"}, "outcome": "RolledBack"},
    {"at": "2026-11-02T00:00:00Z", "images": {"taxi": "r/taxi@sha256:aa"}, "outcome": "Proven"},
    {"at": None},
    "odd",
]


@pytest.mark.parametrize(
    ("answer", "day", "ran"),
    [
        pytest.param(
            {"status": 200, "payload": {"applies": APPLIES}},
            9,
            "Proven r/taxi@sha256:aa",
            id="last that stayed",
        ),
        pytest.param(
            {"status": 200, "payload": {"applies": APPLIES}}, 2, "Proven r/taxi@sha256:aa", id="earlier"
        ),
        pytest.param(
            {"status": 200, "payload": {"applies": APPLIES}}, 1, "no apply so long ago", id="too early"
        ),
        pytest.param(
            {"status": 400, "payload": {"message": "unknown"}}, 9, "IoT Edge's has none", id="IoT Edge"
        ),
        pytest.param({}, 9, "IoT Edge's has none", id="no answer of the form"),
    ],
)
def test_what_ran_is_what_the_agent_says(answer: Mapping[str, Any], day: int, ran: str) -> None:
    found = read_applies(answer, parse_moment(f"2026-11-{day:02d}", NOW))
    assert found.note.endswith(ran) if found.note else f"{found.outcome} {found.images['taxi']}" == ran
