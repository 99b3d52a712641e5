"""Microsoft Entra as a login: one chain (`DefaultAzureCredential`) for hub, registry, vault and Azure ML.

In its order: a service principal by secret or certificate (`AZURE_*`), workload identity, managed identity,
`az login` and the other developers' tools. Which one answered is said once; no token is ever shown.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from edgeferry.errors import LoginError, UsageError
from edgeferry.surroundings import chosen_authority
from edgeferry.wire.entra import parse_claims, render_identity

HUB_SCOPE = "https://iothubs.azure.net/.default"
REGISTRY_SCOPE = "https://containerregistry.azure.net/.default"
_PUBLIC = r"microsoftonline\.(com|us)|chinacloudapi\.cn"
_FIX = "sign in with 'az login', or set AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret or certificate"


class EntraLogin:
    """Access tokens for Azure's services; signs in when it is first asked. It has azure-core's `get_token`,
    so Microsoft's clients take it as their credential."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._chain: Any = None
        self._said = False

    def token(self, scope: str) -> str:
        """A bearer token for `scope` that lasts a while; LoginError when no login of the chain works."""
        return str(self.get_token(scope).token)

    def identity(self, scope: str) -> str:
        """Who we are to that service, in words, for an error that asks for a role."""
        return render_identity(parse_claims(self.token(scope)))

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """azure-core's AccessToken: `token`, and `expires_on` in Unix seconds."""
        chain = self._open()
        from azure.core.exceptions import AzureError

        try:
            token = chain.get_token(*scopes, **options)
        except (AzureError, ValueError) as error:
            raise LoginError(_explain(error), fix=_FIX) from error
        if not self._said:
            self._said = True
            answered = getattr(chain, "_successful_credential", None)
            name = type(answered or chain).__name__
            self._say(f"signed in to Azure as {render_identity(parse_claims(token.token))} by {name}")
        return token

    def _open(self) -> Any:
        if self._chain is None:
            try:
                from azure.identity import DefaultAzureCredential
            except ImportError as error:
                raise missing_extra("azure-identity") from error
            # Only the public clouds' authorities can be looked up at Microsoft; one of our own choice is
            # trusted because we chose it (azure-identity, "disable_instance_discovery").
            own = bool(chosen_authority()) and not re.search(_PUBLIC, chosen_authority())
            logging.getLogger("azure.identity").setLevel(logging.ERROR)  # its warnings are in our error
            self._chain = DefaultAzureCredential(
                exclude_interactive_browser_credential=True,
                disable_instance_discovery=own,
                process_timeout=30,
            )
        return self._chain


def missing_extra(package: str) -> UsageError:
    """What to say where a library of the extra `azure` is not installed."""
    return UsageError(f"{package} is not installed", fix="pip install 'edgeferry[azure]'")


def _explain(error: Exception) -> str:
    """The chain's own account, one line: what each login said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Attempted") and "troubleshoot" not in line]
    return "no login to Azure works: " + "; ".join(told[:12])[:1500]
