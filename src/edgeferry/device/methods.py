"""The agent's direct methods: ping, GetModuleLogs and RestartModule as IoT Edge's edgeAgent has them;
GetApplyHistory, RetryLayer and Decommission, which are ours. UploadModuleLogs, UploadSupportBundle and
GetTaskStatus are unknown here."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from edgeferry.device.containers import Place
from edgeferry.device.handover import pick_serving
from edgeferry.engine import Engine
from edgeferry.errors import UsageError
from edgeferry.wire.module_logs import (
    LogFilter,
    LogLine,
    LogRequest,
    parse_log_request,
    render_json,
    render_text,
    select_lines,
)

MOST_BYTES = 127_000
"""A method's answer has at most 128 KiB."""
MOST_READ_BYTES = 4_000_000
MOST_READ_LINES = 100_000
"""So much of a log is looked at, from its end."""
_STREAMS = ("stdout", "stderr")

Answer = tuple[int, Any]


class Methods:
    """Answers methods with an engine connection of its own, since they come in a thread of their own.

    `history` gives the applies as they happened, the oldest first; `retry` lifts a layer's quarantine, and
    says whether there is such a layer; `decommission` answers the request to leave;
    `restarting` excuses a module's end.
    """

    def __init__(
        self,
        engine_url: str,
        place: Place,
        wake: Callable[[], None],
        *,
        hub: str = "",
        history: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
        retry: Callable[[str], bool] = lambda _: False,
        decommission: Callable[[Mapping[str, Any]], Answer],
        restarting: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._engine = Engine(engine_url)
        self._place = place
        self._wake = wake
        self._hub = hub
        self._history = history
        self._retry = retry
        self._restarting = restarting
        self._known: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "ping": lambda _: (200, None),
            "getmodulelogs": self._logs,
            "restartmodule": self._restart,
            "getapplyhistory": self._applies,
            "retrylayer": self._retry_layer,
            "decommission": decommission,
        }

    def close(self) -> None:
        """The engine connection is closed."""
        self._engine.close()

    def answer(self, name: str, payload: Any) -> Answer:
        """(status, answer) of the method; names in any case. EngineError when the engine does not answer."""
        method = self._known.get(name.lower())
        if method is None:
            return _bad(f"Command '{name}' not found. The supported commands are - {', '.join(self._known)}")
        said = payload if isinstance(payload, Mapping) else {}
        version = str(said.get("schemaVersion", "1.0"))
        if name.lower() != "ping" and version.partition(".")[0] != "1":
            return _bad(f"schemaVersion {version!r} is not understood; use 1.0")
        try:
            return method(said)
        except UsageError as error:
            return _bad(f"{error.problem}; {error.fix}")

    def _restart(self, said: Mapping[str, Any]) -> Answer:
        module = said.get("id")
        known = isinstance(module, str) and module != ""
        facts = self._engine.inspect(self._place.container(str(module))) if known else None
        if facts is None:
            return 500, {"message": f"module {module!r} is not on this device"}
        with self._restarting(str(module)):
            self._engine.stop(facts.id)
            self._engine.start(facts.id)
        self._wake()
        return 200, None

    def _applies(self, said: Mapping[str, Any]) -> Answer:
        applies = [dict(each) for each in self._history()][::-1]
        limit = said.get("limit", len(applies))
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            return _bad(f"limit {limit!r} is not a whole number, 0 or more")
        room = MOST_BYTES
        for count, each in enumerate(applies[:limit]):
            room -= len(json.dumps(each)) + 2
            if room < 0:
                return 200, {"applies": applies[:count]}
        return 200, {"applies": applies[:limit]}

    def _retry_layer(self, said: Mapping[str, Any]) -> Answer:
        layer = said.get("id")
        if not isinstance(layer, str) or not self._retry(layer):
            return 500, {"message": f"layer {layer!r} is not in quarantine on this device"}
        self._wake()
        return 200, None

    def _logs(self, said: Mapping[str, Any]) -> Answer:
        request = parse_log_request(said, datetime.now(UTC))
        answers = []
        serving = pick_serving(self._place, self._engine.containers(self._place.labels))
        for module, facts in serving.items():
            item = next((item for item in request.items if item.is_for(module)), None)
            if item is None:
                continue
            lines = self._lines(facts.id, item.filter, request)
            if lines is None:
                return _bad(f"the log of {module} is longer than {MOST_READ_BYTES} bytes; ask since when")
            answers.append(self._render(module, select_lines(lines, item.filter), request))
            size = len(json.dumps(answers))
            if size > MOST_BYTES:
                return _bad(f"{size} bytes of logs; at most {MOST_BYTES} fit, ask for a smaller tail")
        return 200, answers

    def _lines(self, container: str, wanted: LogFilter, request: LogRequest) -> list[LogLine] | None:
        """The container's lines of that time; None when they are too many to be looked at."""
        found: list[LogLine] = []
        for streams in ((stream,) for stream in _STREAMS) if request.as_json else (_STREAMS,):
            body = self._engine.read_log(
                container,
                tail=MOST_READ_LINES if wanted.looks_at_text or wanted.tail is None else wanted.tail,
                since_s=wanted.since_s,
                until_s=wanted.until_s,
                streams=streams,
                with_times=request.as_json,
                most_bytes=MOST_READ_BYTES,
            )
            if body is None:
                return None
            written = body.decode("utf-8", "replace").removesuffix("\n")
            found += [_line(text, streams, request.as_json) for text in written.split("\n") if body]
        return sorted(found, key=lambda line: line.logged_at) if request.as_json else found

    def _render(self, module: str, lines: list[LogLine], request: LogRequest) -> dict[str, Any]:
        if request.as_json:
            text = render_json(lines, self._hub, self._place.device, module)
        else:
            text = render_text(lines)
        packed = base64.b64encode(gzip.compress(text.encode())).decode() if request.zipped else None
        return {"id": module, "payload": None if request.zipped else text, "payloadBytes": packed}


def _line(text: str, streams: Sequence[str], with_times: bool) -> LogLine:
    if not with_times:
        return LogLine(text)
    time, _, written = text.partition(" ")
    return LogLine(written, streams[0], time)


def _bad(message: str) -> Answer:
    return 400, {"message": message}
