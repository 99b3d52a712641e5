"""The model server, the program inside every model image: `python3 -m edgeferry.device.modules.server`.

It serves one model, beside its card and its smoke cases, on port 8080. It listens at once and is ready when
the model is loaded and warm; the card names the runtime that answers (`loading`). Bad input is always a 4xx
that names row, column and fix; a model that fails at it is a 500. Each scored request is captured before it
is answered (`scoring`, `capture`), and what was captured is handed out on a port of its own
(`capture_pages`). Needs httptools, msgspec and, when it is there, uvloop; no more of edgeferry than
`wire.serving`, `wire.capture` and `wire.model_openapi` do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from edgeferry.device.modules.capture import Captures
from edgeferry.device.modules.capture_environment import place_of, policy_of
from edgeferry.device.modules.capture_pages import serve_pages
from edgeferry.device.modules.http import HttpServer
from edgeferry.device.modules.http_request import Limits, Request
from edgeferry.device.modules.loading import Files, Served, load_model, read_files
from edgeferry.device.modules.metrics import CONTENT_TYPE, render_metric, render_process
from edgeferry.device.modules.scoring import DEADLINE_S, Scoring
from edgeferry.device.modules.worker import Worker
from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.capture_page import CAPTURES_PORT
from edgeferry.wire.evidence_report import INFO
from edgeferry.wire.serving import Health

QUEUE_LENGTH = 64
"""Requests that may wait for a model that is not quick."""

Handle = Callable[[Request], None]


class ModelServer:
    """The routes, and what they know."""

    def __init__(
        self, files: Files, digest: str, *, limits: Limits = Limits(), deadline_s: float = DEADLINE_S
    ):
        self.http = HttpServer(self.handle, limits)
        self._files = files
        self._digest = digest
        self._started_at = time.time()
        self._openapi = b""
        """Made when it is asked for."""
        self.worker = Worker(asyncio.get_running_loop(), QUEUE_LENGTH)
        self.scoring = Scoring(self.worker, deadline_s)
        self._routes: dict[bytes, tuple[bytes, Handle]] = {
            b"/score": (b"POST", self.scoring.take),
            b"/health": (b"GET", self._health),
            b"/cases": (b"GET", lambda request: request.answer(200, files.cases)),
            b"/metrics": (b"GET", self._metrics),
            b"/openapi.json": (b"GET", self._describe),
        }

    def load(self, done: Callable[[Served | BaseException], None]) -> None:
        """The model is loaded in the worker's thread; `done` gets it, or why not."""

        self.worker.submit(partial(load_model, self._files), done)

    def fail(self, why: BaseException) -> None:
        """It will never be ready, and says so until it has ended."""
        self.scoring.problem = f"the model did not load: {type(why).__name__}: {why}"

    def serve(self, served: Served, captures: Captures) -> None:
        """It is ready from now on."""
        self.scoring.captures = captures
        self.scoring.served = served
        gc.collect()
        gc.freeze()  # what is there now stays: it need not be looked at again
        gc.enable()

    def handle(self, request: Request) -> None:
        """The request is answered by its route, or refused."""
        route = self._routes.get(request.url) or self._routes.get(request.path)
        if route is None:
            path = request.path.decode("utf-8", "replace")
            request.refuse(404, f"{path} cannot be answered (404)", f"ask {self._names()}")
            return
        method, handle = route
        if request.method == method or (request.method == b"HEAD" and method == b"GET"):
            handle(request)
            return
        path, tried = (text.decode("utf-8", "replace") for text in (request.path, request.method))
        allow = b"Allow: %b\r\n" % (b"GET, HEAD" if method == b"GET" else method)
        request.refuse(405, f"{path} does not take {tried}", f"use {method.decode()}", allow)

    def _names(self) -> str:
        return ", ".join(path.decode() for path in self._routes)

    def _health(self, request: Request) -> None:
        scoring, card = self.scoring, self._files.card
        live = not scoring.is_stuck() and not scoring.problem
        ready = live and scoring.served is not None and not self.http.is_draining
        health = Health(
            ready=ready,
            model=card.model,
            version=card.version,
            digest=self._digest,
            model_sha256=scoring.served.model_sha256 if scoring.served else "",
            captures=scoring.captures.said() if scoring.captures else {},
            started_at=self._started_at,
        )
        said = {"live": live, **asdict(health)}
        if scoring.problem:
            said["problem"] = scoring.problem
        request.answer(200 if ready else 503, json.dumps(said).encode())

    def _describe(self, request: Request) -> None:
        if not self._openapi:
            from edgeferry.wire.model_openapi import render_openapi

            self._openapi = render_openapi(self._files.card)
        request.answer(200, self._openapi)

    def _metrics(self, request: Request) -> None:
        http, scoring, card = self.http, self.scoring, self._files.card
        model = {
            "model": card.model,
            "version": card.version,
            "digest": self._digest,
            "runtime": card.runtime,
        }
        statuses = [({"status": str(status)}, count) for status, count in sorted(http.statuses.items())]
        captures = scoring.captures.metrics() if scoring.captures else {}
        parts = [
            render_metric(INFO, "The model that answers.", [(model, 1)]),
            render_metric("edgeferry_ready", "Whether the model is loaded.", int(scoring.served is not None)),
            render_metric("edgeferry_requests_total", "Answers sent, by status.", statuses),
            scoring.latencies.render(
                "edgeferry_score_seconds", "From a whole request to the model's answer."
            ),
            scoring.tally.render(),
            render_metric("edgeferry_queue_depth", "Requests that wait for the model.", self.worker.waiting),
            render_metric("edgeferry_in_flight", "Requests not yet answered.", http.count_in_flight()),
            render_metric("edgeferry_connections", "Open connections.", len(http.connections)),
            *(render_metric(name, "Of captures.", value) for name, value in captures.items()),
            render_process(self._started_at),
        ]
        request.answer(200, "".join(parts).encode(), kind=CONTENT_TYPE)


