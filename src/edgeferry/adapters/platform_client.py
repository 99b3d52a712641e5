"""A CI platform's REST interface, asked with the token of the run that we are a step of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.retry_after import choose_wait

_TRIES = 4
_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class Patience:
    """How waiting is done."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


class PlatformClient:
    """A context: one connection to `address`. `rights` is what to do when the platform, called `platform`,
    refuses the token."""

    def __init__(
        self,
        platform: str,
        address: str,
        token: str,
        rights: str,
        patience: Patience,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not address.startswith("https://"):
            raise UsageError(
                f"{address} is no https address, so the run's token is not sent there",
                fix=f"serve {platform} over https",
            )
        self._platform = platform
        self._rights = rights
        self._patience = patience
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}", **(headers or {})}, timeout=30
        )

    def __enter__(self) -> PlatformClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, url: str) -> Any:
        """The JSON at the address; OutsideError when it is refused, or cannot be had after some tries."""
        answer = self._ask(url)
        if answer.status_code != 200:  # 203 and 302 lead to a sign-in page
            raise OutsideError(
                f"{self._platform} refused the run's token at {answer.url.path}: {answer.status_code}",
                fix=self._rights,
            )
        try:
            return answer.json()
        except ValueError as error:
            raise OutsideError(
                f"{self._platform} answered {answer.url.path} with no JSON", fix="is a proxy in between?"
            ) from error

    def _ask(self, url: str) -> httpx.Response:
        for number in range(_TRIES):
            last = number == _TRIES - 1
            try:
                answer = self._client.get(url)
            except httpx.HTTPError as error:
                if not last:
                    self._patience.sleep(2**number)
                    continue
                raise OutsideError(
                    f"{self._platform} did not answer: {error}", fix="try again", retryable=True
                ) from error
            if not _is_busy(answer):
                return answer
            if not last:
                asked_s = choose_wait(answer.headers.get("retry-after", ""), number, self._patience.now())
                self._patience.sleep(min(asked_s, _LONGEST_WAIT_S))
        raise OutsideError(
            f"{self._platform} answered {answer.status_code} at {answer.url.path}",
            fix="try again later",
            retryable=True,
        )


def _is_busy(answer: httpx.Response) -> bool:
    """Whether to ask later; GitHub says 403 to who asked too often, with the time to wait."""
    too_often = answer.status_code == 403 and "retry-after" in answer.headers
    return too_often or answer.status_code == 429 or answer.status_code >= 500
