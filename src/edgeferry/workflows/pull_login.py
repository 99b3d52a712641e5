"""Pull login: what IoT Edge's devices pull images with travels as a layer of its own, replaced alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.wire.pull_login import PullLayer, next_pull_layer, parse_pull_layer, render_pull_layer
from edgeferry.workflows.removal import collect

Change = Literal["created", "replaced", "updated", "unchanged", "none"]


def apply_pull_login(services: Services, login: RegistryLogin | None, fleet: Fleet) -> Change:
    """What became of the layer that gives the fleet `login`: a new login comes with a layer above the old
    one, which goes after it, so no device is without. No login: nothing is touched (`none`)."""
    if login is None:
        services.say("no registry.pull_username is set: devices must be able to pull without a login")
        return "none"
    if not login.username or not login.password:
        raise UsageError(
            "one half of the devices' pull login is missing",
            fix="set registry.pull_username and EDGEFERRY_REGISTRY__PULL_PASSWORD, or neither",
        )
    existing = [one for one in services.hub.configurations() if fleet.owns(one)]
    read = {one["id"]: one for one in existing}
    layers = pull_layers(existing, login.address)
    newest = max(layers, key=lambda layer: layer.priority, default=None)
    change: Change = "unchanged"
    if newest is None or newest.login != login:
        change = "replaced" if newest else "created"
        newest = next_pull_layer(login, fleet, layers)
        _send(services, newest, fleet, create=True)
    elif newest.target_condition != fleet.all_devices:
        change = "updated"
        newest = PullLayer(newest.name, login, fleet.all_devices, newest.priority)
        _send(services, newest, fleet, create=False)
    for older in layers:
        if older.name != newest.name:
            collect(services, read[older.name])
    return change


def pull_layers(existing: Iterable[Json], address: str) -> list[PullLayer]:
    """The hub's pull layers for that registry."""
    layers = map(parse_pull_layer, existing)
    return [layer for layer in layers if layer and layer.login.address == address]


def _send(services: Services, layer: PullLayer, fleet: Fleet, *, create: bool) -> None:
    """The layer is on the hub. A hub that repeats what it was sent tells nobody the password."""
    document = render_pull_layer(layer, fleet)
    try:
        if create:
            services.hub.create_configuration(document)
        else:
            services.hub.update_configuration(document)
    except HubError as error:
        raise HubError(
            error.problem.replace(layer.login.password, "********"),
            fix=error.fix,
            retryable=error.retryable,
            status=error.status,
        ) from None
