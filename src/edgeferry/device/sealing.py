"""What the workload API keeps for a device's modules: a secret on disk, by which it encrypts for them, and
from which comes the generation that their environment names.

AES-256-GCM (NIST SP 800-38D) with a fresh nonce before each text; keys by HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeferry.device.durable import replace_file

_SECRET_BYTES = 32
_NONCE_BYTES = 12


def load_secret(path: Path) -> bytes:
    """The secret in the file at `path` (0600), made on first use; OSError when it cannot be kept."""
    try:
        secret = path.read_bytes()
        if len(secret) == _SECRET_BYTES:
            return secret
    except FileNotFoundError:
        pass
    secret = secrets.token_bytes(_SECRET_BYTES)
    replace_file(path, secret, 0o600)
    return secret


def generation(secret: bytes) -> str:
    """A name for this secret that does not tell it: another one stands for another device state."""
    return hashlib.sha256(b"generation" + secret).hexdigest()[:16]


def seal(secret: bytes, whose: tuple[str, ...], text: bytes) -> bytes:
    """The text, encrypted for those whom `whose` names, and for nobody else."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(secret)).encrypt(nonce, text, _bound(whose))


def unseal(secret: bytes, whose: tuple[str, ...], sealed: bytes) -> bytes | None:
    """The text that was sealed with this secret for `whose`; None for anything else."""
    nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    if len(nonce) < _NONCE_BYTES:
        return None
    try:
        return AESGCM(_key(secret)).decrypt(nonce, body, _bound(whose))
    except InvalidTag:
        return None


def _key(secret: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"edgeferry workload").derive(secret)


def _bound(whose: tuple[str, ...]) -> bytes:
    return "\0".join(whose).encode()
