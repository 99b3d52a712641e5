"""A key of Azure Key Vault that signs: `keyvault-key://VAULT/NAME`. It never leaves the vault.

Key Vault REST 7.4 (Get Key, Sign with ES256: SHA-256 over P-256, RFC 7518 section 3.4), through the pipeline
of Microsoft's own client, so that login, proxies and trusted authorities are those of `keyvault://` secrets.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from edgeferry.adapters.entra import missing_extra
from edgeferry.adapters.secrets import Login
from edgeferry.errors import LoginError, UsageError
from edgeferry.settings_table import KEY_REFERENCE

_REFERENCE = re.compile(re.escape(KEY_REFERENCE) + r"(?:([A-Za-z0-9.:-]+)/)?([A-Za-z0-9-]{1,127})")
_API = "7.4"
_ROLE = "Key Vault Crypto User"
_WHAT = "ledger.signing_key"
_HALF_BYTES = 32


class VaultSigner:
    """Implements the `Signer` port. The key's newest version is looked up once, and signs from then on."""

    def __init__(self, login: Login, reference: str, vault: str) -> None:
        match = _REFERENCE.fullmatch(reference)
        if not match or not (match[1] or vault):
            raise UsageError(
                f"{_WHAT} is {reference!r}, which names no key" if not match else f"{_WHAT}: no vault is set",
                fix=f"write {KEY_REFERENCE}VAULT/NAME",
            )
        self._login = login
        self._vault = match[1] or vault
        self._name = match[2]
        self._client: Any = None
        self._key: tuple[str, bytes] | None = None

    def public_der(self) -> bytes:
        """The public half of the key's newest version."""
        return self._open()[1]

    def sign(self, message: bytes) -> bytes:
        """The vault's signature, as DER."""
        version, _ = self._open()
        digest = base64.urlsafe_b64encode(hashlib.sha256(message).digest()).rstrip(b"=").decode()
        path = f"/keys/{self._name}/{version}/sign"
        answer = self._ask("POST", path, {"alg": "ES256", "value": digest})
        raw = _decode(answer.get("value"))
        if len(raw) != 2 * _HALF_BYTES:
            raise self._odd("the signature is no ES256 signature")
        halves = (int.from_bytes(raw[:_HALF_BYTES]), int.from_bytes(raw[_HALF_BYTES:]))
        return encode_dss_signature(*halves)

    def _open(self) -> tuple[str, bytes]:
        """(version, public half)."""
        if self._key is None:
            key = self._ask("GET", f"/keys/{self._name}/", None).get("key") or {}
            if key.get("kty") not in ("EC", "EC-HSM") or key.get("crv") != "P-256":
                raise UsageError(
                    f"{_WHAT}: key {self._name} of Key Vault {self._vault} is not an ECDSA P-256 key",
                    fix=self._create("NAME"),
                )
            numbers = (int.from_bytes(_decode(key.get("x"))), int.from_bytes(_decode(key.get("y"))))
            try:
                public = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
            except ValueError as error:
                raise self._odd("its point is not on the curve") from error
            der = public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            self._key = str(key.get("kid") or "").rpartition("/")[2], der
        return self._key

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        client = self._connect()
        from azure.core.exceptions import AzureError
        from azure.core.rest import HttpRequest

        try:
            answer = client.send_request(HttpRequest(method, f"{path}?api-version={_API}", json=body))
            document = answer.json()
        except (AzureError, ValueError) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise LoginError(
                f"{_WHAT}: Key Vault {self._vault} did not answer: {first}",
                fix="check the vault's name, the network, and that its firewall lets this machine in",
                retryable=True,
            ) from error
        if answer.status_code == 200 and isinstance(document, dict):
            return document
        raise self._refused(answer.status_code, document)

    def _refused(self, status: int, document: Any) -> LoginError:
        said = document.get("error") if isinstance(document, dict) else None
        text = str(said.get("message") if isinstance(said, dict) else "") or f"it answered {status}"
        if status == 404:
            return LoginError(
                f"{_WHAT}: Key Vault {self._vault} has no key {self._name}",
                fix=self._create(self._name),
            )
        if status in (401, 403):
            who = self._login.identity("https://vault.azure.net/.default")
            return LoginError(
                f"{_WHAT}: {who} may not sign with key {self._name} of Key Vault {self._vault}: role "
                f"'{_ROLE}' is missing, or the key is disabled or expired: {text}",
                fix=f"az role assignment create --role '{_ROLE}' --assignee ID --scope ID_OF_{self._vault}",
            )
        retryable = status == 429 or status >= 500
        return LoginError(
            f"{_WHAT}: Key Vault {self._vault} refused: {text}",
            fix="try again in a moment" if retryable else "correct the key as the vault says",
            retryable=retryable,
        )

    def _create(self, name: str) -> str:
        return f"az keyvault key create --vault-name {self._vault} --name {name} --kty EC --curve P-256"

    def _odd(self, why: str) -> LoginError:
        return LoginError(
            f"{_WHAT}: the answer of Key Vault {self._vault} cannot be used: {why}",
            fix=f"name a Key Vault: {KEY_REFERENCE}VAULT/NAME",
        )

    def _connect(self) -> Any:
        if self._client is None:
            try:
                from azure.keyvault.secrets import SecretClient
            except ImportError as error:
                raise missing_extra("azure-keyvault-secrets") from error
            host = self._vault if "." in self._vault else f"{self._vault}.vault.azure.net"
            self._client = SecretClient(f"https://{host}", self._login)
        return self._client


def _decode(text: Any) -> bytes:
    """base64url without its padding; b"" for what is none."""
    if not isinstance(text, str):
        return b""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
