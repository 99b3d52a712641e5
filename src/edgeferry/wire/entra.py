"""Access tokens of Microsoft Entra (v1.0 and v2.0), read without checking their signature: to say who we are,
never to trust somebody else's word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeferry.wire.registry_token import parse_jwt


def parse_claims(token: str) -> Mapping[str, Any]:
    """The claims of an access token; {} when it is none that can be read."""
    try:
        return parse_jwt(token).claims
    except ValueError:
        return {}


def render_identity(claims: Mapping[str, Any]) -> str:
    """Who a token speaks for, in words: a person's name, or an application's and its object's id."""
    person = claims.get("upn") or claims.get("unique_name") or claims.get("preferred_username")
    application = claims.get("appid") or claims.get("azp")
    if person:
        return str(person)
    if application:
        return f"application {application} (object {claims.get('oid', 'unknown')})"
    return f"object {claims['oid']}" if claims.get("oid") else "this login"
