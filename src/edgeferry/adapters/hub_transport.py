"""Requests to IoT Hub's service REST: signed, tried again where that may help, and explained when refused."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from edgeferry.adapters.hub_login import HubLogin
from edgeferry.errors import HubError, UsageError
from edgeferry.wire.retry_after import choose_wait

Json = dict[str, Any]

API = "2021-04-12"
PAGE_ROWS = 1000
_ATTEMPTS = 5
_LONGEST_PAUSE_S = 60.0


class HubTransport:
    """One hub and one login at it; `host` has a port where it is not 443."""

    def __init__(
        self,
        login: HubLogin,
        ca_file: str = "",
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._login = login
        self._sleep = sleep
        self._now = now
        self._skew_s: float | None = None
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:
            raise UsageError(
                f"hub.ca_file {ca_file} cannot be used: {error}", fix="name the authority's PEM file"
            ) from error
        self._http = httpx.Client(
            base_url=f"https://{login.host}",
            verify=context,
            trust_env=False,
            timeout=httpx.Timeout(30, connect=5),
        )

    @property
    def host(self) -> str:
        """The hub's host name, with a port where it is not 443."""
        return self._login.host

    @property
    def skew_s(self) -> float | None:
        """How far this machine's clock was ahead of the hub's at the last answer, seconds; None where the hub
        has not told the time."""
        return self._skew_s

    def close(self) -> None:
        """Connections are closed; the client is of no more use."""
        self._http.close()

    def query(self, text: str, rows: int = PAGE_ROWS) -> Iterator[Sequence[Json]]:
        """The query's rows, page by page; `rows` at most on one."""
        continuation = ""
        while True:
            headers = {"x-ms-max-item-count": str(min(rows, PAGE_ROWS))}
            if continuation:
                headers["x-ms-continuation"] = continuation
            response = self.send("POST", "/devices/query", {"query": text}, headers)
            yield response.json()
            continuation = response.headers.get("x-ms-continuation", "")
            if not continuation:
                return

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> Json:
        """The answer's document, {} when it has none; HubError with the hub's status."""
        response = self.send(method, path, body, headers, query=query, timeout_s=timeout_s)
        answer: Json = response.json() if response.content else {}
        return answer

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 30,
        expected: Collection[int] = (),
    ) -> httpx.Response:
        """The hub's answer: a success, or a status in `expected`; HubError with the status for any other."""
        renewed = False
        for attempt in range(_ATTEMPTS):
            response = self._try(method, path, body, headers or {}, query or {}, timeout_s)
            if response.status_code == 401 and not renewed and self._login.renew():
                renewed = True
            elif response.status_code == 429 and attempt + 1 < _ATTEMPTS:
                asked_s = choose_wait(response.headers.get("retry-after", ""), attempt, self._now())
                self._sleep(min(asked_s, _LONGEST_PAUSE_S))
            else:
                break
        if response.is_success or response.status_code in expected:
            return response
        raise self._refused(method, path, response)

    def _try(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        timeout_s: float,
    ) -> httpx.Response:
        sent_s = self._now()
        try:
            response = self._http.request(
                method,
                path,
                params={"api-version": API, **query},
                json=body,
                headers={"Authorization": self._login.authorization(), **headers},
                timeout=httpx.Timeout(timeout_s, connect=5),
            )
        except httpx.HTTPError as error:
            is_strange = "CERTIFICATE_VERIFY_FAILED" in str(error)
            raise HubError(
                f"the hub {self._login.host} did not answer {method} {path}: {error or type(error).__name__}",
                fix="set EDGEFERRY_HUB__CA_FILE to the ca.pem of that hub: 'edgeferry hub ca-file' tells it"
                if is_strange
                else "is it running and reachable? 'edgeferry hub start' or 'edgeferry up' starts one here",
                retryable=not is_strange,
            ) from error
        self._skew_s = find_skew(response.headers.get("date", ""), sent_s, self._now())
        return response

    def _refused(self, method: str, path: str, response: httpx.Response) -> HubError:
        status = response.status_code
        try:
            document = response.json()
            text = str(document.get("Message") or document)
        except ValueError:
            text = response.text[:300]
        if status in (401, 403):
            fix = self._login.explain(status)
        elif status == 404:
            fix = "check the name; 'edgeferry devices list' shows the devices"
        elif status == 429 or status >= 500:
            fix = "try again in a moment"
        else:
            fix = "correct the request as the hub says"
        return HubError(
            f"the hub {self._login.host} answered {status} to {method} {path}: {text}",
            fix=fix,
            retryable=status == 429 or status >= 500,
            status=status,
        )


def find_skew(date: str, sent_s: float, received_s: float) -> float | None:
    """How far our clock is ahead of theirs who answered between these times, at least, by their header `Date`
    (whole seconds, RFC 9110, 6.6.1); None where that is none."""
    try:
        told_s = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return max(0.0, sent_s - (told_s + 1)) or min(0.0, received_s - told_s)
