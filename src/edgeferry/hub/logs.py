"""The hub's log: JSON lines on stderr. No key, signature, token or connection string stands in one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TextIO

LEVELS: Mapping[str, int] = MappingProxyType({"info": 20, "warning": 30, "error": 40})
"""What `--log-level` may be; a line below it is not written."""

_EVENTS = MappingProxyType(
    {
        "warning": 30,
        "assignment refused": 30,
        "connection refused": 30,
        "connection closed": 30,
        "messages not kept": 30,
        "assignment delayed": 30,
        "import refused": 30,
        "assignment failed": 40,
        "failure": 40,
    }
)
"""Events that are not mere information."""
_MASK = "****"
_NAMED = re.compile(
    r"""(?ix)
    (?P<name> (?: sharedaccesskey | sig | signature | password | primarykey | secondarykey )
        ["']? \s* [=:] \s* ["']? ) [^\s;&"',]+
    | (?P<scheme> \b (?: bearer | basic | sharedaccesssignature ) \s+ ) \S+
    """
)
# Matches without padding too: else each letter of a long word would be tried as a beginning.
_BASE64 = re.compile(r"(?i)(?:[a-z0-9+/_-]|%2b|%2f){20,}(?P<padding>(?:=|%3d){1,2})?")


def mask(text: str) -> str:
    """The text without what may be a secret: signatures, keys, tokens, anything that is padded base64."""
    text = _NAMED.sub(lambda found: (found["name"] or found["scheme"]) + _MASK, text)
    return _BASE64.sub(lambda found: _MASK if found["padding"] else found[0], text)


@dataclass(frozen=True)
class JsonLog:
    """Writes one JSON object a line: `at`, `level`, `event` and the event's facts, masked."""

    stream: TextIO
    now: Callable[[], str]
    least: int = LEVELS["info"]

    def __call__(self, event: str, **facts: object) -> None:
        """Writes the line; members without a value are left out. Lost where the disk takes no more."""
        level = _EVENTS.get(event, LEVELS["info"])
        status = facts.get("status")
        if isinstance(status, int) and status >= 500:
            level = LEVELS["error"]
        if level < self.least:
            return
        said = {name: _masked(value) for name, value in facts.items() if value not in (None, "")}
        word = next(name for name, number in LEVELS.items() if number >= level)
        with suppress(OSError):
            self.stream.write(json.dumps({"at": self.now(), "level": word, "event": event, **said}) + "\n")
            self.stream.flush()

    def take_record(self, record: logging.LogRecord) -> bool:
        """What a library says about itself, as a line of ours; False, so that its own line is dropped."""
        if record.levelno >= logging.WARNING:
            trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
            self("warning", source=record.name, message=record.getMessage(), trace=trace)
        return False


def _masked(value: Any) -> Any:
    return mask(value) if isinstance(value, str) else value
