"""The registry login of IoT Edge devices, as a layered deployment of its own.

Format: `$edgeAgent` desired properties schema 1.1, `runtime.settings.registryCredentials.<name>`. The hub and
every targeted device's twin hold the login in plain text, so it must be able to pull and to do nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.wire.deployment import render_configuration

Json = dict[str, Any]

FIRST_PULL_PRIORITY = 500
"""Pull layers rise from here with each new login: above the base, whatever the models' layers are."""
USERNAME_PLACEHOLDER = "${REGISTRY_PULL_USERNAME}"
PASSWORD_PLACEHOLDER = "${REGISTRY_PULL_PASSWORD}"


@dataclass(frozen=True)
class PullLayer:
    """A pull layer on the hub; layers for one registry replace one another."""

    name: str
    login: RegistryLogin
    target_condition: str
    priority: int


def placeholder_login(address: str) -> RegistryLogin:
    """What stands in files in the login's place: the names that `envsubst` fills in."""
    return RegistryLogin(address, USERNAME_PLACEHOLDER, PASSWORD_PLACEHOLDER)


def next_pull_layer(login: RegistryLogin, fleet: Fleet, earlier: Sequence[PullLayer]) -> PullLayer:
    """The layer for `login` that wins over the `earlier` ones for the same registry."""
    priority = max([FIRST_PULL_PRIORITY - 1, *(layer.priority for layer in earlier)]) + 1
    name = f"edgeferry-pull-{login_name(login.address)}-{priority - FIRST_PULL_PRIORITY + 1}".lower()
    return PullLayer(name + fleet.suffix, login, fleet.all_devices, priority)


def render_pull_layer(layer: PullLayer, fleet: Fleet) -> Json:
    """The layered deployment."""
    login = layer.login
    path = f"properties.desired.runtime.settings.registryCredentials.{login_name(login.address)}"
    said = {"username": login.username, "password": login.password, "address": login.address}
    labels = {"edgeferry": "pull", "registry": login.address, **fleet.labels}
    return render_configuration(
        layer.name, {"$edgeAgent": {path: said}}, layer.target_condition, layer.priority, labels
    )


def parse_pull_layer(configuration: Mapping[str, Any]) -> PullLayer | None:
    """A deployment as a pull layer, when it is one of ours; a login that cannot be read is an empty one."""
    labels = configuration.get("labels") or {}
    if labels.get("edgeferry") != "pull":
        return None
    modules = (configuration.get("content") or {}).get("modulesContent") or {}
    said = next(iter((modules.get("$edgeAgent") or {}).values()), None)
    said = said if isinstance(said, Mapping) else {}
    return PullLayer(
        name=configuration["id"],
        login=RegistryLogin(
            labels.get("registry", ""), str(said.get("username", "")), str(said.get("password", ""))
        ),
        target_condition=configuration.get("targetCondition") or "",
        priority=int(configuration.get("priority") or 0),
    )


def login_name(address: str) -> str:
    """The registry's name in `registryCredentials`: a dot in it would be read as a step down the path."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", address)
