"""One request to a registry: over TLS, repeated while the registry asks for patience, errors by cause."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import httpx

from edgeferry.errors import RegistryError, UsageError
from edgeferry.wire.retry_after import choose_wait

ATTEMPTS = 6
PATIENCE_S = 120.0
"""How long one request may wait in all for a registry that throttles."""
THROTTLED = (429, 503)

Body = bytes | Path


class Transport:
    """Requests to the registry at `host` and to where it sends us; `ca_file` "" trusts the system's
    authorities. Nothing is read from the environment."""

    def __init__(
        self,
        host: str,
        ca_file: str,
        sleep: Callable[[float], None],
        now: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.host = host
        self._ca_file = ca_file
        self._sleep = sleep
        self._now = now
        self._jitter = jitter
        self._opened: httpx.Client | None = None

    def close(self) -> None:
        """Ends its connections; the next request opens others."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def is_registry(self, url: str) -> bool:
        """Whether the url is the registry's own, and not a storage or a token server elsewhere."""
        return _origin(url) == _origin(f"https://{self.host}")

    def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = b""
    ) -> httpx.Response:
        """The answer, whatever its status. On 429 and 503 the request, its body whole, is sent again after
        the wait that the registry asks for, as long as attempts and patience last."""
        waited = 0.0
        for attempt in range(ATTEMPTS):
            answer = self._once(method, url, headers or {}, body)
            if answer.status_code not in THROTTLED or attempt == ATTEMPTS - 1:
                break
            wait = choose_wait(answer.headers.get("retry-after", ""), attempt, self._now(), self._jitter())
            waited += wait
            if waited > PATIENCE_S:
                break
            self._sleep(wait)
        return answer

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, again: bool = True
    ) -> httpx.Response:
        with ExitStack() as files:
            try:
                content: bytes | IO[bytes] = (
                    body if isinstance(body, bytes) else files.enter_context(body.open("rb"))
                )
                stream: Any = content if isinstance(content, bytes) else _chunks(content)
                return self._client().request(
                    method,
                    url,
                    headers=dict(headers),
                    content=stream or None,
                    follow_redirects=method in ("GET", "HEAD"),
                )
            except httpx.RemoteProtocolError as error:
                # the registry was closing a connection that had been idle, just as we used it
                if not again or method not in ("GET", "HEAD", "POST"):
                    raise self._explain(error) from error
            except httpx.TransportError as error:
                raise self._explain(error) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise RegistryError(
                    f"{self.host} does not answer as a registry: {error}", fix="correct registry.host"
                ) from error
        return self._once(method, url, headers, body, again=False)

    def _client(self) -> httpx.Client:
        if self._opened is None:
            try:
                context = ssl.create_default_context(cafile=self._ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"the registry's CA file {self._ca_file} cannot be read: {error}",
                    fix="correct registry.ca_file",
                ) from error
            self._opened = httpx.Client(
                verify=context,
                trust_env=False,
                timeout=httpx.Timeout(60, connect=10),
                headers={"user-agent": "edgeferry"},
            )
        return self._opened

    def _explain(self, error: httpx.TransportError) -> RegistryError:
        text = str(error) or type(error).__name__
        if "certificate verify failed" in text.lower():
            return RegistryError(
                f"the certificate of {self.host} is not trusted: {text}",
                fix="set registry.ca_file to the certificate of the registry's authority",
            )
        if "record layer" in text.lower() or "wrong version number" in text.lower():
            return RegistryError(
                f"{self.host} does not speak TLS: {text}", fix="give the registry a certificate"
            )
        if any(words in text.lower() for words in ("name or service not known", "no address", "nodename")):
            return RegistryError(
                f"the name of {self.host} does not resolve", fix="correct registry.host", retryable=True
            )
        return RegistryError(
            f"the registry at {self.host} does not answer: {text}",
            fix="start it (here: edgeferry up), or correct registry.host",
            retryable=True,
        )


def _origin(url: str) -> tuple[str, bytes]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.netloc


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(1 << 18):
        yield chunk
