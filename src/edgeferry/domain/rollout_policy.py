"""How a release may move through a fleet: waves, thresholds, soak, budget, windows, guard. Pure.

Everything is a text of the settings `rollout.…`, so that the start of a rollout can write down in the ledger
what it goes by, and any machine that carries it on reads the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edgeferry.domain.download_window import Window, is_open, parse_window
from edgeferry.domain.expression import Path
from edgeferry.domain.wave import parse_tag
from edgeferry.errors import UsageError

POLICY_SETTINGS = (
    "rollout.waves",
    "rollout.success",
    "rollout.errors",
    "rollout.soak_s",
    "rollout.stratum",
    "rollout.budget",
    "rollout.windows",
    "rollout.approve_waves",
    "rollout.timeout_s",
    "rollout.guard",
    "rollout.guard_requests",
    "rollout.guard_confidence",
    "rollout.guard_margin",
)
"""The settings that a policy is read from."""

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHARE = re.compile(r"(\d+(?:\.\d+)?) ?%")
_COUNT = re.compile(r"\d+")
_BUDGET = re.compile(r"(\d+) per (.+)")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Share:
    """A share of a number of devices."""

    share: float
    """0 … 1."""

    def needed(self, whole: int) -> int:
        """How many of `whole` make up the share at least."""
        return math.ceil(self.share * whole - _ROUNDING)


@dataclass(frozen=True)
class Limit:
    """How many devices may fail: the larger of a count and a share of the whole."""

    count: int = 0
    share: float = 0.0

    def allowed(self, whole: int) -> int:
        """How many of `whole` may."""
        return max(self.count, math.floor(self.share * whole + _ROUNDING))


@dataclass(frozen=True)
class Budget:
    """How many devices of a group (a site, a line) may be out of service at once for a rollout's sake."""

    most: int
    tag: Path
    """What tells the group, e.g. `tags.site`."""


@dataclass(frozen=True)
class MaintenanceWindow:
    """When a wave may start: hours of the day, UTC, on the days on which they begin (0: Monday)."""

    days: frozenset[int]
    hours: Window


@dataclass(frozen=True)
class Guard:
    """How the exposed devices are compared with those that still run the predecessor, while a wave soaks."""

    compare: bool = True
    requests: int = 100
    """Of a stratum's exposed devices, at least: fewer prove nothing."""
    confidence: float = 0.99
    """That a rollout of a release which is no worse is not stopped, however often one looks."""
    margin: float = 0.01
    """Worse by more than this share of requests is worse; good enough is what is surely not worse by three
    times this share."""


@dataclass(frozen=True)
class RolloutPolicy:
    """What a rollout goes by."""

    waves: str = "100 %"
    """As `domain.wave` reads it."""
    success: Share = Share(1.0)
    """How many devices of each stratum must prove the release."""
    errors: Limit = Limit()
    """How many devices of each stratum may fail; one more, and the rollout goes back."""
    soak_s: float = 0.0
    """How long a wave is watched after its devices have proven the release."""
    stratum: Path | None = None
    """The tag that tells a device's stratum, e.g. `tags.site`; None where all are alike."""
    budget: Budget | None = None
    windows: tuple[MaintenanceWindow, ...] = ()
    """None: at any time."""
    approve_waves: bool = False
    """Whether a person is asked between waves."""
    timeout_s: float = 180.0
    """How long a wave's devices may take to prove the release."""
    guard: Guard = Guard()


def parse_policy(texts: Mapping[str, str]) -> RolloutPolicy:
    """The policy that the settings of POLICY_SETTINGS describe; those that are missing or empty are by
    default. UsageError names the setting, of an unknown one too: who does not know a rule cannot keep it."""
    for name in texts:
        if name not in POLICY_SETTINGS:
            raise UsageError(
                f"a rollout's policy knows no {name}", fix=f"known: {', '.join(POLICY_SETTINGS)}"
            )
    said = {name.removeprefix("rollout."): text.strip() for name, text in texts.items() if text.strip()}
    guard = Guard(
        compare=_flag(said, "guard", True),
        requests=int(_number(said, "guard_requests", 100, least=1)),
        confidence=_number(said, "guard_confidence", 0.99, least=0.5, most=0.999999),
        margin=_number(said, "guard_margin", 0.01, least=0.0001, most=0.3),
    )
    return RolloutPolicy(
        waves=said.get("waves", "100 %"),
        success=_share(said),
        errors=_limit(said),
        soak_s=_number(said, "soak_s", 0),
        stratum=_tag("stratum", said.get("stratum", "")),
        budget=_budget(said),
        windows=_windows(said),
        approve_waves=_flag(said, "approve_waves", False),
        timeout_s=_number(said, "timeout_s", 180, least=0.001),
        guard=guard,
    )