async def serve_until_told(files: Files, digest: str, host: str, port: int, captures_port: int) -> int:
    """Serves until SIGTERM or SIGINT, then finishes what is under way; the exit code."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()

    def end(why: BaseException | None = None) -> None:
        if not ended.done():
            ended.set_result(why)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end)
    server = ModelServer(files, digest)
    try:
        await server.http.listen(host, port)
    except OSError as error:
        raise OutsideError(f"port {port} is not to be had: {error.strerror}", fix="free it") from error

    def loaded(result: Served | BaseException) -> None:
        try:
            if isinstance(result, BaseException):
                raise result
            captures = Captures(place_of(os.environ), files.card, digest, policy_of(files.card, os.environ))
            try:
                serve_pages(captures, host, captures_port)
            except OSError as error:
                sys.stderr.write(f"captures cannot be read on port {captures_port}: {error}\n")
            server.serve(result, captures)
        except BaseException as error:  # noqa: BLE001 - whoever started it sees it end, rather than wait for ever
            server.fail(error)
            end(error)
        else:
            sys.stderr.write(f"serving model={files.card.model} version={files.card.version} port={port}\n")

    gc.disable()  # of what importing makes nearly all stays: looking for the rest takes a quarter of a start
    server.load(loaded)
    why = await ended
    sys.stderr.write("ending: requests under way are answered first\n")
    await server.http.drain()
    if why is not None:
        raise why
    if server.scoring.captures is not None:
        server.scoring.captures.close()
    return 0


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM or SIGINT, then finishes what is under way; 2 when the model does not load."""
    parser = argparse.ArgumentParser(prog="edgeferry.device.modules.server")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--captures-port", type=int, default=CAPTURES_PORT)
    chosen = parser.parse_args(arguments)
    folder = Path(os.environ.get("EDGEFERRY_MODEL_DIR", "/opt/edgeferry/model"))
    digest = os.environ.get("EDGEFERRY_DIGEST", "")
    _allow_many_files()
    try:
        files = read_files(folder)
        with asyncio.Runner(loop_factory=_find_loop()) as runner:
            return runner.run(serve_until_told(files, digest, chosen.host, chosen.port, chosen.captures_port))
    except (UsageError, OutsideError) as error:
        sys.stderr.write(f"{error.problem}\n{error.fix}\n")
        return error.exit_code


def _find_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _allow_many_files() -> None:
    """Every connection is an open file, and many systems allow fewer than we do unless asked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
