"""ECDSA P-256 signatures with local key files, and the folder of public keys that count.

Key Vault (ES256) and cosign sign with the same curve and hash. Private keys: PEM; files are PKCS8, mode 0600.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeferry.errors import UsageError

_AUTHOR = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$")
_HASH = ec.ECDSA(hashes.SHA256())
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)


class KeyFolder:
    """Private keys by author in one folder, trusted public keys by author in another.

    An author without a key gets one on first use, unless `given` fetches the author's key (PEM text), which
    then never touches the disk. Its public half is trusted at once only when `may_trust` says so: when the
    trusted folder is this machine's own, not a project's.
    """

    def __init__(
        self,
        private: Path,
        trusted: Path,
        *,
        may_trust: bool,
        given: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        self._private = private
        self._trusted = trusted
        self._may_trust = may_trust
        self._given = given or {}

    def fingerprint(self, author: str) -> str:
        """`SHA256:` and the base64 digest of the author's public key in DER form."""
        return _fingerprint(self._open_key(author).public_key())

    def sign(self, author: str, message: bytes) -> str:
        """Base64 DER signature by the author over SHA-256 of `message`."""
        return base64.b64encode(self._open_key(author).sign(message, _HASH)).decode()

    def distrust(self, author: str, fingerprint: str, signature: str, message: bytes) -> str:
        """Why the signature does not count, or ""."""
        path = self._trusted / f"{author}.pem"
        if not _AUTHOR.match(author) or not path.is_file():
            return f"no trusted key of {author!r} in {self._trusted}"
        key = serialization.load_pem_public_key(path.read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return f"{path} is not an ECDSA public key"
        if _fingerprint(key) != fingerprint:
            return f"signed with another key than the trusted one of {author!r}"
        try:
            key.verify(base64.b64decode(signature), message, _HASH)
        except (InvalidSignature, ValueError):
            return "the signature does not fit the content"
        return ""

    def _open_key(self, author: str) -> ec.EllipticCurvePrivateKey:
        if not _AUTHOR.match(author):
            raise UsageError(
                f"{author!r} cannot name a person in the ledger",
                fix="use letters, digits and . _ @ + -, at most 64 characters",
            )
        if author in self._given:
            key = _load(self._given[author](), "ledger.signing_key", "set it to the text of one, PEM")
            self._trust(author, key)
            return key
        path = self._private / f"{author}.pem"
        if not path.is_file():
            self._create_key(author, path)
        return _load(path.read_text("utf-8"), str(path), "replace it with one, or remove it")

    def _create_key(self, author: str, path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
        (self._private / f"{author}.pub.pem").write_bytes(_public_pem(key))
        self._trust(author, key)

    def _trust(self, author: str, key: ec.EllipticCurvePrivateKey) -> None:
        trusted = self._trusted / f"{author}.pem"
        if self._may_trust and not trusted.exists():
            self._trusted.mkdir(parents=True, exist_ok=True)
            trusted.write_bytes(_public_pem(key))


def _load(text: str, where: str, fix: str) -> ec.EllipticCurvePrivateKey:
    """The private key in `text`, whose line ends may have become spaces or a written `\\n` on the way through
    a secret store; UsageError, without the text, when it is none."""
    match = next((found for found in _PEM.finditer(text) if "PRIVATE KEY" in found[1]), None)
    body = re.sub(r"\\n|\s", "", match[2]) if match else ""
    kind = match[1] if match else ""
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    pem = f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise UsageError(f"{where} is not an ECDSA P-256 private key", fix=fix)
    return key


def _public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
