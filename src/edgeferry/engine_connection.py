"""A connection to a container engine, and the border where docker-py's exceptions end: what goes wrong
becomes an `EngineError`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import docker
import requests
from docker import errors as docker_errors
from docker.transport import unixconn

from edgeferry.engine_causes import explain, problem_of
from edgeferry.engine_stream import BROKEN, Stream, ended_by
from edgeferry.errors import EngineError

T = TypeVar("T")
START_IT = "start Docker, or correct the engine's address"


class _Connection(unixconn.UnixHTTPConnection):
    def connect(self) -> None:
        tried = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            tried.settimeout(self.timeout)
            tried.connect(self.unix_socket)
        except OSError:
            tried.close()
            raise
        self.sock = tried


# docker-py 7.2 leaves a socket open that it tried in vain, and lets nobody choose another connection.
unixconn.UnixHTTPConnection = _Connection  # type: ignore[misc]


class EngineConnection:
    """A connection to the engine at `url` (`unix:///path` or `tcp://host:port`), opened by the first call;
    not for several threads at once. `start_it`: what to do where none answers."""

    def __init__(self, url: str, timeout_s: int = 60, start_it: str = START_IT) -> None:
        self.url = url
        self._start_it = start_it
        self._timeout_s = timeout_s
        self._client: docker.APIClient | None = None

    def close(self) -> None:
        """Ends the connection; the next call opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # answers that are read while they are written

    def _stream(
        self,
        doing: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        given_up: Callable[[], str] | None,
    ) -> Iterator[Mapping[str, Any]]:
        stream = self._connect_stream(doing)
        with ended_by(stream, given_up) as reason:
            try:
                self._ask(stream, doing, method, path, headers)
                yield from stream.lines()
            except BROKEN as error:
                if not reason():
                    raise self._gone(doing) from error
            if reason():
                raise EngineError(
                    f"{doing}: given up: {reason()}", fix="it is tried again by itself", retryable=True
                )

    def _open(self, doing: str, method: str, path: str, headers: Mapping[str, str]) -> Stream:
        stream = self._connect_stream(doing)
        try:
            self._ask(stream, doing, method, path, headers)
        except (*BROKEN, EngineError) as error:
            stream.close()
            raise error if isinstance(error, EngineError) else self._gone(doing) from error
        return stream

    def _connect_stream(self, doing: str) -> Stream:
        try:
            return Stream(self.url)
        except BROKEN as error:
            raise self._gone(doing) from error

    def _ask(self, stream: Stream, doing: str, method: str, path: str, headers: Mapping[str, str]) -> None:
        status = stream.ask(method, path, headers)
        if status >= 400:
            said = next(stream.lines(), {})
            raise explain(doing, problem_of(said) or "nothing", status)

    def _gone(self, doing: str) -> EngineError:
        return EngineError(
            f"{doing}: no engine answers at {self.url}, or it ended meanwhile",
            fix="start Docker, or correct the engine's address",
            retryable=True,
        )

    # the border: docker-py's exceptions end here

    def _connected(self) -> docker.APIClient:
        if self._client is None:
            self._client = docker.APIClient(base_url=self.url, version="auto", timeout=self._timeout_s)
        return self._client

    def _do(self, doing: str, call: Callable[[Any], T]) -> T:
        try:
            return call(self._connected())
        except docker_errors.APIError as error:
            status = error.status_code or 0
            raise explain(doing, str(error.explanation or error), status) from error
        except requests.exceptions.Timeout as error:
            raise EngineError(
                f"{doing}: the engine at {self.url} did not answer within {self._timeout_s} s",
                fix="look at the engine's load and log",
                retryable=True,
            ) from error
        except (docker_errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(
                f"no engine answers at {self.url}",
                fix=self._start_it,
                retryable=True,
            ) from error

    def _look(self, doing: str, call: Callable[[Any], T]) -> T | None:
        """`_do`, but None when the engine has no such thing."""
        try:
            return self._do(doing, call)
        except EngineError as error:
            if isinstance(error.__cause__, docker_errors.NotFound):
                return None
            raise
