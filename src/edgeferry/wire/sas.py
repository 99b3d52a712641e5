"""Shared access signatures: who may do what at a hub, until when.

Follows Microsoft's "Control access to IoT Hub with shared access signatures": the signature is HMAC-SHA256
over `<percent-encoded resource>\\n<expiry>` with the base64-decoded key. Clients encode the resource in
different ways, so a reader tries the forms they are known to sign.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote

_SCHEME = "SharedAccessSignature "
_HEX = re.compile(r"%[0-9A-F]{2}")


@dataclass(frozen=True)
class Sas:
    """A signature as received; `expires_at` in Unix seconds."""

    resource: str
    """Decoded, e.g. `127.0.0.7:8443/devices/device-1`."""
    signature: str
    """Base64."""
    expires_at: int
    policy: str | None = None
    """The shared access policy whose key signed it; None for a device's or module's own key."""
    encoded_resource: str = ""
    """As it stood in the text."""


def render_sas(resource: str, key: str, expires_at: int, policy: str | None = None) -> str:
    """The signature's text for `resource`, valid until `expires_at` (Unix seconds); ValueError when `key`
    is not base64."""
    text = render_signed(resource, _sign(quote(resource, safe=""), expires_at, key), expires_at)
    return f"{text}&skn={quote(policy, safe='')}" if policy else text


def render_to_sign(resource: str, expires_at: int) -> bytes:
    """What a keeper of the key signs (HMAC-SHA256) for `resource`, valid until `expires_at`."""
    return f"{quote(resource, safe='')}\n{expires_at}".encode()


def render_signed(resource: str, signature: str, expires_at: int) -> str:
    """The signature's text; `signature` is the base64 of the signed `render_to_sign`."""
    return f"{_SCHEME}sr={quote(resource, safe='')}&sig={quote(signature, safe='')}&se={expires_at}"


def parse_sas(text: str) -> Sas:
    """The parts of a signature's text, in any order; ValueError when one is missing or malformed."""
    if not text.startswith(_SCHEME):
        raise ValueError("not a shared access signature")
    parts = dict(part.split("=", 1) for part in text[len(_SCHEME) :].strip().split("&") if "=" in part)
    missing = [name for name in ("sr", "sig", "se") if not parts.get(name)]
    if missing:
        raise ValueError(f"the shared access signature lacks {missing[0]}")
    if not re.fullmatch(r"[0-9]{1,15}", parts["se"]):
        raise ValueError("the expiry of the shared access signature is not a whole number of seconds")
    return Sas(
        resource=unquote(parts["sr"]),
        signature=unquote(parts["sig"]),
        expires_at=int(parts["se"]),
        policy=unquote(parts["skn"]) if parts.get("skn") else None,
        encoded_resource=parts["sr"],
    )


def is_signed_by(sas: Sas, key: str) -> bool:
    """Whether `key` (base64) made this signature; compared in constant time. Says nothing about expiry."""
    quoted = quote_plus(sas.resource)
    lower = _HEX.sub(lambda match: match[0].lower(), quoted)
    forms = dict.fromkeys((sas.encoded_resource, sas.resource, quoted, quote(sas.resource, safe=""), lower))
    try:
        signatures = [_sign(form, sas.expires_at, key) for form in forms if form]
    except ValueError:
        return False
    given = sas.signature.encode()
    return any(hmac.compare_digest(signature.encode(), given) for signature in signatures)


def _sign(encoded_resource: str, expires_at: int, key: str) -> str:
    try:
        secret = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the shared access key is not base64") from error
    if not secret:
        raise ValueError("the shared access key is empty")
    digest = hmac.new(secret, f"{encoded_resource}\n{expires_at}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
