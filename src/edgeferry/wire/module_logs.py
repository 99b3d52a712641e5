"""GetModuleLogs, a direct method of IoT Edge's agent: what is asked for, and what answers it. Pure.

A line of a log is `<level> time text` where a module keeps to IoT Edge's form, such as
`<6> 2026-02-14 16:15:35.243 +01:00 [INF] - started`; any other line is text of level 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edgeferry.errors import UsageError

USUAL_LEVEL = 6
"""Informational, as in syslog."""
_EVERY_MODULE = "all"
_LINE = re.compile(
    r"(?:<(?P<level>[0-9])>)?\s*"
    r"(?:(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{8}[.,][0-9]{3,6}\s?(?:[+-][0-9]{2}:[0-9]{2}|Z))\s)?"
    r"\s*(?P<text>.*)",
    re.DOTALL,
)
_SPAN = re.compile(r"([0-9]+)\s*(w|d|h|m|s)[a-z]*\s*")
_SPANS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@dataclass(frozen=True)
class LogFilter:
    """Which lines; what is None or empty lets all through."""

    tail: int | None = None
    since_s: float | None = None
    """Seconds since 1970."""
    until_s: float | None = None
    level: int | None = None
    pattern: re.Pattern[str] | None = None

    @property
    def looks_at_text(self) -> bool:
        """Whether a line must be read before it is known whether it counts."""
        return self.level is not None or self.pattern is not None


@dataclass(frozen=True)
class LogItem:
    """Which modules, and which of their lines."""

    modules: re.Pattern[str] | None
    """None: all of them."""
    filter: LogFilter = field(default_factory=LogFilter)

    def is_for(self, module: str) -> bool:
        """Whether the item asks for that module's log."""
        return self.modules is None or self.modules.search(module) is not None


@dataclass(frozen=True)
class LogRequest:
    """The method's payload."""

    items: tuple[LogItem, ...]
    zipped: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class LogLine:
    """One line as a container wrote it."""

    written: str
    """All of it, without the end of the line."""
    stream: str = "stdout"
    logged_at: str = ""
    """When the engine got it (RFC 3339); "" when it was not asked."""


@dataclass(frozen=True)
class ReadLine:
    """What a line says."""

    level: int
    said_at: datetime | None
    text: str


def parse_log_request(said: Mapping[str, Any], now: datetime) -> LogRequest:
    """The request, spans such as `1d 2h` counted back from `now`. UsageError names what cannot be read."""
    items = said.get("items")
    rows = items if isinstance(items, list) else [items]
    if items is None or not rows:
        raise UsageError("items is missing", fix='write "items": [{"id": "NAME"}]')
    return LogRequest(
        items=tuple(_parse_item(f"items[{number}]", row, now) for number, row in enumerate(rows)),
        zipped=_one_of(said, "encoding", ("none", "gzip")) == "gzip",
        as_json=_one_of(said, "contentType", ("text", "json")) == "json",
    )


def read_line(written: str) -> ReadLine:
    """What the line says; one of another form is text of the usual level."""
    match = _LINE.fullmatch(written)
    if match is None:
        return ReadLine(USUAL_LEVEL, None, written)
    said_at = None
    if match["time"]:
        try:
            said_at = datetime.fromisoformat(re.sub(r"\s(?=[+-]|$)", "", match["time"].replace(",", ".")))
        except ValueError:
            return ReadLine(int(match["level"] or USUAL_LEVEL), None, written)
    return ReadLine(int(match["level"] or USUAL_LEVEL), said_at, match["text"])


def select_lines(lines: Iterable[LogLine], wanted: LogFilter) -> list[LogLine]:
    """The lines that the filter lets through, the last `tail` of them."""
    kept = [line for line in lines if not wanted.looks_at_text or _passes(read_line(line.written), wanted)]
    return kept if wanted.tail is None else kept[max(0, len(kept) - wanted.tail) :]


