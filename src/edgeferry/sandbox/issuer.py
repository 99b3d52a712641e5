"""The tokens that the local registry believes: ES256, signed by a key that signs nothing else.

Distribution takes a token whose header carries the signer's certificate (`x5c`) when its `rootcertbundle`
vouches for it; versions 2 and 3 agree on that, while they differ on key ids. The certificate is its own
authority, so that no other certificate of the sandbox can sign tokens.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from edgeferry.authority import open_authority
from edgeferry.sandbox.accounts import Account
from edgeferry.wire.registry_token import Scope, parse_jwt, render_access, render_jwt

ISSUER = "edgeferry"
SERVICE = "edgeferry local registry"
ACCESS_S = 300
REFRESH_S = 30 * 24 * 3600
_REFRESH = "edgeferry token endpoint"
_HALF = 32
_ES256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True)
class Issuer:
    """Signs and reads tokens; the key is in memory only."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: str
    """Base64 of its DER."""

    def access_token(self, account: str, granted: Sequence[Scope], now: float, token_id: str) -> str:
        """What the registry takes for `ACCESS_S` seconds."""
        claims = {"iss": ISSUER, "sub": account, "aud": SERVICE, "access": render_access(granted)}
        return self.render({**claims, "jti": token_id}, now, ACCESS_S)

    def refresh_token(self, account: Account, now: float, token_id: str) -> str:
        """What the endpoint takes in place of the password, until that changes; no registry takes it."""
        claims = {"iss": ISSUER, "sub": account.name, "aud": _REFRESH, "generation": account.generation}
        return self.render({**claims, "jti": token_id}, now, REFRESH_S)

    def refreshes(self, token: str, accounts: Mapping[str, Account], now: float) -> Account | None:
        """The account that this refresh token was issued to; None when it is none, or not any more."""
        try:
            parts = parse_jwt(token)
            r, s = (int.from_bytes(half) for half in (parts.signature[:_HALF], parts.signature[_HALF:]))
            self.key.public_key().verify(encode_dss_signature(r, s), parts.signed, _ES256)
            said = parts.claims
            account = accounts.get(str(said["sub"]))
            lasts = float(said["nbf"]) <= now + 1 < float(said["exp"])
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return None
        good = account is not None and said.get("generation") == account.generation
        return account if good and lasts else None

    def render(self, claims: Mapping[str, Any], now: float, seconds: int) -> str:
        """The signed token with these claims, good for `seconds` from `now`."""
        times = {"iat": int(now), "nbf": int(now) - 5, "exp": int(now) + seconds}
        return render_jwt(
            {"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]}, {**claims, **times}, self._sign
        )

    def _sign(self, signed: bytes) -> bytes:
        r, s = decode_dss_signature(self.key.sign(signed, _ES256))
        return r.to_bytes(_HALF) + s.to_bytes(_HALF)


def open_issuer(folder: Path) -> Issuer:
    """The issuer whose key and certificate are in `folder`, made on first use; the registry's
    `rootcertbundle` is `folder/ca.pem`."""
    authority = open_authority(folder)
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
    return Issuer(key, base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode())
