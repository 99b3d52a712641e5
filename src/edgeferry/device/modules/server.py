"""The model server, the program inside every model image: `python3 -m edgeferry.device.modules.server`.

It serves one model, beside its card and its smoke cases, on port 8080. The card names the runtime that
answers: each is a module of its own, imported only when it is wanted, with what it needs. The server listens
only once the model is loaded. Bad input is always a 4xx that names row, column and fix; a model that fails
at it is a 500. Each scored request is captured before it is answered (`capture`), and what was captured is
handed out on a port of its own (`capture_pages`). Needs starlette, uvicorn, httptools and no more of
edgeferry than `wire.serving` and `wire.capture` do.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from edgeferry.device.modules.capture import Asked, Captures
from edgeferry.device.modules.capture_environment import place_of, policy_of
from edgeferry.device.modules.capture_pages import serve_pages
from edgeferry.domain.capture import USER
from edgeferry.errors import RefusedError, UsageError
from edgeferry.wire.capture import (
    CAPTURES_PORT,
    ID_HEADER,
    PURPOSE_HEADER,
    parse_purpose,
    parse_request_id,
)
from edgeferry.wire.serving import (
    BYTES_TYPES,
    PNG,
    Health,
    ModelCard,
    parse_bytes_request,
    parse_model_card,
    parse_score_request,
    render_health,
    render_refusal,
    render_score_response,
    takes_bytes,
)

MOST_BODY_BYTES = 16 * 1024 * 1024
LARGE_BODY_BYTES = 256 * 1024
"""Larger bodies, and all bodies of a model that is not quick, are scored one at a time and off the event
loop, so that others are not kept waiting and memory stays bounded."""

BODY_S = 30
"""How long a body may take to arrive."""

_ASKED = (ID_HEADER.lower().encode(), PURPOSE_HEADER.lower().encode())
_ANYBODY = Asked("", USER)

MODEL_FOLDER = "model"
"""Beside the card: the folder that the pipeline registered, for runtimes other than `onnx`."""

Read = Callable[[bytes], Any]
"""What the model is asked, from a request's body; UsageError for bad input."""
Score = Callable[[Any], bytes]


@dataclass(frozen=True)
class Served:
    """One loaded model."""

    card: ModelCard
    health: Health
    cases: bytes
    read: Read
    score: Score
    read_image: Read | None
    """For bodies that are images, or bytes; None when the model takes none."""
    quick: bool
    """Whether answers take less than handing the work to a thread; others are made one at a time."""


def load_model(folder: Path, digest: str) -> Served:
    """The model in `folder`, warmed up; UsageError when it does not load or files do not belong together."""
    card = parse_model_card(_read(folder / "model.json"))
    cases = _read(folder / "cases.json")
    sha256 = hashlib.sha256(_read(folder / card.artifact)).hexdigest()
    health = Health(ready=True, model=card.model, version=card.version, digest=digest, model_sha256=sha256)
    read, score = _load_runtime(card, folder)
    return Served(card, health, cases, read, score, _load_image_reader(card), quick=card.runtime == "onnx")


def _load_image_reader(card: ModelCard) -> Read | None:
    if takes_bytes(card):
        return parse_bytes_request
    if card.image is None:
        return None
    from edgeferry.device.modules.images import decode

    return partial(decode, wanted=card.image)


def _load_runtime(card: ModelCard, folder: Path) -> tuple[Read, Score]:
    columns = tuple(column.name for column in card.columns)
    artifact = folder / card.artifact
    match card.runtime:
        case "onnx":
            from edgeferry.device.modules.runtime_onnx import load_graph

            predict = load_graph(artifact, len(columns))
        case "library":
            from edgeferry.device.modules.runtime_library import load_library

            predict = load_library(artifact, columns, card.trusted_types)
        case "pyfunc":
            from edgeferry.device.modules.runtime_pyfunc import load_pyfunc

            predict = load_pyfunc(artifact.parent, card.columns)
        case "score":
            from edgeferry.device.modules.runtime_score import load_script

            return bytes, load_script(artifact, folder / MODEL_FOLDER, card.model, card.version)
        case _:
            raise UsageError(
                f"this server has no runtime {card.runtime!r}",
                fix="start the image's own program, or package the model with this version of edgeferry",
            )
    read = partial(parse_score_request, columns=card.columns)
    return read, lambda rows: render_score_response(predict(rows))


