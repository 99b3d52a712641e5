"""Which deployments a rollout puts on a real hub, and what becomes of those that are there."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.registry import RegistryClient
from edgeferry.domain.fleet import Fleet
from edgeferry.errors import UsageError
from edgeferry.ports import Services
from edgeferry.workflows.layers import choose_layer, find_placed, next_layer, render_all
from edgeferry.workflows.placing import collect_older, lay_ground, place_layer
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