def find_opening(windows: tuple[MaintenanceWindow, ...], now_s: float) -> float:
    """When a wave may start, from `now_s` (Unix seconds) on: that very time while a window is open, or where
    there is none."""
    now = datetime.fromtimestamp(now_s, UTC)
    if not windows or any(_is_open(window, now) for window in windows):
        return now_s
    return min(_opens(window, now) for window in windows)


def _is_open(window: MaintenanceWindow, now: datetime) -> bool:
    clock = now.time()
    if not is_open(window.hours, clock):
        return False
    over_midnight = window.hours.closes < window.hours.opens and clock < window.hours.closes
    return (now - timedelta(days=int(over_midnight))).weekday() in window.days


def _opens(window: MaintenanceWindow, now: datetime) -> float:
    for days in range(8):
        day = now.date() + timedelta(days=days)
        opening = datetime.combine(day, window.hours.opens, UTC)
        if day.weekday() in window.days and opening > now:
            return opening.timestamp()
    raise AssertionError("a window has at least one day")


def _refuse(name: str, text: str, problem: str, fix: str) -> UsageError:
    return UsageError(f"rollout.{name} is {text!r}: {problem}", fix=fix)


def _number(
    said: Mapping[str, str], name: str, default: float, least: float = 0, most: float = math.inf
) -> float:
    text = said.get(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (least <= number <= most and math.isfinite(number)):
        upper = f" to {most:g}" if math.isfinite(most) else ""
        raise _refuse(name, text, "no number it can be", f"write a number from {least:g}{upper or ' on'}")
    return number


def _flag(said: Mapping[str, str], name: str, default: bool) -> bool:
    text = said.get(name, "yes" if default else "no").lower()
    if text not in ("yes", "no", "true", "false"):
        raise _refuse(name, text, "neither yes nor no", "write yes or no")
    return text in ("yes", "true")


def _percent(text: str) -> float | None:
    found = _SHARE.fullmatch(text)
    share = float(found[1]) / 100 if found else math.inf
    return share if share <= 1 else None


def _share(said: Mapping[str, str]) -> Share:
    text = said.get("success", "100 %")
    share = _percent(text)
    if not share:
        raise _refuse("success", text, "no share of devices", "write a share, such as 98 %")
    return Share(share)


def _limit(said: Mapping[str, str]) -> Limit:
    text = said.get("errors", "0")
    count, share = 0, 0.0
    for part in text.split(" or "):
        percent = _percent(part.strip())
        if percent is not None:
            share = max(share, percent)
        elif _COUNT.fullmatch(part.strip()):
            count = max(count, int(part))
        else:
            fix = "write a count, a share, or both for the larger of them: 0, or 2 %, or 1 or 2 %"
            raise _refuse("errors", text, "no limit", fix)
    return Limit(count, share)


def _tag(name: str, text: str) -> Path | None:
    try:
        return parse_tag(text)
    except UsageError as error:
        raise UsageError(f"rollout.{name}: {error.problem}", fix=error.fix) from error


def _budget(said: Mapping[str, str]) -> Budget | None:
    text = said.get("budget", "")
    if not text:
        return None
    found = _BUDGET.fullmatch(text)
    tag = _tag("budget", found[2]) if found else None
    if not found or tag is None or int(found[1]) < 1:
        raise _refuse("budget", text, "no budget", "write how many per which tag, such as 2 per tags.site")
    return Budget(int(found[1]), tag)


def _windows(said: Mapping[str, str]) -> tuple[MaintenanceWindow, ...]:
    text = said.get("windows", "")
    return tuple(_window(text, part.strip()) for part in text.split(";") if part.strip())


def _window(text: str, part: str) -> MaintenanceWindow:
    first, _, rest = part.rpartition(" ")
    fix = "write UTC hours, with days or without: 22:00-05:00, or sat-sun 08:00-18:00; mon 22:00-23:00"
    begins, _, ends = first.lower().strip().partition("-")
    try:
        hours = parse_window(rest)
        days = range(7)
        if begins:
            start, end = _DAYS.index(begins), _DAYS.index(ends or begins)
            days = range(start, end + 1 if end >= start else end + 8)
    except (UsageError, ValueError) as error:
        raise _refuse("windows", text, f"{part!r} is no window", fix) from error
    if hours is None:
        raise _refuse("windows", text, f"{part!r} has no hours", fix)
    return MaintenanceWindow(frozenset(day % 7 for day in days), hours)
