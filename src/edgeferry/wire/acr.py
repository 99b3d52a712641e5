"""What is Azure Container Registry's own: hosts, roles, scope maps and the commands that make them.

Sources: "Azure Container Registry roles and permissions", "Create a token with repository-scoped permissions"
and the reference of `az acr` (Azure CLI 2.60), learn.microsoft.com.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgeferry.wire.registry_token import DELETE, PULL, PUSH

ROLES: Mapping[str, str] = {PULL: "AcrPull", PUSH: "AcrPush", DELETE: "AcrDelete"}
"""Right to the role that gives it for a whole registry; AcrPush gives pull as well."""
REPOSITORY_ROLES: Mapping[str, str] = {
    PULL: "Container Registry Repository Reader",
    PUSH: "Container Registry Repository Writer",
    DELETE: "Container Registry Repository Contributor",
}
"""The same where a registry's permission mode is "RBAC Registry + ABAC Repository Permissions"."""
SCOPE_MAP_ACTIONS: Mapping[str, str] = {PULL: "content/read", PUSH: "content/write", DELETE: "content/delete"}
"""Right to the action of a token's scope map that gives it."""
NO_USER = "00000000-0000-0000-0000-000000000000"
"""The user name beside which a refresh token stands as the password, as `docker login` takes it."""

_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|us)(?::[0-9]+)?", re.IGNORECASE)
_READS = "content/read metadata/read"


def is_azure(host: str) -> bool:
    """Whether that is a host name of Azure's: the public cloud, China's or the US government's."""
    return _HOST.fullmatch(host) is not None


def registry_name(host: str) -> str:
    """The resource's name, as `az acr` takes it. A login server may carry a hash after it; a name has no
    hyphen."""
    return host.partition(".")[0].partition("-")[0].lower()


def render_creation(host: str, name: str, repositories: Sequence[str]) -> tuple[str, ...]:
    """The commands that make a token which may pull from these repositories only."""
    registry = registry_name(host)
    maps = " ".join(f"--repository {each} {_READS}" for each in repositories)
    return (
        f"az acr scope-map create --name {name} --registry {registry} {maps}",
        f"az acr token create --name {name} --registry {registry} --scope-map {name}",
    )


def render_listing(host: str) -> tuple[str, ...]:
    """The command that lists the tokens."""
    return (f"az acr token list --registry {registry_name(host)} --output table",)


def render_deletion(host: str, name: str) -> tuple[str, ...]:
    """The commands that delete the token and its scope map."""
    registry = registry_name(host)
    return (
        f"az acr token delete --name {name} --registry {registry}",
        f"az acr scope-map delete --name {name} --registry {registry}",
    )


def render_regeneration(host: str, name: str) -> tuple[str, ...]:
    """The command that gives the token another first password."""
    return (f"az acr token credential generate --name {name} --registry {registry_name(host)} --password1",)
