"""The model server, the program inside every model image: `python3 -m edgeferry.device.modules.server`.

It serves one ONNX graph in doubles, beside its card and its smoke cases, on port 8080. It listens only once
the graph is loaded and has answered a first row. Bad input is always a 4xx that names row, column and fix.
Needs onnxruntime, numpy, starlette, uvicorn, httptools and no more of edgeferry than `wire.serving` does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from edgeferry.errors import UsageError
from edgeferry.wire.serving import (
    Health,
    ModelCard,
    parse_model_card,
    parse_score_request,
    render_health,
    render_refusal,
    render_score_response,
)

MOST_BODY_BYTES = 16 * 1024 * 1024
LARGE_BODY_BYTES = 256 * 1024
"""Larger bodies are scored one at a time and off the event loop, so that small ones are not kept waiting
and memory stays bounded."""

BODY_S = 30
"""How long a body may take to arrive."""

Score = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Served:
    """One loaded model."""

    card: ModelCard
    health: Health
    cases: bytes
    score: Score


def load_model(folder: Path, digest: str) -> Served:
    """The model in `folder`, warmed up; UsageError when files and graph do not belong together."""
    graph = _read(folder / "model.onnx")
    card = parse_model_card(_read(folder / "model.json"))
    if card.runtime != "onnx":
        raise UsageError(
            f"the model's runtime is {card.runtime!r}", fix="package it as ONNX, or with a newer edgeferry"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    graph_input = session.get_inputs()[0]
    width = graph_input.shape[-1]
    if graph_input.type != "tensor(double)" or (isinstance(width, int) and width != len(card.columns)):
        raise UsageError(
            f"the graph takes {graph_input.type} {graph_input.shape}, "
            f"the card has {len(card.columns)} columns",
            fix="package the model again",
        )
    columns = tuple(column.name for column in card.columns)
    outputs = [session.get_outputs()[0].name]

    def score(body: bytes) -> bytes:
        rows = parse_score_request(body, columns)
        table = numpy.array(rows, dtype=numpy.float64)
        answers = session.run(outputs, {graph_input.name: table})[0]
        return render_score_response(answers.reshape(len(rows)).tolist())

    session.run(outputs, {graph_input.name: numpy.zeros((1, len(columns)), dtype=numpy.float64)})
    sha256 = hashlib.sha256(graph).hexdigest()
    health = Health(ready=True, model=card.model, version=card.version, digest=digest, model_sha256=sha256)
    return Served(card, health, _read(folder / "cases.json"), score)


def create_app(served: Served) -> Starlette:
    """The routes `POST /score`, `GET /health`, `GET /cases`."""
    one_large_body = asyncio.Semaphore(1)

    async def score(request: Request) -> Response:
        stated = _stated_length(request)
        if stated is not None and stated > MOST_BODY_BYTES:
            return _too_large()
        large = stated is None or stated > LARGE_BODY_BYTES
        async with one_large_body if large else nullcontext():
            try:
                async with asyncio.timeout(BODY_S):
                    body = await _read_body(request)
                if body is None:
                    return _too_large()
                answer = await run_in_threadpool(served.score, body) if large else served.score(body)
            except UsageError as error:
                return _json(render_refusal(error.problem, error.fix), 400)
            except (TimeoutError, ClientDisconnect):
                return _json(
                    render_refusal(f"the body did not arrive within {BODY_S} s", "send it faster"), 408
                )
        return _json(answer)

    async def health(request: Request) -> Response:
        return _json(render_health(served.health))

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
    chosen = parser.parse_args(arguments)
    folder = Path(os.environ.get("EDGEFERRY_MODEL_DIR", "/opt/edgeferry/model"))
    try:
        served = load_model(folder, os.environ.get("EDGEFERRY_DIGEST", ""))
    except UsageError as error:
        sys.stderr.write(f"{error.problem}\n{error.fix}\n")
        return error.exit_code
    uvicorn.run(
        create_app(served),
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
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            fix="set EDGEFERRY_MODEL_DIR to the folder with model.onnx, model.json and cases.json",
        ) from error


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
