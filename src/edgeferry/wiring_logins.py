"""Who signs in where: settings with the secrets that they refer to, and the logins made of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeferry.adapters.entra import EntraLogin
from edgeferry.adapters.secrets import VaultSecrets
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import UsageError
from edgeferry.ports import Signer
from edgeferry.settings import Settings
from edgeferry.settings_table import KEY_REFERENCE
from edgeferry.wire.connection import azure_hub_name

if TYPE_CHECKING:
    from edgeferry.adapters.hub_login import HubLogin


class Values:
    """The settings, with what refers to a secret fetched when it is needed."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.entra = EntraLogin(say)
        self._secrets = VaultSecrets(self.entra, settings["vault.name"], time.monotonic, say)

    def get(self, name: str, *, afresh: bool = False) -> str:
        """The value; `afresh` asks the vault again."""
        return self._secrets.fetch(self.settings[name], name, afresh=afresh)

    def login(self, *, afresh: bool = False) -> tuple[str, str]:
        """User name and password at the registry."""
        return (
            self.get("registry.username", afresh=afresh),
            self.get("registry.password", afresh=afresh),
        )

    def seconds(self, name: str) -> float:
        """The value as a positive number of seconds; UsageError when it is none."""
        return self.settings.seconds(name)

    def count(self, name: str, *, none: str = "") -> int:
        """The value as a positive whole number, or 0 when it is `none`; UsageError when it is neither."""
        value = self.get(name)
        if value == none:
            return 0
        if not value.isdigit() or int(value) == 0:
            raise UsageError(f"{name} is {value!r}: not a number of things", fix="give a number, e.g. 1")
        return int(value)

    def need(self, name: str) -> str:
        """The value; UsageError that says how to set it when it is empty."""
        self.settings.need(name)
        return self.get(name)


def hub_login(values: Values) -> HubLogin:
    """By connection string where there is one, else Microsoft Entra at `hub.host`. UsageError when the two
    name different hubs, or Entra's token would go to a hub that is not Azure's."""
    from edgeferry.adapters.hub_login import EntraHubLogin, SharedKeyLogin

    host = values.get("hub.host")
    if host and not values.get("hub.connection_string"):
        if not azure_hub_name(host):
            raise UsageError(
                f"hub.host is {host}, which is no hub of Azure's, and there is no connection string for it",
                fix="write NAME.azure-devices.net, or set EDGEFERRY_HUB__CONNECTION_STRING; nothing was sent",
            )
        return EntraHubLogin(host, values.entra.token, values.entra.identity)
    values.need("hub.connection_string")
    login = SharedKeyLogin(lambda afresh: values.get("hub.connection_string", afresh=afresh), time.time)
    if host and host != login.host:
        raise UsageError(
            f"hub.connection_string is for {login.host}, and hub.host is {host}",
            fix="set the connection string of that hub, or unset one of the two; nothing was sent",
        )
    return login


def pull_login(values: Values) -> RegistryLogin | None:
    """The login that IoT Edge's devices pull with; None when neither half of it is set."""
    username, password = values.get("registry.pull_username"), values.get("registry.pull_password")
    return RegistryLogin(values.need("registry.host"), username, password) if username or password else None


def make_signer(values: Values) -> Signer:
    """The key that the setting gives, or the address of which it gives."""
    name = "ledger.signing_key"
    if values.settings[name].startswith(KEY_REFERENCE):
        from edgeferry.adapters.vault_signer import VaultSigner

        return VaultSigner(values.entra, values.settings[name], values.settings["vault.name"])
    from edgeferry.adapters.signer import PemSigner

    return PemSigner(lambda: values.get(name), name, "set it to the text of one, PEM")
