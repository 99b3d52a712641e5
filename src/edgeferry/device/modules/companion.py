"""The companion, one module per device: it smoke-tests the models beside it, and is their captures' way home.

`python3 -m edgeferry.device.modules.companion`, with the environment that IoT Edge gives a module (IOTEDGE_*;
its key stays with IoT Edge, which signs) or its simulator and our agent (EdgeHubConnectionString,
EdgeModuleCACertificateFile). What to test stands in its desired properties;
verdicts go to its reported properties, to the answer of method `smokeTest`, and to `GET /verdict`. A model is
asked when the request changes, when its server was started anew, and on a schedule; and all are by a
companion that another rollout brought, of which EDGEFERRY_NONCE tells (`wire.verdict`). Methods
`captures` and `countCaptures` pass on what model servers answer (`wire.capture_page`). What servers counted
goes to the reported properties as well, and to the answer of method `evidence` (`wire.evidence_report`).
Needs paho-mqtt and no more of edgeferry than the link and the smoke cases do.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from edgeferry.device.link import Handlers, Link, sign_with_key
from edgeferry.device.modules.asking import ask, now
from edgeferry.device.modules.captured import METHODS, answer_captures
from edgeferry.device.modules.evidence import Evidence
from edgeferry.device.modules.hub_login import read_login
from edgeferry.device.modules.small_server import serve_small
from edgeferry.device.modules.watching import Pace, watch
from edgeferry.domain.model import COMPANION
from edgeferry.domain.smoke import NONCE_VARIABLE, SmokeRequest, Verdict, unjudged
from edgeferry.domain.twin import merge
from edgeferry.errors import EdgeferryError, UsageError
from edgeferry.wire.evidence_report import METHOD as EVIDENCE
from edgeferry.wire.serving import render_refusal
from edgeferry.wire.verdict import (
    METHOD_EVIDENCE_BYTES,
    SCHEDULE_S,
    parse_schedule,
    parse_smoke_request,
    parse_verdict,
    render_verdict,
    render_verdicts,
    share_room,
)

METHOD_PATIENCE_S = 10.0
REPORT_S = 5.0

_log = logging.getLogger(__name__)


class Companion:
    """What is asked for, and the verdicts so far. Each model is watched by a thread of its own, until
    something else is asked for."""

    def __init__(self, pace: Pace = Pace(), nonce: str = "") -> None:
        self._pace = pace
        self._nonce = nonce
        self.schedule_s = SCHEDULE_S
        self._lock = threading.Lock()
        self._requests: dict[str, SmokeRequest] = {}
        self._sources: Mapping[str, Any] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._reported: dict[str, Any] = {}
        self._told_nonce = ""
        self._changed = threading.Event()
        self.stopping = threading.Event()
        self.evidence = Evidence(self.requests, self.stopping)

    def take_desired(self, desired: Mapping[str, Any], version: int) -> None:
        """New desired properties: asks what is new or changed, forgets what is gone."""
        models = desired.get("models")
        wanted = models if isinstance(models, Mapping) else {}
        sources = desired.get("captures")
        with self._lock:
            self.schedule_s = parse_schedule(desired)
            self._sources = sources if isinstance(sources, Mapping) else {}
            for model in [model for model in self._requests | self._verdicts if model not in wanted]:
                self._requests.pop(model, None)
                self._verdicts.pop(model, None)
            for model, said in wanted.items():
                self._take_request(model, said)
        self._changed.set()

    def take_reported(self, reported: Mapping[str, Any]) -> None:
        """What the hub holds as reported; conclusive verdicts in it need not be asked for again."""
        self.evidence.take_reported(reported)
        verdicts = reported.get("verdicts")
        with self._lock:
            self._reported = dict(verdicts) if isinstance(verdicts, Mapping) else {}
            self._told_nonce = str(reported.get(COMPANION, ""))

    def take_connected(self) -> None:
        """Reports can be sent."""
        self._changed.set()

    def answer_method(self, name: str, payload: Any) -> tuple[int, Any]:
        """(status, answer) of a direct method."""
        said = payload if isinstance(payload, Mapping) else {}
        if name in METHODS:
            return answer_captures(name, said, self._sources)
        if name == EVIDENCE:
            return self.evidence.answer(said)
        if name != "smokeTest":
            known = ", ".join(("smokeTest", EVIDENCE, *METHODS))
            return 404, {"message": f"there is no method {name!r}; there are {known}"}
        if "model_type" in said or ("port" in said and "nonce" not in said):
            return self._answer_port(said)
        nonce, model = said.get("nonce"), said.get("model")
        if not isinstance(nonce, str) or not nonce:
            return 400, {"message": 'give {"nonce": text, "model": name of one model (optional)}'}
        with self._lock:
            requests = [request for name, request in self._requests.items() if model in (None, name)]
        if model is not None and not requests:
            return 404, {"message": f"no model {model!r} is asked for on this device"}
        verdicts = self._ask_afresh([replace(request, nonce=nonce) for request in requests])
        return 200, render_verdicts(verdicts, METHOD_EVIDENCE_BYTES)

    def _answer_port(self, said: Mapping[str, Any]) -> tuple[int, Any]:
        """The answer to the question of the accelerator's pipelines: status 200 only when the model
        passed."""
        model, port = said.get("model_type"), said.get("port")
        with self._lock:
            known = dict(self._requests)
        if model is not None:
            requests = [request for name, request in known.items() if name == model]
        else:
            requests = [one for one in known.values() if one.url.endswith(f":{port}")]
        if len(requests) != 1:
            there = ", ".join(sorted(known)) or "none"
            why = f"{len(requests)} models are model_type {model!r}, port {port!r}; on this device: {there}"
            return 400, {"results": "fail", "reason": why}
        (verdict,) = self._ask_afresh(requests)
        said_all = render_verdicts([verdict], METHOD_EVIDENCE_BYTES)
        if verdict.state != "Passed":
            why = f"{verdict.state}: {verdict.reason}"
            return 400, {"results": "fail", "reason": why, **said_all}
        first = verdict.evidence[0].answers[0]
        return 200, {"infer_result": json.dumps(first.values), **said_all}

    def _ask_afresh(self, requests: list[SmokeRequest]) -> list[Verdict]:
        with ThreadPoolExecutor(max_workers=4) as pool:
            asking = partial(ask, patience_s=METHOD_PATIENCE_S, stopping=self.stopping)
            return [replace(verdict, companion=self._nonce) for verdict in pool.map(asking, requests)]

    def requests(self) -> list[SmokeRequest]:
        """What is asked for, by model."""
        with self._lock:
            return [self._requests[model] for model in sorted(self._requests)]

    def verdicts(self) -> list[Verdict]:
        """The verdicts so far, by model."""
        with self._lock:
            return [self._verdicts[model] for model in sorted(self._verdicts)]

    def is_current(self, request: SmokeRequest) -> bool:
        """Whether this is what is asked for now."""
        with self._lock:
            return self._requests.get(request.model) == request and not self.stopping.is_set()

    def put_up(self, request: SmokeRequest, verdict: Verdict) -> bool:
        """The verdict is the model's, if it is conclusive or another than before; False when something else
        is asked for."""
        with self._lock:
            if self._requests.get(request.model) != request or self.stopping.is_set():
                return False
            before = self._verdicts.get(request.model)
            said = (verdict.state, verdict.reason)
            is_same = before is not None and (before.state, before.reason) == said
            if verdict.state != "Inconclusive" or not is_same:
                self._verdicts[request.model] = replace(verdict, companion=self._nonce)
        self._changed.set()
        was = before.state if before else "none"
        level = logging.WARNING if was == "Passed" != verdict.state else logging.INFO
        _log.log(level, "asked model=%s %s -> %s: %s", request.model, was, verdict.state, verdict.reason)
        return True

    def stop(self) -> None:
        """Ends waiting and asking."""
        self.stopping.set()
        self._changed.set()

    def report_until_stopped(self, link: Link) -> None:
        """Sends verdicts to the hub whenever they differ from what it holds."""
        while not self.stopping.is_set():
            self._changed.wait(REPORT_S)
            self._changed.clear()
            if link.connected and not self.stopping.is_set():
                try:
                    self._report(link)
                except EdgeferryError as error:
                    _log.warning("verdicts not reported: %s", error)

    def _report(self, link: Link) -> None:
        with self._lock:
            known = self._reported
            room = share_room(len(self._verdicts))
            current = {model: render_verdict(verdict, room) for model, verdict in self._verdicts.items()}
            gone = [model for model in known if model not in current and model not in self._requests]
        patch: dict[str, Any] = {model: said for model, said in current.items() if known.get(model) != said}
        patch |= dict.fromkeys(gone)
        said: dict[str, Any] = {"verdicts": patch} if patch else {}
        if self._told_nonce != self._nonce:
            said[COMPANION] = self._nonce or None
        if not said:
            return
        link.report(said)
        with self._lock:
            self._told_nonce = self._nonce
            if self._reported is known:
                self._reported = merge(known, patch)

    def _take_request(self, model: str, said: object) -> None:
        try:
            request = parse_smoke_request(model, said)
        except UsageError as error:
            nothing = SmokeRequest(model, "", "", "", "", "")
            self._requests.pop(model, None)
            said_so = unjudged(nothing, "Inconclusive", error.problem, now())
            self._verdicts[model] = replace(said_so, companion=self._nonce)
            return
        if self._requests.get(model) == request:
            return
        self._requests[model] = request
        self._verdicts.pop(model, None)
        settled = _settled(request, self._reported.get(model), self._nonce)
        if settled is not None:
            self._verdicts[model] = settled
        threading.Thread(target=watch, args=(request, settled, self, self._pace), daemon=True).start()


def _settled(request: SmokeRequest, reported: object, nonce: str) -> Verdict | None:
    """A conclusive verdict on this very request that this companion reported earlier, before a restart."""
    try:
        verdict = parse_verdict(request.model, reported)
    except UsageError:
        return None
    same = (verdict.companion, verdict.digest, verdict.version, verdict.cases_sha256, verdict.nonce) == (
        nonce,
        request.digest,
        request.version,
        request.cases_sha256,
        request.nonce,
    )
    return verdict if same and verdict.state != "Inconclusive" else None


def _answer_verdicts(companion: Companion, path: str) -> tuple[int, bytes]:
    if path != "/verdict":
        return 404, render_refusal(f"{path} cannot be answered", "ask /verdict")
    return 200, json.dumps(render_verdicts(companion.verdicts())).encode()


def main(arguments: list[str]) -> int:
    """Tests and reports until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="edgeferry.device.modules.companion")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8081)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        login = read_login()
    except EdgeferryError as error:
        sys.stderr.write(f"{error.problem}\n{error.fix}\n")
        return error.exit_code
    companion = Companion(nonce=os.environ.get(NONCE_VARIABLE, ""))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: companion.stop())
    handlers = Handlers(
        companion.take_desired, companion.take_reported, companion.take_connected, companion.answer_method
    )
    link = Link(lambda refused: login.connection, login.ca_file, handlers, sign=login.sign or sign_with_key)
    server = serve_small(partial(_answer_verdicts, companion), chosen.host, chosen.port, "verdicts")
    link.start()
    threading.Thread(target=companion.evidence.tell_until_stopped, args=(link,), daemon=True).start()
    companion.report_until_stopped(link)
    server.shutdown()
    server.server_close()
    link.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
