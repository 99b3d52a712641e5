"""What a rollout goes by, as its settings say it."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from edgeferry.domain.download_window import Window
from edgeferry.domain.rollout_policy import (
    POLICY_SETTINGS,
    Budget,
    Limit,
    MaintenanceWindow,
    RolloutPolicy,
    Share,
    find_opening,
    parse_policy,
)
from edgeferry.domain.wave import parse_tag
from edgeferry.errors import UsageError
from edgeferry.settings_table import SETTINGS

SITE = parse_tag("tags.site")
assert SITE
WEEK = frozenset(range(7))


def test_nothing_said_is_one_wave_of_all_without_a_soak() -> None:
    assert parse_policy({}) == parse_policy(dict.fromkeys(POLICY_SETTINGS, "")) == RolloutPolicy()


@pytest.mark.parametrize(
    ("name", "text", "member", "value"),
    [
        pytest.param("waves", "1; 10 %", "waves", "1; 10 %", id="waves are kept as text"),
        pytest.param("success", "98 %", "success", Share(0.98), id="a share"),
        pytest.param("success", "99.5%", "success", Share(0.995), id="a share with a fraction"),
        pytest.param("errors", "3", "errors", Limit(3, 0.0), id="a count"),
        pytest.param("errors", "2 %", "errors", Limit(0, 0.02), id="a share of errors"),
        pytest.param("errors", "1 or 2 %", "errors", Limit(1, 0.02), id="the larger of both"),
        pytest.param("soak_s", "300", "soak_s", 300.0, id="a soak"),
        pytest.param("stratum", "tags.site", "stratum", SITE, id="a stratum"),
        pytest.param("stratum", "tags.[[site]]", "stratum", SITE, id="a stratum as conditions may write it"),
        pytest.param("budget", "2 per tags.site", "budget", Budget(2, SITE), id="a budget"),
        pytest.param("approve_waves", "yes", "approve_waves", True, id="approval between waves"),
        pytest.param(
            "windows",
            "22:00-05:00",
            "windows",
            (MaintenanceWindow(WEEK, Window(time(22), time(5))),),
            id="a window on all days",
        ),
        pytest.param(
            "windows",
            "Fri-Mon 08:00-18:00; wed 12:30-13:00",
            "windows",
            (
                MaintenanceWindow(frozenset({4, 5, 6, 0}), Window(time(8), time(18))),
                MaintenanceWindow(frozenset({2}), Window(time(12, 30), time(13))),
            ),
            id="windows on some days",
        ),
    ],
)
def test_what_a_setting_says(name: str, text: str, member: str, value: object) -> None:
    assert getattr(parse_policy({f"rollout.{name}": text}), member) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("success", "98"),
        ("success", "0 %"),
        ("success", "101 %"),
        ("errors", "few"),
        ("errors", "-1"),
        ("errors", "1 or"),
        ("soak_s", "-1"),
        ("soak_s", "nan"),
        ("soak_s", "inf"),
        ("soak_s", "5 min"),
        ("timeout_s", "0"),
        ("stratum", "site"),
        ("stratum", "tags.a = 1"),
        ("budget", "2"),
        ("budget", "0 per tags.site"),
        ("budget", "2 per site"),
        ("windows", "8-18"),
        ("windows", "someday 08:00-18:00"),
        ("windows", "mon"),
        ("windows", "08:00-08:00"),
        ("approve_waves", "maybe"),
        ("guard", "some"),
        ("guard_confidence", "1"),
        ("guard_margin", "0"),
        ("guard_requests", "0"),
        ("weves", "1"),
    ],
)
def test_what_is_wrong_names_the_setting(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"rollout.{name}") as error:
        parse_policy({f"rollout.{name}": text})
    assert error.value.fix


@pytest.mark.parametrize(
    ("whole", "share", "needed", "may_fail"),
    [
        (0, 0.98, 0, 0),
        (1, 0.98, 1, 0),
        (2, 0.5, 1, 1),
        (3, 0.33, 1, 0),
        (3, 0.34, 2, 1),
        (100, 0.29, 29, 29),
        (1000, 0.07, 70, 70),
    ],
)
def test_shares_of_whole_devices_are_rounded_to_the_safe_side(
    whole: int, share: float, needed: int, may_fail: int
) -> None:
    assert (Share(share).needed(whole), Limit(0, share).allowed(whole)) == (needed, may_fail)


@pytest.mark.parametrize(
    ("text", "now", "opens"),
    [
        pytest.param("", "2026-11-28T12:00", "2026-11-28T12:00", id="no window: always"),
        pytest.param("08:00-18:00", "2026-11-28T12:00", "2026-11-28T12:00", id="open now"),
        pytest.param("08:00-18:00", "2026-11-28T18:00", "2026-11-29T08:00", id="just closed"),
        pytest.param("08:00-18:00", "2026-11-28T07:00", "2026-11-28T08:00", id="opens later today"),
        pytest.param("mon 08:00-18:00", "2026-11-28T12:00", "2026-11-30T08:00", id="opens on Monday"),
        pytest.param("sat 22:00-05:00", "2026-11-29T04:59", "2026-11-29T04:59", id="Saturday's night"),
        pytest.param("sun 22:00-05:00", "2026-11-29T04:59", "2026-11-29T22:00", id="not yet Sunday's night"),
        pytest.param("sat 08:00-09:00", "2026-11-28T09:00", "2026-12-05T08:00", id="in a week"),
        pytest.param(
            "sat 08:00-09:00; 20:00-21:00", "2026-11-28T09:00", "2026-11-28T20:00", id="the next of two"
        ),
    ],
)
def test_when_a_wave_may_start(text: str, now: str, opens: str) -> None:
    windows = parse_policy({"rollout.windows": text}).windows
    now_s, opens_s = (datetime.fromisoformat(each).replace(tzinfo=UTC).timestamp() for each in (now, opens))
    assert find_opening(windows, now_s) == opens_s


def test_the_settings_are_those_of_a_policy_and_so_are_their_defaults() -> None:
    defaults = {each.name: each.default for each in SETTINGS if each.name in POLICY_SETTINGS}
    assert set(defaults) == set(POLICY_SETTINGS)
    assert parse_policy(defaults) == RolloutPolicy()
