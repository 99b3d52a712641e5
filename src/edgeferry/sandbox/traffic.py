"""Requests to a model on a device of this machine, as its neighbours would send them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from edgeferry.errors import OutsideError
from edgeferry.wire.serving import render_score_request


def send_rows(url: str, rows: Sequence[Sequence[Any]], clients: int) -> list[Any]:
    """The model's answer to each row, one request a row, from `clients` at a time; OutsideError when one
    is not answered with 200."""

    def send(share: Sequence[tuple[int, Sequence[Any]]]) -> list[tuple[int, Any]]:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            return [(number, _ask(client, row)) for number, row in share]

    numbered = list(enumerate(rows))
    with ThreadPoolExecutor(clients) as pool:
        shares = pool.map(send, [numbered[start::clients] for start in range(clients)])
        answers = dict(pair for share in shares for pair in share)
    return [answers[number] for number in range(len(rows))]


def _ask(client: httpx.Client, row: Sequence[Any]) -> Any:
    try:
        answer = client.post("/score", content=render_score_request([row]))
    except httpx.HTTPError as error:
        raise OutsideError(
            f"{client.base_url} did not answer: {error or type(error).__name__}",
            fix="edgeferry status; edgeferry logs MODEL --device DEVICE",
            retryable=True,
        ) from error
    if answer.status_code != 200:
        raise OutsideError(
            f"{client.base_url} answered {answer.status_code}: {answer.text[:200]}",
            fix="edgeferry logs MODEL --device DEVICE",
        )
    return answer.json()[0]
