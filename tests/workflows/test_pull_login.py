"""The login that IoT Edge's devices pull with, on a real hub: given, left alone, replaced."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import HubError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.workflows.layers import choose_layer
from edgeferry.workflows.placing import lay_ground, place_layer
from edgeferry.workflows.pull_login import apply_pull_login
from tests.iot_edge import ADDRESS, AGENT, IOT_EDGE, RELEASE, services

FLEET = Fleet("tags.edgeferry = true", runtime=IOT_EDGE)
FIRST = RegistryLogin(ADDRESS, "puller", "first-secret")
SECOND = RegistryLogin(ADDRESS, "puller", "second-secret")


def roll_out(given: Services, runtime: Any = IOT_EDGE) -> str:
    fleet = replace(FLEET, runtime=runtime)
    layer = choose_layer(given, RELEASE, FLEET.condition, fleet, given.hub.configurations())
    lay_ground(given, RELEASE, fleet, ["device-1"])
    return place_layer(given, RELEASE, layer, FLEET.condition, fleet, still=lambda: True)


def pull_layers(client: HubClient) -> list[Json]:
    return [one for one in client.configurations() if one["labels"]["edgeferry"] == "pull"]


def logins(client: HubClient) -> Json:
    twin = client.module_twin("device-1", "$edgeAgent") or {}
    said: Json = twin["properties"]["desired"]["runtime"]["settings"].get("registryCredentials", {})
    return said


def test_a_rollout_to_iot_edge_brings_the_login_and_one_to_our_agent_does_not(client: HubClient) -> None:
    assert roll_out(services(hub=client), AGENT) == "created"
    assert pull_layers(client) == []
    assert logins(client) == {}
    assert roll_out(services(hub=client)) == "unchanged"
    assert logins(client) == {
        "taxi_azurecr_io": {"address": ADDRESS, "username": "puller", "password": "pull-secret"}
    }
    [layer] = pull_layers(client)
    assert layer["id"] == "edgeferry-pull-taxi_azurecr_io-1"
    others = [one for one in client.configurations() if one["id"] != layer["id"]]
    assert "pull-secret" not in json.dumps(others)


def test_a_new_login_replaces_its_layer_and_nothing_else(client: HubClient) -> None:
    given = services(hub=client)
    roll_out(given, AGENT)
    assert apply_pull_login(given, FIRST, FLEET) == "created"
    before = {one["id"]: one["etag"] for one in client.configurations()}
    modules = client.module_twin("device-1", "$edgeAgent") or {}
    assert apply_pull_login(given, FIRST, FLEET) == "unchanged"
    assert {one["id"]: one["etag"] for one in client.configurations()} == before

    assert apply_pull_login(given, SECOND, FLEET) == "replaced"
    after = {one["id"]: one["etag"] for one in client.configurations()}
    assert before.keys() - after.keys() == {"edgeferry-pull-taxi_azurecr_io-1"}
    assert after.keys() - before.keys() == {"edgeferry-pull-taxi_azurecr_io-2"}
    assert all(after[name] == etag for name, etag in before.items() if name in after)
    assert logins(client)["taxi_azurecr_io"]["password"] == "second-secret"
    now = client.module_twin("device-1", "$edgeAgent") or {}
    assert now["properties"]["desired"]["modules"] == modules["properties"]["desired"]["modules"]


class Watched:
    """The hub, and what the device's login is after each call."""

    def __init__(self, client: HubClient) -> None:
        self.client = client
        self.seen: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            answer = getattr(self.client, name)(*arguments)
            self.seen.append(logins(self.client)["taxi_azurecr_io"]["password"])
            return answer

        return call


def test_while_a_login_is_replaced_the_device_always_has_one(client: HubClient) -> None:
    given = services(hub=client)
    roll_out(given, AGENT)
    apply_pull_login(given, FIRST, FLEET)
    watched = Watched(client)
    apply_pull_login(services(hub=watched), SECOND, FLEET)
    assert watched.seen == ["first-secret", *["second-secret"] * 3]


def test_what_an_interrupted_replacement_left_is_removed_by_the_next(client: HubClient) -> None:
    given = services(hub=client)
    apply_pull_login(given, FIRST, FLEET)
    left = pull_layers(client)[0]
    apply_pull_login(given, SECOND, FLEET)
    client.create_configuration({**left, "etag": "*"})
    assert len(pull_layers(client)) == 2
    assert apply_pull_login(given, SECOND, FLEET) == "unchanged"
    assert [one["id"] for one in pull_layers(client)] == ["edgeferry-pull-taxi_azurecr_io-2"]


def test_a_fleet_picked_otherwise_keeps_the_layer_and_its_login(client: HubClient) -> None:
    given = services(hub=client)
    apply_pull_login(given, FIRST, FLEET)
    assert apply_pull_login(given, FIRST, replace(FLEET, condition="tags.site = 'a'")) == "updated"
    [layer] = pull_layers(client)
    assert layer["targetCondition"] == "tags.site = 'a'"


def test_another_registrys_login_is_left_alone(client: HubClient) -> None:
    given = services(hub=client)
    apply_pull_login(given, RegistryLogin("other.azurecr.io", "u", "p"), FLEET)
    apply_pull_login(given, FIRST, FLEET)
    apply_pull_login(given, SECOND, FLEET)
    assert sorted(one["labels"]["registry"] for one in pull_layers(client)) == ["other.azurecr.io", ADDRESS]


def test_without_a_login_nothing_is_touched_and_that_is_said(client: HubClient) -> None:
    lines: list[str] = []
    assert apply_pull_login(services(hub=client, say=lines.append), None, FLEET) == "none"
    assert pull_layers(client) == []
    assert "registry.pull_username" in lines[0]


@pytest.mark.parametrize("login", [RegistryLogin(ADDRESS, "puller", ""), RegistryLogin(ADDRESS, "", "x")])
def test_half_a_login_is_refused(login: RegistryLogin) -> None:
    with pytest.raises(UsageError, match="one half") as caught:
        apply_pull_login(services(), login, FLEET)
    assert "PULL_PASSWORD" in caught.value.fix


def test_a_hub_that_repeats_what_it_was_sent_gives_no_password_away() -> None:
    def refuse(document: Json) -> Json:
        raise HubError(f"400: cannot take {json.dumps(document)}", fix="correct it", status=400)

    deaf = SimpleNamespace(configurations=list, create_configuration=refuse)
    with pytest.raises(HubError) as caught:
        apply_pull_login(services(hub=deaf), FIRST, FLEET)
    assert "first-secret" not in str(caught.value)
    assert "puller" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.status == 400
    assert "first-secret" not in repr(FIRST)