def create_app(served: Served, captures: Captures) -> Starlette:
    """The routes `POST /score`, `GET /health`, `GET /cases`."""
    one_aside = asyncio.Semaphore(1)

    async def score(request: Request) -> Response:
        read = _choose_reader(served, request)
        if read is None:
            captures.refuse()
            return _refuse_image(served)
        stated = _stated_length(request)
        if stated is not None and stated > MOST_BODY_BYTES:
            return _too_large()
        large = stated is None or stated > LARGE_BODY_BYTES
        aside = large or not served.quick
        async with one_aside if large else nullcontext():
            try:
                async with asyncio.timeout(BODY_S):
                    body = await _read_body(request)
                if body is None:
                    return _too_large()
                kept: list[tuple[Any, ...]] = []
                answering = partial(_answer, served, kept, read, body, _read_asked(request))
                async with one_aside if aside and not large else nullcontext():
                    try:
                        answer = await run_in_threadpool(answering) if aside else answering()
                    finally:
                        for each in kept:
                            captures.keep(*each)
                        written = asyncio.Event()
                        captures.write(written.set)
                        await written.wait()
            except UsageError as error:
                captures.refuse()
                return _json(render_refusal(error.problem, error.fix), 400)
            except RefusedError as error:
                return _json(render_refusal(error.problem, error.fix), 500)
            except (TimeoutError, ClientDisconnect):
                return _json(
                    render_refusal(f"the body did not arrive within {BODY_S} s", "send it faster"), 408
                )
        return _json(answer)

    async def health(request: Request) -> Response:
        return _json(render_health(replace(served.health, captures=captures.said())))

    async def cases(request: Request) -> Response:
        return _json(served.cases)

    async def refuse(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        if status == 405:
            fix = "use POST for /score, GET for /health and /cases"
            problem = f"{request.url.path} does not take {request.method}"
        else:
            fix = "ask /score, /health or /cases"
            problem = f"{request.url.path} cannot be answered ({status})"
        headers = error.headers if isinstance(error, HTTPException) else None
        return Response(render_refusal(problem, fix), status, headers, media_type="application/json")

    return Starlette(
        routes=[
            Route("/score", score, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
            Route("/cases", cases, methods=["GET"]),
        ],
        exception_handlers={HTTPException: refuse},
    )


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM or SIGINT, then finishes what is under way; 2 when the model does not load."""
    parser = argparse.ArgumentParser(prog="edgeferry.device.modules.server")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--captures-port", type=int, default=CAPTURES_PORT)
    chosen = parser.parse_args(arguments)
    folder = Path(os.environ.get("EDGEFERRY_MODEL_DIR", "/opt/edgeferry/model"))
    try:
        served = load_model(folder, os.environ.get("EDGEFERRY_DIGEST", ""))
    except UsageError as error:
        sys.stderr.write(f"{error.problem}\n{error.fix}\n")
        return error.exit_code
    captures = Captures(
        place_of(os.environ), served.card, served.health.digest, policy_of(served.card, os.environ)
    )
    try:
        serve_pages(captures, chosen.host, chosen.captures_port)
    except OSError as error:
        sys.stderr.write(f"captures cannot be read on port {chosen.captures_port}: {error}\n")
    uvicorn.run(
        create_app(served, captures),
        host=chosen.host,
        port=chosen.port,
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=8,
    )
    captures.close()
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            fix="set EDGEFERRY_MODEL_DIR to the folder with the model, model.json and cases.json",
        ) from error


def _read_asked(request: Request) -> Asked:
    said = {name: value for name, value in request.scope["headers"] if name in _ASKED}
    if not said:
        return _ANYBODY
    own, purpose = (said.get(name, b"").decode("latin-1") for name in _ASKED)
    return Asked(parse_request_id(own), parse_purpose(purpose))


def _choose_reader(served: Served, request: Request) -> Read | None:
    """What reads a body of the request's content type; None for an image that the model does not take."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if takes_bytes(served.card):
        return served.read_image if media_type.startswith(BYTES_TYPES) else served.read
    if media_type.startswith("image/"):
        return served.read_image if media_type == PNG else None
    return served.read


def _refuse_image(served: Served) -> Response:
    takes = served.card.image
    problem = "the model takes no images" if takes is None else f"images must be {PNG}"
    fix = 'send {"data": [[…]]} as application/json'
    if takes:
        fix = f"send an 8-bit grayscale PNG of {takes.width}×{takes.height} pixels as {PNG}"
    return _json(render_refusal(problem, fix), 415)


def _answer(served: Served, kept: list[tuple[Any, ...]], read: Read, body: bytes, asked: Asked) -> bytes:
    """The model's answer, captured; UsageError for bad input, RefusedError when the model failed at it."""
    began = time.perf_counter()
    question = read(body)
    try:
        answer = served.score(question)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        sys.stderr.write("".join(traceback.format_exception(error)))
        refusal = RefusedError(
            f"the model failed: {type(error).__name__}: {error}", fix="read the module's log"
        )
        said = render_refusal(refusal.problem, refusal.fix)
        kept.append((asked, body, question, said, 500, (time.perf_counter() - began) * 1000))
        raise refusal from error
    kept.append((asked, body, question, answer, 200, (time.perf_counter() - began) * 1000))
    return answer


def _stated_length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdigit() else None


async def _read_body(request: Request) -> bytes | None:
    """The whole body, or None when it is larger than allowed."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return None
    return bytes(body)


def _too_large() -> Response:
    return _json(
        render_refusal(
            f"the body is larger than {MOST_BODY_BYTES // 1024 // 1024} MiB", "send fewer rows at a time"
        ),
        413,
    )


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
