"""A stand-in for Azure Container Registry: its token endpoints here, all else passed on to a real registry.

The access tokens are really signed and the real registry checks them; that one's challenge is rewritten to
send clients here, as Azure's sends them to itself.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

from edgeferry.authority import open_authority
from edgeferry.sandbox.issuer import Issuer, open_issuer
from edgeferry.wire.registry_token import DELETE, PULL, PUSH, parse_jwt, parse_scopes
from tests.registries import RegistryServer

TENANT = "72f988bf-0000-0000-0000-2d7cd011db47"
_PASSED_ON = ("accept", "authorization", "content-length", "content-type", "host")
_PASSED_BACK = ("content-type", "docker-content-digest", "location", "www-authenticate", "oci-subject")
_THREE_HOURS = 3 * 3600


@dataclass
class Acr:
    """What the registry is told to do, and what it saw."""

    upstream: RegistryServer
    issuer: Issuer
    host: str = ""
    may: tuple[str, ...] = (PULL, PUSH, DELETE)
    """What the identity's role allows."""
    refuse_at_token: bool = False
    """Whether `/oauth2/token` refuses what the role does not allow, instead of granting less."""
    knows_identity: bool = True
    address_is_allowed: bool = True
    tattles: bool = False
    """Whether its refusals repeat the form that was sent."""
    nonsense: str = ""
    """What to answer in place of an access token."""
    throttle: list[tuple[str, int, str]] = field(default_factory=list)
    """(start of `METHOD path`, status, Retry-After) of answers to give instead, each once."""
    expire: list[str] = field(default_factory=list)
    """Starts of `METHOD path` whose token has expired when the request arrives, each once."""
    revoked: set[str] = field(default_factory=set)
    """Refresh tokens that are good no more."""
    calls: list[str] = field(default_factory=list)
    """`METHOD path` of everything asked."""
    forms: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and fields of every form."""

    def aad_token(self, number: int = 1) -> str:
        """A token as Microsoft Entra gives it."""
        claims = {"aud": "https://containerregistry.azure.net", "tid": TENANT, "number": number}
        return self.issuer.render(claims, time.time(), 3600)

    def exchange(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """`POST /oauth2/exchange`."""
        known = {"grant_type": "access_token", "service": self.host, "tenant": TENANT}
        if {key: form.get(key) for key in known} != known or set(form) != {*known, "access_token"}:
            return 400, refusal("BAD_REQUEST", "the form is wrong")
        if not self.knows_identity or parse_jwt(form["access_token"]).claims["tid"] != TENANT:
            return 401, refusal("UNAUTHORIZED", "authentication required" + self.tell(form))
        claims = {"aud": self.host, "grant_type": "refresh_token", "tenant": TENANT, "jti": len(self.forms)}
        return 200, {"refresh_token": self.issuer.render(claims, time.time(), _THREE_HOURS)}

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """`POST /oauth2/token`; the answer has no `expires_in`, as Azure's has none."""
        if not self.address_is_allowed:
            return 403, refusal("DENIED", "client with IP '192.0.2.7' is not allowed access.")
        if set(form) != {"grant_type", "service", "scope", "refresh_token"} or form["service"] != self.host:
            return 400, refusal("BAD_REQUEST", "the form is wrong")
        good = parse_jwt(form["refresh_token"]).claims["grant_type"] == "refresh_token"
        if not good or form["refresh_token"] in self.revoked:
            return 401, refusal("UNAUTHORIZED", "authentication required" + self.tell(form))
        (scope,) = parse_scopes([form["scope"]])
        granted = replace(scope, actions=tuple(each for each in scope.actions if each in self.may))
        if self.refuse_at_token and granted != scope:
            return 401, refusal("UNAUTHORIZED", "authentication required" + self.tell(form))
        token = self.nonsense or self.issuer.access_token("someone", [granted], time.time(), "1")
        return 200, {"access_token": token}

    def tell(self, form: dict[str, str]) -> str:
        return f": {json.dumps(form)}" if self.tattles else ""

    def asked(self, path: str) -> list[dict[str, str]]:
        """The forms sent to that path."""
        return [form for where, form in self.forms if where == path]


def refusal(code: str, message: str) -> dict[str, object]:
    return {"errors": [{"code": code, "message": message}]}


def taken(listed: list[str], call: str) -> bool:
    """Whether one of these starts is the call's; it is taken from the list."""
    found = next((start for start in listed if call.startswith(start)), None)
    if found is not None:
        listed.remove(found)
    return found is not None


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    acr: Acr

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in ({"content-length": str(len(body))} | headers).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        call = f"{self.command} {self.path}"
        self.acr.calls.append(call)
        throttled = next((each for each in self.acr.throttle if call.startswith(each[0])), None)
        if throttled is not None:
            self.acr.throttle.remove(throttled)
            _, status, after = throttled
            said = json.dumps(refusal("TOOMANYREQUESTS", "slow down")).encode()
            self.answer(status, said, {"retry-after": after} if after else {})
        elif self.path.startswith("/oauth2/"):
            form = dict(parse_qsl(body.decode(), strict_parsing=True))
            self.acr.forms.append((self.path, form))
            right = self.command == "POST" and (
                self.headers["content-type"] == "application/x-www-form-urlencoded"
                and "authorization" not in self.headers
            )
            answer = self.acr.exchange if self.path == "/oauth2/exchange" else self.acr.token
            status, document = answer(form) if right else (400, {})
            self.answer(status, json.dumps(document).encode(), {})
        else:
            self.pass_on(call, body)

    def pass_on(self, call: str, body: bytes) -> None:
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        if taken(self.acr.expire, call):
            old = self.acr.issuer.access_token("someone", [], time.time() - 1000, "1")
            headers["authorization"] = f"Bearer {old}"
        context = ssl.create_default_context(cafile=self.acr.upstream.ca_file)
        host, _, port = self.acr.upstream.host.partition(":")
        upstream = http.client.HTTPSConnection(host, int(port), context=context)
        try:
            upstream.request(self.command, self.path, body, headers)
            said = upstream.getresponse()
            content = said.read()
        finally:
            upstream.close()
        back = {name: said.headers[name] for name in _PASSED_BACK if name in said.headers}
        if "www-authenticate" in back:
            here = f'realm="https://{self.acr.host}/oauth2/token",service="{self.acr.host}"'
            back["www-authenticate"] = re.sub(
                r'realm="[^"]*",service="[^"]*"', here, back["www-authenticate"]
            )
        if self.command == "HEAD":
            back["content-length"] = said.headers.get("content-length", "0")
        self.answer(said.status, content, back)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve  # noqa: N815


@contextmanager
def running_acr(folder: Path, upstream: RegistryServer) -> Iterator[Acr]:
    """The stand-in before that registry, over TLS with the registry's own authority."""
    issuer = open_issuer(upstream.folder / "registry" / "issuer")
    acr = Acr(upstream, issuer)
    files = open_authority(upstream.folder).issue(folder, "acr", ("localhost",), ("127.0.0.1",))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Front", (_Front,), {"acr": acr}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    acr.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield acr
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
