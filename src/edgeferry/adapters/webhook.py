"""The webhook: one JSON document by POST to an address of a person's choice (a chat, a pager)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from edgeferry.errors import UsageError

_TIMEOUT_S = 10.0


class Webhook:
    """Sends and forgets: what it could not send is said, and stops nothing."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        if not url.startswith(("https://", "http://")):
            raise UsageError(
                "rollout.webhook is no address", fix="give one that begins with https://, or unset it"
            )
        self._url = url
        self._say = say

    def send(self, body: dict[str, Any]) -> None:
        """The document was sent, or it was said why not; the address is a secret and is not."""
        try:
            answer = httpx.post(self._url, json=body, timeout=_TIMEOUT_S)
            problem = f"it answered {answer.status_code}" if answer.status_code >= 300 else ""
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            problem = type(error).__name__
        if problem:
            self._say(
                f"the webhook was not told that {body.get('rollout')} is {body.get('event')}: {problem}"
            )
