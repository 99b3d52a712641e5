"""Secrets by reference: `keyvault://VAULT/NAME` is the newest version of that secret of Azure Key Vault.

Kept in this process's memory only, and for minutes only: a rotated secret is taken without a restart, at once
when the old one was refused. `VAULT` is a vault's name, or its host name on another cloud.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from edgeferry.adapters.entra import missing_extra
from edgeferry.errors import LoginError, UsageError
from edgeferry.settings_table import REFERENCE

KEPT_S = 300.0
_REFERENCE = re.compile(re.escape(REFERENCE) + r"(?:([A-Za-z0-9.:-]+)/)?([A-Za-z0-9-]{1,127})")
_ROLE = "Key Vault Secrets User"


class Login(Protocol):
    """What Microsoft's clients take as a credential, and who it is."""

    def get_token(self, *scopes: str, **options: Any) -> Any: ...

    def identity(self, scope: str) -> str: ...


class VaultSecrets:
    """Secrets of Key Vaults, by reference."""

    def __init__(
        self, login: Login, vault: str, now: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._login = login
        self._vault = vault
        self._now = now
        self._say = say
        self._clients: dict[str, Any] = {}
        self._kept: dict[str, tuple[str, float]] = {}

    def fetch(self, text: str, what: str, *, afresh: bool = False) -> str:
        """`text` itself, or the secret it refers to; `what` names the setting in an error. `afresh` asks the
        vault again. UsageError for a bad reference, LoginError when the vault gives nothing."""
        if not text.startswith(REFERENCE):
            return text
        value, until = self._kept.get(text, ("", 0.0))
        if afresh or self._now() >= until:
            vault, name = self._place(text, what)
            value = self._ask(vault, name, what)
            if text not in self._kept:
                self._say(f"{what}: secret {name} of Key Vault {vault}")
            self._kept[text] = (value, self._now() + KEPT_S)
        return value

    def _place(self, reference: str, what: str) -> tuple[str, str]:
        match = _REFERENCE.fullmatch(reference)
        if not match:
            raise UsageError(
                f"{what} is {reference!r}, which names no secret", fix=f"write {REFERENCE}VAULT/NAME"
            )
        vault = match[1] or self._vault
        if not vault:
            raise UsageError(
                f"{what} is {reference!r}, and no vault is set",
                fix=f"set vault.name, or write {REFERENCE}VAULT/{match[2]}",
            )
        return vault, match[2]

    def _ask(self, vault: str, name: str, what: str) -> str:
        client = self._client(vault)
        from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

        try:
            secret = client.get_secret(name)
        except ResourceNotFoundError as error:
            raise LoginError(
                f"{what}: Key Vault {vault} has no secret {name}",
                fix=f"az keyvault secret set --vault-name {vault} --name {name} --value …",
            ) from error
        except HttpResponseError as error:
            if error.status_code == 403:
                who = self._login.identity("https://vault.azure.net/.default")
                raise LoginError(
                    f"{what}: {who} may not read secrets of Key Vault {vault}: role '{_ROLE}' is missing, "
                    f"or the secret {name} is disabled or expired",
                    fix=f"az role assignment create --role '{_ROLE}' --assignee ID --scope ID_OF_{vault}",
                ) from error
            raise _silent(vault, what, error) from error
        except (AzureError, ValueError) as error:
            raise _silent(vault, what, error) from error
        if not secret.value:
            raise LoginError(f"{what}: secret {name} of Key Vault {vault} is empty", fix="set it again")
        return str(secret.value)

    def _client(self, vault: str) -> Any:
        if vault not in self._clients:
            try:
                from azure.keyvault.secrets import SecretClient
            except ImportError as error:
                raise missing_extra("azure-keyvault-secrets") from error
            host = vault if "." in vault else f"{vault}.vault.azure.net"
            self._clients[vault] = SecretClient(f"https://{host}", self._login)
        return self._clients[vault]


def _silent(vault: str, what: str, error: Exception) -> LoginError:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return LoginError(
        f"{what}: Key Vault {vault} did not answer: {first}",
        fix="check vault.name, the network, and that the vault's firewall lets this machine in",
        retryable=True,
    )
