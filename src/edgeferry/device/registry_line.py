"""Reading from a registry as the engine does: same login, same authorities, TLS but on loopback."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from edgeferry.domain.manifest import RegistryLogin
from edgeferry.wire.registry_token import PULL, REPOSITORY, Challenge, Scope, parse_challenge, render_scope

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where engines look for a registry's authority, in a folder named as the registry."""
_ENGINE_HUB = ("docker.io", "registry-1.docker.io")
_BUFFER = 64 * 1024
_CONNECT_S = 10.0


def split_reference(image: str) -> tuple[str, str, str]:
    """The registry's host, the repository's name there, and the digest, else the tag, as an engine reads
    the reference."""
    rest, _, digest = image.partition("@")
    first, slash, name = rest.partition("/")
    if not slash or not (first == "localhost" or "." in first or ":" in first):
        first, name = _ENGINE_HUB[0], rest
    name, _, tag = name.partition(":")
    if first == _ENGINE_HUB[0]:
        first, name = _ENGINE_HUB[1], name if "/" in name else f"library/{name}"
    return first, name, digest or tag or "latest"


class RegistryLine:
    """GET and HEAD at one repository; for several threads at once. Raises httpx.HTTPError and OSError."""

    def __init__(self, host: str, name: str, login: RegistryLogin | None) -> None:
        self._host = host
        self._name = name
        self._login = (login.username, login.password) if login and login.username else None
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(
                verify=_authorities(host),
                # A small buffer: what the line brings is what was asked for, no megabytes ahead of it.
                socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)],
            ),
            trust_env=False,
            timeout=_CONNECT_S,
            follow_redirects=True,
            headers={"user-agent": "edgeferry", "accept-encoding": "identity"},
        )
        self._scheme = ""
        self._authorization = ""

    def close(self) -> None:
        """Its connections have ended."""
        self._client.close()

    @contextlib.contextmanager
    def ask(
        self, method: str, path: str, headers: Mapping[str, str], silence_s: float = 60.0
    ) -> Iterator[httpx.Response]:
        """The answer, its body not yet read, to `manifests/…` or `blobs/…`; its login sent where asked.
        httpx.ReadTimeout when nothing comes for `silence_s`."""
        timeout = httpx.Timeout(silence_s, connect=_CONNECT_S)
        url = f"{self._find_scheme()}://{self._host}/v2/{self._name}/{path}"
        for attempt in range(2):
            sent = {**headers, "authorization": self._authorization} if self._authorization else {**headers}
            with self._client.stream(method, url, headers=sent, timeout=timeout) as answer:
                if answer.status_code != 401 or attempt or not self._take_challenge(answer):
                    yield answer
                    return

    def _take_challenge(self, answer: httpx.Response) -> bool:
        """Whether there is another login to answer the registry's 401 with."""
        challenge = parse_challenge(answer.headers.get("www-authenticate", ""))
        before = self._authorization
        if challenge.scheme == "bearer":
            token = self._fetch_token(challenge)
            self._authorization = f"Bearer {token}" if token else ""
        elif challenge.scheme == "basic" and self._login is not None:
            self._authorization = _basic(*self._login)
        return self._authorization not in ("", before)

    def _fetch_token(self, challenge: Challenge) -> str:
        scope = render_scope(Scope(REPOSITORY, self._name, (PULL,)))
        params = {"service": challenge.service, "scope": scope}
        answer = self._client.get(challenge.realm, params=params, auth=self._login)
        if answer.status_code != 200:
            return ""
        said = answer.json()
        return str(said.get("token") or said.get("access_token") or "")

    def _find_scheme(self) -> str:
        """TLS; on loopback plain HTTP where there is none, as engines allow there."""
        if not self._scheme:
            self._scheme = "https"
            if is_loopback(self._host):
                try:
                    self._client.get(f"https://{self._host}/v2/")
                except httpx.ConnectError as error:
                    if "SSL" in str(error) or "TLS" in str(error):
                        self._scheme = "http"
                except httpx.ReadError:
                    self._scheme = "http"
        return self._scheme


def is_loopback(host: str) -> bool:
    """Whether the host (`name:port`, `address:port`) is this machine by its own address for itself."""
    name = host.rpartition(":")[0] if ":" in host else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _authorities(host: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if is_loopback(host):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for file in sorted((CERTIFICATES / host).glob("*.crt")):
        context.load_verify_locations(file)
    return context
