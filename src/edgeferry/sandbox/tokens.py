"""`python -m edgeferry.sandbox.tokens`: where clients of the local registry get their tokens.

Follows Distribution's token authentication specification: GET with Basic authentication, which engines send,
and the OAuth2 POST (`password` and `refresh_token`). Accounts are read afresh for every answer, so a token
that was deleted is refused from then on. Nothing secret is logged.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import logging
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeferry.errors import EdgeferryError
from edgeferry.sandbox.accounts import Account, grant, is_password, load_accounts
from edgeferry.sandbox.issuer import ACCESS_S, SERVICE, Issuer, open_issuer
from edgeferry.wire.registry_token import parse_scopes, render_scope

_MOST_BYTES = 64 * 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A request for a token, however it came."""

    service: str
    scopes: tuple[str, ...]
    account: str = ""
    password: str = ""
    refresh_token: str = ""
    offline: bool = False
    """Whether a refresh token is wanted as well."""


@dataclass(frozen=True)
class TokenDesk:
    """Answers requests for tokens by what stands in the accounts' file."""

    accounts: Path
    issuer: Issuer
    now: Callable[[], float]
    new_id: Callable[[], str]

    def app(self) -> Starlette:
        """The web application with its one route."""
        return Starlette(routes=[Route("/token", self._serve, methods=["GET", "POST"])])

    def answer(self, asked: Asked) -> Response:
        """The token with what is granted, which may be nothing; 401 for a login that is none, 400 for a
        request that is none."""
        if asked.service != SERVICE:
            return _refuse(400, "invalid_request", "UNSUPPORTED", "this endpoint serves another registry")
        try:
            wanted = parse_scopes(asked.scopes)
        except ValueError as error:
            return _refuse(400, "invalid_scope", "UNSUPPORTED", str(error))
        account = self._find(asked)
        if account is None:
            _log.warning("refused account=%r", asked.account[:80])
            return _refuse(401, "invalid_grant", "UNAUTHORIZED", "incorrect user name or password")
        now = self.now()
        granted = grant(account, wanted)
        scope = " ".join(map(render_scope, granted))
        _log.info("issued account=%s wanted=%r granted=%r", account.name, asked.scopes, scope)
        token = self.issuer.access_token(account.name, granted, now, self.new_id())
        document = {
            "token": token,
            "access_token": token,
            "scope": scope,
            "expires_in": ACCESS_S,
            "issued_at": datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if asked.offline:
            document["refresh_token"] = self.issuer.refresh_token(account, now, self.new_id())
        return JSONResponse(document, headers={"cache-control": "no-store"})

    def _find(self, asked: Asked) -> Account | None:
        accounts = load_accounts(self.accounts)
        if asked.refresh_token:
            return self.issuer.refreshes(asked.refresh_token, accounts, self.now())
        account = accounts.get(asked.account)
        return account if account and is_password(account, asked.password) else None

    async def _serve(self, request: Request) -> Response:
        try:
            asked = _read_query(request) if request.method != "POST" else await _read_form(request)
        except ValueError as error:
            return _refuse(400, "invalid_request", "UNSUPPORTED", str(error))
        return await run_in_threadpool(self.answer, asked)


def _read_query(request: Request) -> Asked:
    said = request.query_params
    account, password = _read_basic(request.headers.get("authorization", ""))
    if said.get("account", account) != account:
        account = password = ""  # one who logs in as another is nobody
    return Asked(
        service=said.get("service", ""),
        scopes=tuple(said.getlist("scope")),
        account=account,
        password=password,
        offline=said.get("offline_token", "").lower() in ("true", "1"),
    )


async def _read_form(request: Request) -> Asked:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ValueError("the form is too long")
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    said = dict(pairs)
    kind = said.get("grant_type", "")
    if kind not in ("password", "refresh_token"):
        raise ValueError("grant_type must be password or refresh_token")
    by_password = kind == "password"
    return Asked(
        service=said.get("service", ""),
        scopes=tuple(value for name, value in pairs if name == "scope"),
        account=said.get("username", "") if by_password else "",
        password=said.get("password", "") if by_password else "",
        refresh_token=said.get("refresh_token", "") if not by_password else "",
        offline=said.get("access_type", "") == "offline",
    )


def _read_basic(header: str) -> tuple[str, str]:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    with contextlib.suppress(binascii.Error, ValueError):
        account, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        return account, password
    return "", ""


def _refuse(status: int, error: str, code: str, message: str) -> Response:
    """Both forms at once: OAuth2's (RFC 6749, section 5.2) and the registry's own."""
    document: Mapping[str, Any] = {
        "error": error,
        "error_description": message,
        "errors": [{"code": code, "message": message}],
    }
    headers = {"www-authenticate": f'Basic realm="{SERVICE}"'} if status == 401 else {}
    return JSONResponse(document, status, headers=headers)


def main() -> int:
    """The exit code: 0 after a stop that was asked for, 3 when it cannot serve."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeferry.sandbox.tokens", description="The local registry's token endpoint."
    )
    parser.add_argument("--folder", type=Path, required=True, help="the registry's folder")
    parser.add_argument("--address", required=True, help="IPv4 address to listen on")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    _log.setLevel(logging.INFO)
    folder: Path = given.folder
    try:
        issuer = open_issuer(folder / "issuer")
        load_accounts(folder / "accounts.json")
    except EdgeferryError as error:
        sys.stderr.write(f"edgeferry tokens: {error}\n")
        return 3
    desk = TokenDesk(folder / "accounts.json", issuer, time.time, lambda: uuid.uuid4().hex)
    server = uvicorn.Server(
        uvicorn.Config(
            desk.app(),
            host=given.address,
            port=given.port,
            ssl_certfile=folder / "registry.pem",
            ssl_keyfile=folder / "registry.key",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
