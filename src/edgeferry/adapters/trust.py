"""The folder of public keys that count in the ledger: `NAME.pem` for each author.

A file may hold several keys, one after the other: who gets a new key keeps the old one there, for what it
signed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_AUTHOR = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$")
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def is_author(name: str) -> bool:
    """Whether `name` can name somebody in the ledger, and a file of theirs."""
    return _AUTHOR.match(name) is not None


def render_fingerprint(public_der: bytes) -> str:
    """`SHA256:` and the base64 digest of a public key in DER form."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public_der).digest()).decode().rstrip("=")


class TrustFolder:
    """Public keys by author."""

    def __init__(self, folder: Path, *, may_add: bool) -> None:
        self._folder = folder
        self._may_add = may_add
        self._read: dict[str, tuple[bytes, dict[str, ec.EllipticCurvePublicKey]]] = {}
        self._fitting: set[tuple[str, str, bytes]] = set()
        """Key, signature and hash of the message, where these were found to fit: whether the key counts is
        looked at each time, but what it has signed it has signed for ever."""

    def fingerprints(self) -> Mapping[str, tuple[str, ...]]:
        """Of all keys that count, by author."""
        authors = sorted(path.stem for path in self._folder.glob("*.pem") if is_author(path.stem))
        return {author: keys for author in authors if (keys := tuple(self._keys(author)))}

    def path(self, author: str) -> Path:
        """The file with the author's keys."""
        return self._folder / f"{author}.pem"

    def add(self, author: str, public_der: bytes) -> None:
        """The author's first key counts, where this folder takes keys unasked."""
        path = self.path(author)
        if self._may_add and not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(render_public_pem(public_der))

    def distrust(self, author: str, fingerprint: str, signature: str, message: bytes) -> str:
        """Why the signature does not count, or ""."""
        path = self.path(author)
        if not is_author(author) or not path.is_file():
            return f"no trusted key of {author!r} in {self._folder}"
        keys = self._keys(author)
        if not keys:
            return f"{path} is not an ECDSA public key"
        if fingerprint not in keys:
            return f"signed with another key than the trusted one of {author!r}"
        fit = fingerprint, signature, hashlib.sha256(message).digest()
        if fit in self._fitting:
            return ""
        try:
            keys[fingerprint].verify(base64.b64decode(signature), message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return "the signature does not fit the content"
        self._fitting.add(fit)
        return ""

    def _keys(self, author: str) -> Mapping[str, ec.EllipticCurvePublicKey]:
        """By fingerprint, in the file's order; parsed again only when the file has changed."""
        text = self.path(author).read_bytes()
        if author not in self._read or self._read[author][0] != text:
            self._read[author] = text, _parse_keys(text)
        return self._read[author][1]


def render_public_pem(public_der: bytes) -> bytes:
    """The public key as PEM."""
    return serialization.load_der_public_key(public_der).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _parse_keys(text: bytes) -> dict[str, ec.EllipticCurvePublicKey]:
    found = {}
    for pem in _PEM.findall(text):
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            continue
        if isinstance(key, ec.EllipticCurvePublicKey):
            der = key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            found[render_fingerprint(der)] = key
    return found
