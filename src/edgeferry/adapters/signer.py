"""Keys that sign in the ledger: ECDSA P-256, in files of this machine or given as a text by a setting.

Key Vault (`adapters/vault_signer.py`) and cosign sign with the same curve and hash. Private keys: PEM; files
are PKCS8, mode 0600.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeferry.adapters.trust import TrustFolder, is_author, render_fingerprint, render_public_pem
from edgeferry.errors import UsageError
from edgeferry.ports import Signer

_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)


class PemSigner:
    """A private key as PEM text, which `fetch` gives when it is first needed; implements the `Signer` port.

    UsageError, naming `where` it came from, when it is none."""

    def __init__(self, fetch: Callable[[], str], where: str, fix: str) -> None:
        self._fetch = fetch
        self._where = where
        self._fix = fix
        self._key: ec.EllipticCurvePrivateKey | None = None

    def public_der(self) -> bytes:
        """The public half."""
        return (
            self._open()
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def sign(self, message: bytes) -> bytes:
        """The DER signature over SHA-256 of `message`."""
        return self._open().sign(message, ec.ECDSA(hashes.SHA256()))

    def _open(self) -> ec.EllipticCurvePrivateKey:
        if self._key is None:
            self._key = _load(self._fetch(), self._where, self._fix)
        return self._key


class KeyFolder:
    """Who signs with what: a private key by author in one folder, unless `given` has the author's signer.

    An author without a key gets one on first use. Its public half counts at once only when `may_trust` says
    so: when the trusted folder is this machine's own, not a project's.
    """

    def __init__(
        self,
        private: Path,
        trusted: Path,
        *,
        may_trust: bool,
        given: Mapping[str, Signer] | None = None,
    ) -> None:
        self._private = private
        self._trust = TrustFolder(trusted, may_add=may_trust)
        self._signers: dict[str, Signer] = dict(given or {})

    def fingerprint(self, author: str) -> str:
        """`SHA256:` and the base64 digest of the author's public key in DER form."""
        return render_fingerprint(self._open(author).public_der())

    def sign(self, author: str, message: bytes) -> str:
        """Base64 DER signature by the author over SHA-256 of `message`."""
        return base64.b64encode(self._open(author).sign(message)).decode()

    def distrust(self, author: str, fingerprint: str, signature: str, message: bytes) -> str:
        """Why the signature does not count, or ""."""
        return self._trust.distrust(author, fingerprint, signature, message)

    def trusted(self) -> Mapping[str, tuple[str, ...]]:
        """Fingerprints of the keys that count, by author."""
        return self._trust.fingerprints()

    def trusted_file(self, author: str) -> Path:
        """Where the author's trusted keys are, or would be."""
        return self._trust.path(author)

    def _open(self, author: str) -> Signer:
        if not is_author(author):
            raise UsageError(
                f"{author!r} cannot name a person in the ledger",
                fix="use letters, digits and . _ @ + -, at most 64 characters",
            )
        if author not in self._signers:
            path = self._private / f"{author}.pem"
            if not path.is_file():
                self._create_key(author, path)
            self._signers[author] = PemSigner(
                lambda: path.read_text("utf-8"), str(path), "replace it with one, or remove it"
            )
        signer = self._signers[author]
        self._trust.add(author, signer.public_der())
        return signer

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
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self._private / f"{author}.pub.pem").write_bytes(render_public_pem(public))


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
