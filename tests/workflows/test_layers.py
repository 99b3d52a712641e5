"""Which deployments a rollout puts on a real hub, and what becomes of those that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.registry import RegistryClient
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.errors import HubError, RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.deployment import render_configuration
from edgeferry.workflows.begin import Rules
from edgeferry.workflows.layers import choose_layer, find_placed, next_layer, render_all
from edgeferry.workflows.placing import (
    await_previous,
    collect_older,
    find_layer,
    lay_ground,
    list_layers,
    place_layer,
    remove_layer,
    take_away,
)
from edgeferry.workflows.rollback import roll_back
from tests.iot_edge import AGENT, BODY, IOT_EDGE, RELEASE, documents, services
from tests.registries import RegistryServer

FLEET = "tags.edgeferry = true"
NO_ROLLOUTS = SimpleNamespace(all_entries=list)
NEWER = replace(RELEASE, subject="nyc_taxi-v2-abababab", body={**BODY, "version": "2"})


def apply(given: Services, release=RELEASE, runtime=AGENT, condition=FLEET, fleet: Fleet | None = None):
    fleet = fleet or Fleet(FLEET, runtime=runtime)
    layer = next_layer(given, release, condition, fleet, given.hub.configurations())
    lay_ground(given, release, fleet, ["device-1"])
    assert place_layer(given, release, layer, condition, fleet, still=lambda: True) == "created"
    return layer


@pytest.mark.parametrize("runtime", [AGENT, IOT_EDGE])
def test_a_rollout_creates_what_render_shows_but_for_the_login_itself(client: HubClient, runtime) -> None:
    shown = documents(runtime, FLEET)
    apply(services(hub=client), runtime=runtime)
    made = {one["id"]: one for one in client.configurations()}
    assert made.keys() == {one["id"] for one in shown.values()}
    for kind, one in shown.items():
        there = made[one["id"]]
        assert there["metrics"]["queries"] == one["metrics"]["queries"]
        for member in ("labels", "targetCondition", "priority", *(["content"] if kind != "pull" else [])):
            expected = one[member]
            found = there[member]
            if member == "content":
                found = {"modulesContent": found["modulesContent"]}
            assert found == expected, (kind, member)


def test_a_release_of_before_companions_were_released_is_to_be_made_again_for_a_fleet_without_one() -> None:
    old = replace(RELEASE, body={**BODY, "companion": {"digest": "sha256:" + "ef" * 32}})
    with pytest.raises(UsageError, match="names no release of a companion"):
        render_all(services(), old, FLEET, Fleet(FLEET), [])
    theirs = {"id": "edgeferry-companion-ef", "labels": {"edgeferry": "companion", "digest": "sha256:ef"}}
    assert list(render_all(services(), old, FLEET, Fleet(FLEET), [theirs])) == ["base", "layer"]


def test_a_layer_that_is_placed_again_stays_as_it_is(client: HubClient) -> None:
    given = services(hub=client)
    layer = apply(given)
    assert place_layer(given, RELEASE, layer, FLEET, Fleet(FLEET), still=lambda: True) == "unchanged"
    assert find_placed(client.configurations(), RELEASE, FLEET, Fleet(FLEET)) == layer
    assert find_placed(client.configurations(), RELEASE, "tags.site = 'a'", Fleet(FLEET)) is None


def test_a_wave_is_one_edit_of_the_condition_and_the_content_stays_whatever_renders_now(
    client: HubClient,
) -> None:
    given = services(hub=client)
    layer = apply(given, condition="tags.site = 'a'")
    before = client.configuration(layer.name)
    iot_edge = Fleet(FLEET, runtime=IOT_EDGE)
    assert place_layer(given, RELEASE, layer, FLEET, iot_edge, still=lambda: True) == "updated"
    after = client.configuration(layer.name)
    assert before is not None
    assert after is not None
    assert (after["content"], after["priority"]) == (before["content"], before["priority"])
    assert after["targetCondition"] == FLEET


def test_a_layer_is_found_by_its_name_and_one_that_is_gone_is_named(client: HubClient) -> None:
    given = services(hub=client)
    layer = apply(given)
    assert find_layer(given, layer.name) == layer
    take_away(given, layer, Fleet(FLEET))
    with pytest.raises(HubError, match=f"{layer.name} is not on the hub any more"):
        find_layer(given, layer.name)


def test_who_was_overtaken_touches_nothing(client: HubClient) -> None:
    given = services(hub=client)
    layer = apply(given, condition="tags.site = 'a'")
    fleet = Fleet(FLEET)
    assert place_layer(given, RELEASE, layer, FLEET, fleet, still=lambda: False) == "overtaken"

    def edited_meanwhile() -> bool:
        place_layer(given, RELEASE, layer, "tags.site = 'b'", fleet, still=lambda: True)
        return True

    assert place_layer(given, RELEASE, layer, FLEET, fleet, still=edited_meanwhile) == "overtaken"
    there = client.configuration(layer.name)
    assert there is not None
    assert there["targetCondition"] == "tags.site = 'b'"


def test_a_newer_release_stands_above_and_an_older_one_comes_again_as_a_layer_of_its_own(
    client: HubClient,
) -> None:
    nonces = iter(["first", "companion", "second", "third"])
    given = services(hub=client, new_id=lambda: next(nonces))
    first = apply(given)
    newer = apply(given, NEWER)
    assert newer.priority == first.priority + 1
    again = apply(given)
    assert (again.name, again.nonce) == (f"{first.name}-third", "third")
    assert again.priority == newer.priority + 1


def test_render_shows_the_place_above_what_is_there(client: HubClient) -> None:
    given = services(hub=client)
    layer = apply(given)
    shown = render_all(given, NEWER, FLEET, Fleet(FLEET, runtime=IOT_EDGE), client.configurations())
    assert shown["layer"]["priority"] == layer.priority + 1
    assert choose_layer(given, RELEASE, FLEET, Fleet(FLEET), client.configurations()) == layer


def test_environments_that_share_a_hub_leave_each_others_deployments_alone(client: HubClient) -> None:
    given = services(hub=client, sleep=lambda _: None)
    dev = Fleet(FLEET, environment="dev", only="tags.environment = 'dev'")
    prod = Fleet(FLEET, environment="prod", only="tags.environment = 'prod'")
    for fleet in (dev, prod):
        apply(given, condition=fleet.narrow(FLEET), fleet=fleet)
    made = {one["id"]: one for one in client.configurations()}
    assert sorted(made) == [
        "edgeferry-base-dev",
        "edgeferry-base-prod",
        "edgeferry-companion-v1_0-efefefef-dev",
        "edgeferry-companion-v1_0-efefefef-prod",
        "edgeferry-nyc_taxi-v1-abababab-dev",
        "edgeferry-nyc_taxi-v1-abababab-prod",
    ]
    assert {one["targetCondition"] for name, one in made.items() if name.endswith("-prod")} == {
        "(tags.edgeferry = true) AND (tags.environment = 'prod')"
    }
    placed = find_placed(list(made.values()), RELEASE, dev.narrow(FLEET), dev)
    assert placed is not None
    assert place_layer(given, RELEASE, placed, dev.narrow(FLEET), dev, still=lambda: True) == "unchanged"
    assert {name: one["etag"] for name, one in made.items()} == {
        one["id"]: one["etag"] for one in client.configurations()
    }


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        pytest.param("", ["may not delete from taxi/nyc_taxi"], id="a login that may not delete: said"),
        pytest.param("dev", [], id="an environment: others may run them, so they stay"),
    ],
)
def test_older_layers_go_and_a_registry_that_keeps_their_images_spoils_no_success(
    client: HubClient, registry_server: RegistryServer, environment: str, said: list[str]
) -> None:
    fleet = Fleet(FLEET, environment=environment)
    lines: list[str] = []
    puller = RegistryClient(
        registry_server.host, "taxi", "puller", registry_server.password, registry_server.ca_file
    )
    given = services(hub=client, registry=puller, say=lines.append, ledger=NO_ROLLOUTS)
    releases = [
        replace(
            RELEASE,
            subject=f"nyc_taxi-v{number}-abababab",
            body={**BODY, "version": str(number), "digest": f"sha256:{number:064x}"},
        )
        for number in range(1, 5)
    ]
    try:
        for release in releases:
            layer = apply(given, release, fleet=fleet)
        collect_older(given, layer, fleet)
    finally:
        puller.close()
    left = [one for one in client.configurations() if one["labels"]["edgeferry"] == "model"]
    assert sorted(one["labels"]["release"] for one in left) == [each.subject for each in releases[2:]]
    assert len(lines) == 2 * len(said)
    assert all(word in line for word in said for line in lines)


@pytest.mark.parametrize("is_model_there", [True, False], ids=["named by a release there", "named by none"])
def test_the_companion_that_a_model_would_bring_again_stays_in_the_registry(
    client: HubClient, is_model_there: bool
) -> None:
    fleet, removed, nonces = Fleet(FLEET), [], iter("abcdef")
    registry = SimpleNamespace(
        host="r",
        reference=lambda name, digest: f"r/{name}@{digest}",
        remove=lambda name, digest: removed.append((name, digest)),
    )
    ledger = SimpleNamespace(all_entries=list, entries=lambda kind: [RELEASE])
    given = services(hub=client, registry=registry, ledger=ledger, new_id=lambda: next(nonces))
    model = apply(given, fleet=fleet)
    [first] = [one for one in list_layers(given) if one.model == "companion"]
    if not is_model_there:
        take_away(given, model, fleet)
    for number in (2, 3):
        body = {"model": "companion", "version": str(number), "digest": f"sha256:{number:064x}"}
        newer = replace(RELEASE, subject=f"companion-v{number}-0", body={**body, "cases_sha256": ""})
        layer = apply(given, newer, fleet=fleet)
    collect_older(given, layer, fleet)
    assert first.name not in {one.name for one in list_layers(given)}
    assert removed == ([] if is_model_there else [("companion", first.digest)])


class Meanwhile:
    """A hub to which somebody else does something before the first act of that name."""

    def __init__(self, hub: HubClient, name: str, deed: Callable[[], object]) -> None:
        self._hub = hub
        self._name = name
        self._deeds = [deed]

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self._deeds:
            self._deeds.pop()()
        return getattr(self._hub, name)


def replaced(client: HubClient, name: str) -> None:
    """Somebody deletes a deployment and puts another in its place, labels and all."""
    found = client.configuration(name)
    assert found is not None
    client.delete_configuration(name)
    content = {"modulesContent": {"$edgeAgent": {"properties.desired.modules.debug": _SHELL}}}
    client.create_configuration({**found, "content": content})


_SHELL = {
    "version": "1",
    "type": "docker",
    "status": "running",
    "restartPolicy": "always",
    "settings": {"image": "shell:1", "createOptions": "{}"},
}


def test_a_deployment_that_has_taken_a_layers_name_is_neither_deleted_nor_edited(client: HubClient) -> None:
    given = services(hub=client)
    layer = apply(given, condition="tags.site = 'a'")
    replaced(client, layer.name)
    before = client.configuration(layer.name)
    with pytest.raises(RefusedError, match="somebody has put another in its place") as caught:
        take_away(given, layer, Fleet(FLEET))
    assert f"edgeferry deployments delete {layer.name}" in caught.value.fix
    with pytest.raises(RefusedError, match="somebody has put another in its place"):
        place_layer(given, RELEASE, layer, FLEET, Fleet(FLEET), still=lambda: True)
    assert client.configuration(layer.name) == before
    assert remove_layer(given, layer) == ""


def test_a_layer_that_changes_while_it_is_removed_is_looked_at_again(client: HubClient) -> None:
    said: list[str] = []
    layer = apply(services(hub=client), condition="tags.site = 'a'")

    def edit() -> None:
        place_layer(services(hub=client), RELEASE, layer, FLEET, Fleet(FLEET), still=lambda: True)

    hub = Meanwhile(client, "delete_configuration", edit)
    assert "was removed" in take_away(services(hub=hub, say=said.append), layer, Fleet(FLEET))
    assert client.configuration(layer.name) is None
    assert said == [f"{layer.name} was changed while it was being removed: it is read again"]
    layer = apply(services(hub=client), condition="tags.site = 'a'")
    edit()
    hub = Meanwhile(client, "delete_configuration", lambda: replaced(client, layer.name))
    with pytest.raises(RefusedError, match="another in its place"):
        take_away(services(hub=hub, say=said.append), layer, Fleet(FLEET))
    assert client.configuration(layer.name) is not None


def test_an_older_layer_that_changed_meanwhile_is_not_collected(client: HubClient) -> None:
    said: list[str] = []
    fleet = Fleet(FLEET, environment="dev")
    given = services(hub=client)
    releases = [replace(RELEASE, subject=f"nyc_taxi-v{number}-abababab") for number in range(1, 4)]
    first, _, newest = (apply(given, release, fleet=fleet) for release in releases)
    hub = Meanwhile(client, "configuration", lambda: replaced(client, first.name))
    given = services(hub=hub, say=said.append, ledger=NO_ROLLOUTS)
    collect_older(given, newest, fleet)
    there = client.configuration(first.name)
    assert there is not None
    assert "properties.desired.modules.debug" in there["content"]["modulesContent"]["$edgeAgent"]
    assert said == [
        f"{first.name} was changed since it was read, so it stays: the next rollout looks at it again"
    ]


def test_a_companion_of_before_they_were_released_is_not_gone_back_to_unmeasured(client: HubClient) -> None:
    for name, priority, labels in (
        ("edgeferry-companion-ef", 999, {"digest": "sha256:ef"}),
        ("edgeferry-companion-v2-abababab", 1000, {"model": "companion", "release": "companion-v2-abababab"}),
    ):
        module = {"properties.desired.modules.companion": {"settings": {"image": "r/companion"}}}
        content = {"$edgeAgent": module}
        client.create_configuration(
            render_configuration(name, content, FLEET, priority, {"edgeferry": "companion", **labels})
        )
    given = services(hub=client, ledger=NO_ROLLOUTS)
    fleet, there = Fleet(FLEET), client.configurations()
    rules = Rules({}, GatePolicy())
    with pytest.raises(RefusedError, match=r"edgeferry-companion-ef, .* is of no release"):
        roll_back(
            given, "companion", fleet=fleet, reason="", user="ann", rules=rules, on_change=lambda _: None
        )
    assert client.configurations() == there
    [top] = [layer for layer in list_layers(given) if layer.release]
    said = await_previous(given, top, FLEET, fleet, ["device-1"], 1.0, lambda _: None)
    assert said == ("edgeferry-companion-ef serves again, which is of no release and is not measured", None)


def test_who_is_so_slow_that_the_rollout_was_ended_takes_back_what_they_placed(client: HubClient) -> None:
    said: list[str] = []
    given = services(hub=client, say=said.append)
    fleet = Fleet(FLEET)
    layer = next_layer(given, RELEASE, FLEET, fleet, [])
    change = place_layer(given, RELEASE, layer, FLEET, fleet, still=lambda: True, over=lambda: True)
    assert (change, client.configurations()) == ("overtaken", [])
    layer = apply(given, condition="tags.site = 'a'")
    change = place_layer(given, RELEASE, layer, FLEET, fleet, still=lambda: True, over=lambda: True)
    there = client.configuration(layer.name)
    assert there is not None
    assert (change, there["targetCondition"]) == ("overtaken", "tags.site = 'a'")
    assert [line.partition(" while")[0] for line in said] == ["the rollout was ended"] * 2

    hub = Meanwhile(client, "update_configuration", lambda: client.delete_configuration(layer.name))
    change = place_layer(services(hub=hub), RELEASE, layer, FLEET, fleet, still=lambda: True)
    assert (change, client.configuration(layer.name)) == ("overtaken", None)
