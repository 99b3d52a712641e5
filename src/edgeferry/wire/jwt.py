"""Claims of a JSON Web Token (RFC 7519), read without checking its signature: to say who we are, never to
trust somebody else's word."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any


def parse_claims(token: str) -> dict[str, Any]:
    """The claims of a compact token; {} when it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def render_identity(claims: dict[str, Any]) -> str:
    """Who a token of Microsoft Entra speaks for, in words (access tokens v1 and v2): a person's name, or an
    application's and its object's id."""
    person = claims.get("upn") or claims.get("unique_name") or claims.get("preferred_username")
    application = claims.get("appid") or claims.get("azp")
    if person:
        return str(person)
    if application:
        return f"application {application} (object {claims.get('oid', 'unknown')})"
    return f"object {claims['oid']}" if claims.get("oid") else "this login"
