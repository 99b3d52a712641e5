"""The agent's direct methods: ping, GetModuleLogs, RestartModule, as IoT Edge's edgeAgent has them, and
Decommission, which is ours: it needs {"device": NAME} as a confirmation."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgeferry.device.containers import MODULE_LABEL, Place
from edgeferry.engine import Engine

MOST_LOG_BYTES = 127_000
"""A method's answer has at most 128 KiB."""
DEFAULT_TAIL = 200

Answer = tuple[int, Any]


class Methods:
    """Answers methods with an engine connection of its own, since they come in a thread of their own."""

    def __init__(
        self,
        engine_url: str,
        place: Place,
        wake: Callable[[], None],
        decommission: Callable[[Mapping[str, Any]], Answer],
    ) -> None:
        self._engine = Engine(engine_url)
        self._place = place
        self._wake = wake
        self._decommission = decommission

    def close(self) -> None:
        """The engine connection is closed."""
        self._engine.close()

    def answer(self, name: str, payload: Any) -> Answer:
        """(status, answer) of the method; names in any case. EngineError when the engine does not answer."""
        said = payload if isinstance(payload, Mapping) else {}
        known: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "ping": lambda _: (200, None),
            "getmodulelogs": self._logs,
            "restartmodule": self._restart,
            "decommission": self._decommission,
        }
        method = known.get(name.lower())
        if method is None:
            return _bad(f"Command '{name}' not found. The supported commands are - {', '.join(known)}")
        if name.lower() != "ping" and str(said.get("schemaVersion", "1.0")).partition(".")[0] != "1":
            return _bad(f"schemaVersion {said['schemaVersion']!r} is not understood; use 1.0")
        return method(said)

    def _restart(self, said: Mapping[str, Any]) -> Answer:
        module = said.get("id")
        facts = self._engine.inspect(self._place.container(str(module))) if module else None
        if facts is None:
            return 500, {"message": f"module {module!r} is not on this device"}
        self._engine.stop(facts.id)
        self._engine.start(facts.id)
        self._wake()
        return 200, None

    def _logs(self, said: Mapping[str, Any]) -> Answer:
        encoding = said.get("encoding", "none")
        if encoding not in ("none", "gzip"):
            return _bad(f"encoding {encoding!r} is not understood; use none or gzip")
        if said.get("contentType", "text") != "text":
            return _bad("only contentType text is supported")
        items = said.get("items", [])
        answers: list[dict[str, Any]] = []
        for item in items if isinstance(items, list) else [items]:
            try:
                wanted = re.compile(item["id"])
                line_filter = item.get("filter") or {}
                tail = int(line_filter.get("tail", DEFAULT_TAIL))
                keep = re.compile(line_filter.get("regex", ""))
            except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
                return _bad(f"an item of the request cannot be read: {error}")
            unknown = set(line_filter) - {"tail", "regex"}
            if unknown:
                return _bad(f"filter {sorted(unknown)[0]!r} is not supported; use tail and regex")
            answers += self._collect(wanted, tail, keep, encoding == "gzip")
        size = sum(len(answer["payload"] or answer["payloadBytes"] or "") for answer in answers)
        if size > MOST_LOG_BYTES:
            return _bad(f"{size} bytes of logs; at most {MOST_LOG_BYTES} fit, ask for a smaller tail")
        return 200, answers

    def _collect(
        self, wanted: re.Pattern[str], tail: int, keep: re.Pattern[str], zipped: bool
    ) -> list[dict[str, Any]]:
        answers = []
        for facts in self._engine.containers(self._place.labels):
            module = facts.labels.get(MODULE_LABEL, "")
            if not wanted.fullmatch(module):
                continue
            lines = self._engine.logs(facts.id, tail).splitlines(keepends=True)
            text = "".join(line for line in lines if keep.search(line))
            packed = base64.b64encode(gzip.compress(text.encode())).decode() if zipped else None
            answers.append({"id": module, "payload": None if zipped else text, "payloadBytes": packed})
        return answers


def _bad(message: str) -> Answer:
    return 400, {"message": message}
