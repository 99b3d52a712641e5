"""Which deployments a rollout puts on a real hub, and what becomes of those that are there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.registry import RegistryClient
from edgeferry.domain.fleet import Fleet
from edgeferry.ports import Services
from edgeferry.workflows.layers import choose_layer, render_all
from edgeferry.workflows.rollout import apply_layers, collect_older
from tests.iot_edge import AGENT, BODY, IOT_EDGE, RELEASE, documents, services
from tests.registries import RegistryServer

FLEET = "tags.edgeferry = true"
NEWER = replace(RELEASE, subject="nyc_taxi-v2-abababab", body={**BODY, "version": "2"})


def apply(given: Services, release=RELEASE, runtime=AGENT, condition=FLEET):
    return apply_layers(given, release, condition, Fleet(FLEET, runtime=runtime), ["device-1"])


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


def test_the_same_again_changes_nothing_and_keeps_the_nonce(client: HubClient) -> None:
    nonces = iter(["first", "second"])
    given = services(hub=client, new_id=lambda: next(nonces))
    layer, change = apply(given)
    assert (change, layer.nonce) == ("created", "first")
    assert apply(given) == (layer, "unchanged")


def test_a_layer_for_other_devices_keeps_its_content_whatever_runtime_renders_now(client: HubClient) -> None:
    given = services(hub=client)
    first, _ = apply(given, runtime=AGENT)
    content = {one["id"]: one["content"] for one in client.configurations()}
    layer, change = apply(given, runtime=IOT_EDGE, condition="tags.site = 'a'")
    assert change == "updated"
    assert layer == replace(first, target_condition="tags.site = 'a'", priority=first.priority + 1)
    [there] = [one for one in client.configurations() if one["id"] == layer.name]
    assert there["content"] == content[layer.name]
    assert there["targetCondition"] == "tags.site = 'a'"


def test_a_newer_release_stands_above_and_an_older_one_rises_when_it_is_wanted_again(
    client: HubClient,
) -> None:
    given = services(hub=client)
    first, _ = apply(given)
    newer, change = apply(given, NEWER)
    assert (change, newer.priority) == ("created", first.priority + 1)
    again, change = apply(given, RELEASE)
    assert (change, again.priority, again.nonce) == ("updated", newer.priority + 1, first.nonce)


def test_render_shows_the_place_above_what_is_there(client: HubClient) -> None:
    given = services(hub=client)
    layer, _ = apply(given)
    shown = render_all(given, NEWER, FLEET, Fleet(FLEET, runtime=IOT_EDGE), client.configurations())
    assert shown["layer"]["priority"] == layer.priority + 1
    assert choose_layer(given, RELEASE, FLEET, Fleet(FLEET), client.configurations()) == layer


def test_environments_that_share_a_hub_leave_each_others_deployments_alone(client: HubClient) -> None:
    given = services(hub=client, sleep=lambda _: None)
    dev = Fleet(FLEET, environment="dev", only="tags.environment = 'dev'")
    prod = Fleet(FLEET, environment="prod", only="tags.environment = 'prod'")
    for fleet in (dev, prod):
        apply_layers(given, RELEASE, fleet.narrow(FLEET), fleet, ["device-1"])
    made = {one["id"]: one for one in client.configurations()}
    assert sorted(made) == [
        "edgeferry-base-dev",
        "edgeferry-base-prod",
        "edgeferry-companion-efefefefefef-dev",
        "edgeferry-companion-efefefefefef-prod",
        "edgeferry-nyc_taxi-v1-abababab-dev",
        "edgeferry-nyc_taxi-v1-abababab-prod",
    ]
    assert {one["targetCondition"] for name, one in made.items() if name.endswith("-prod")} == {
        "(tags.edgeferry = true) AND (tags.environment = 'prod')"
    }
    again, change = apply_layers(given, RELEASE, dev.narrow(FLEET), dev, ["device-1"])
    assert (change, again.priority) == ("unchanged", made["edgeferry-nyc_taxi-v1-abababab-dev"]["priority"])
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
    given = services(hub=client, registry=puller, say=lines.append)
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
            layer, _ = apply_layers(given, release, FLEET, fleet, ["device-1"])
        collect_older(given, layer, releases[-1], fleet)
    finally:
        puller.close()
    left = [one for one in client.configurations() if one["labels"]["edgeferry"] == "model"]
    assert sorted(one["labels"]["release"] for one in left) == [each.subject for each in releases[2:]]
    assert len(lines) == 2 * len(said)
    assert all(word in line for word in said for line in lines)
