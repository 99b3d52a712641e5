"""Methods `captures` and `countCaptures`: the companion passes on what a model's server answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeferry.device.modules.caller import Caller
from edgeferry.errors import EdgeferryError, UsageError
from edgeferry.wire.capture import (
    CAPTURES_PATH,
    COUNT_PATH,
    parse_page_request,
    parse_source,
    render_page_query,
)

METHODS = ("captures", "countCaptures")
_NONE = "images of an older edgeferry, or with a server of their own, have no captures"
MOST_ANSWER_BYTES = 127_000
"""A method's answer has at most 128 KiB."""


def answer_captures(
    name: str, said: Mapping[str, Any], sources: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
    """(status, answer) of the method, asked of the model's server at its place in `sources`."""
    model = said.get("model")
    url = parse_source(sources.get(model)) if isinstance(model, str) else ""
    if not url:
        return 404, {"message": f"no model {model!r} that keeps captures is deployed to this device"}
    try:
        path = COUNT_PATH if name == "countCaptures" else f"{CAPTURES_PATH}?{_query(said)}"
        return _fetch(url, path)
    except UsageError as error:
        return 400, {"message": str(error)}
    except EdgeferryError as error:
        return 504, {"message": f"{error.problem}; {_NONE}"}


def _query(said: Mapping[str, Any]) -> str:
    return render_page_query(parse_page_request(said))


def _fetch(url: str, path: str) -> tuple[int, dict[str, Any]]:
    caller = Caller(url)
    try:
        reply = caller.call("GET", path)
    finally:
        caller.close()
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or len(reply.body) > MOST_ANSWER_BYTES:
        return 502, {"message": f"{url} does not answer with captures"}
    if reply.status != 200:
        return reply.status, {"message": _read_refusal(answer) or f"{url} answers {reply.status}"}
    return 200, answer


def _read_refusal(answer: Mapping[str, Any]) -> str:
    """Why a server says no, which one of another make may say in its own way; "" when it does not say."""
    error = answer.get("error")
    said = error.get("message") if isinstance(error, Mapping) else error
    return said if isinstance(said, str) else ""
