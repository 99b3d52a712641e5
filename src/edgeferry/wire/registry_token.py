"""How a registry sends a client for a token, what the client asks for, and the token itself.

Follows Distribution's token authentication specification (challenge, scope, and the `access` claim of the
token; https://distribution.github.io/distribution/spec/auth/) on RFC 6750 (the challenge), RFC 7515 and RFC
7519 (the signed token). Azure Container Registry speaks the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PULL, PUSH, DELETE = "pull", "push", "delete"
REPOSITORY = "repository"

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_REPOSITORY_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True)
class Scope:
    """What a client wants to do, or may do, with one resource."""

    type: str
    """`repository`, or another kind that we grant nothing for."""
    name: str
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Challenge:
    """A registry's `WWW-Authenticate` header; what it does not say is ""."""

    scheme: str
    """In lower case: `basic`, `bearer`."""
    realm: str = ""
    service: str = ""
    error: str = ""
    """`insufficient_scope` where the token sent is good but does not allow this."""


@dataclass(frozen=True)
class Jwt:
    """A token's parts, not yet believed."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    """What the signature covers."""
    signature: bytes


def parse_challenge(header: str) -> Challenge:
    """The challenge in a `WWW-Authenticate` header."""
    said = dict(_PARAMETER.findall(header))
    scheme = header.partition(" ")[0].lower()
    return Challenge(scheme, said.get("realm", ""), said.get("service", ""), said.get("error", ""))


def render_scope(scope: Scope) -> str:
    """`repository:edgeferry/taxi:pull,push`."""
    return f"{scope.type}:{scope.name}:{','.join(scope.actions)}"


def parse_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes of each text, which may hold several, separated by spaces; ValueError when one is none."""
    found = []
    for text in " ".join(texts).split():
        kind, colon, rest = text.partition(":")
        name, other_colon, actions = rest.rpartition(":")  # a name may hold a host's port
        if not colon or not other_colon or not kind or not name:
            raise ValueError(f"{text[:80]!r} is no scope")
        found.append(Scope(kind, name, tuple(filter(None, actions.split(",")))))
    return tuple(found)


def is_repository(name: str) -> bool:
    """Whether that is a repository's name (distribution-spec 1.1, at most 255 characters)."""
    return len(name) <= 255 and all(_REPOSITORY_NAME.fullmatch(part) for part in name.split("/"))


def is_token(text: str) -> bool:
    """Whether the text can stand in an `Authorization` header as a bearer token (RFC 6750, section 2.1)."""
    return _TOKEN.fullmatch(text) is not None


def render_access(scopes: Sequence[Scope]) -> list[dict[str, Any]]:
    """The `access` claim."""
    return [{"type": scope.type, "name": scope.name, "actions": list(scope.actions)} for scope in scopes]


def render_jwt(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """The token; `sign` gives the signature's bytes as the header's `alg` wants them."""
    signed = b".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
    return (signed + b"." + _encode(sign(signed))).decode()


def parse_jwt(token: str) -> Jwt:
    """The token's parts; ValueError when it is none. Nothing is verified."""
    head, _, rest = token.partition(".")
    body, _, signature = rest.partition(".")
    try:
        header, claims = json.loads(_decode(head)), json.loads(_decode(body))
        parts = Jwt(header, claims, f"{head}.{body}".encode(), _decode(signature))
    except (ValueError, binascii.Error) as error:
        raise ValueError("not a signed token") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ValueError("not a signed token")
    return parts


def lifetime_s(token: str, default_s: float) -> float:
    """How long the token lasts from its making by its own `exp`, so that a clock that is wrong here does not
    matter; `default_s` where it does not say, or is no JWT."""
    try:
        claims = parse_jwt(token).claims
        since = claims.get("iat", claims.get("nbf"))
        return max(0.0, float(claims["exp"]) - float(since))
    except (ValueError, KeyError, TypeError):
        return default_s


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