def render_text(lines: Sequence[LogLine]) -> str:
    """The lines as they were written."""
    return "".join(f"{line.written}\n" for line in lines)


def render_json(lines: Sequence[LogLine], hub: str, device: str, module: str) -> str:
    """The lines as a JSON list of IoT Edge's records. A line that names no time has the engine's."""
    records = []
    for line in lines:
        read = read_line(line.written)
        records.append(
            {
                "iothub": hub,
                "device": device,
                "id": module,
                "stream": line.stream,
                "loglevel": read.level,
                "text": read.text,
                "timestamp": read.said_at.isoformat() if read.said_at else line.logged_at or None,
            }
        )
    return json.dumps(records)


def parse_moment(where: str, said: object, now: datetime) -> float:
    """Seconds since 1970 of a number of such seconds, an RFC 3339 time (UTC where it says nothing), or a span
    that is counted back from `now`, such as `1d 2h`; UsageError for anything else."""
    if isinstance(said, int | float) and not isinstance(said, bool):
        return float(said)
    text = said.strip() if isinstance(said, str) else ""
    try:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text):
            return float(text)
        if re.fullmatch(f"({_SPAN.pattern})+", text.lower()):
            spans = [(_SPANS[unit], int(count)) for count, unit in _SPAN.findall(text.lower())]
            return (now - sum((timedelta(**{unit: count}) for unit, count in spans), timedelta())).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{where} {said!r} is no time",
            fix="write an RFC 3339 time, seconds since 1970, or a span such as 1d 2h",
        ) from error


def _parse_item(where: str, said: object, now: datetime) -> LogItem:
    if not isinstance(said, Mapping):
        raise UsageError(f"{where} is not an object", fix='write {"id": "NAME"}')
    name = said.get("id")
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"{where}.id is missing", fix='write a regular expression over module names, or "all"'
        )
    modules = None if name.lower() == _EVERY_MODULE else _pattern(f"{where}.id", name, re.IGNORECASE)
    return LogItem(modules, _parse_filter(f"{where}.filter", said.get("filter"), now))


def _parse_filter(where: str, said: object, now: datetime) -> LogFilter:
    if said is None:
        return LogFilter()
    if not isinstance(said, Mapping):
        raise UsageError(f"{where} is not an object", fix='write {"tail": 100}')
    known = ("tail", "since", "until", "loglevel", "regex")
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise UsageError(f"{where}.{unknown[0]} is not known", fix=f"use {', '.join(known)}")
    since, until, pattern = said.get("since"), said.get("until"), said.get("regex")
    return LogFilter(
        tail=_whole(f"{where}.tail", said.get("tail")),
        since_s=None if since is None else parse_moment(f"{where}.since", since, now),
        until_s=None if until is None else parse_moment(f"{where}.until", until, now),
        level=_whole(f"{where}.loglevel", said.get("loglevel")),
        pattern=None if pattern is None else _pattern(f"{where}.regex", pattern),
    )


def _whole(where: str, said: object) -> int | None:
    if said is None:
        return None
    if isinstance(said, str) and re.fullmatch(r"[0-9]{1,9}", said):
        return int(said)
    if isinstance(said, bool) or not isinstance(said, int) or said < 0:
        raise UsageError(f"{where} {said!r} is not a number", fix="write a whole number, 0 or more")
    return said


def _pattern(where: str, said: object, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    try:
        return re.compile(str(said), flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"{where} {said!r} is no regular expression: {error}", fix="correct the expression"
        ) from error


def _one_of(said: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = said.get(name)
    text = choices[0] if value is None else str(value).lower()
    if text not in choices:
        raise UsageError(f"{name} {value!r} is not known", fix=f"use {' or '.join(choices)}")
    return text


def _passes(line: ReadLine, wanted: LogFilter) -> bool:
    return (wanted.level is None or line.level == wanted.level) and (
        wanted.pattern is None or wanted.pattern.search(line.text) is not None
    )
