"""One suite for two places: the hub and the registry of this machine always, Azure's where they are named.

Only address and login differ. On Azure: EDGEFERRY_TEST_AZURE_HUB and EDGEFERRY_TEST_AZURE_REGISTRY (host
names), and a login of Microsoft Entra's chain with the roles of docs/how_to_setup.md.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from edgeferry.adapters.entra import REGISTRY_SCOPE, EntraLogin
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import EntraHubLogin, SharedKeyLogin
from edgeferry.adapters.registry import RegistryClient
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.image import Image
from edgeferry.errors import HubError
from edgeferry.wire.deployment import render_base
from edgeferry.wire.oci import Run, digest_of, render_config, render_manifest
from tests.azure.conftest import need
from tests.hubs import RunningHub, free_address

PLACES = [pytest.param("here", id="here"), pytest.param("azure", id="azure", marks=pytest.mark.azure)]
PATIENCE_S = 60
"""Azure's queries see a change after some seconds."""


@pytest.fixture(params=PLACES)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    """The service API of a hub."""
    if request.param == "azure":
        entra = EntraLogin(print)
        with closing(HubClient(EntraHubLogin(need("HUB")["HUB"], entra.token, entra.identity))) as client:
            yield client
        return
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    text = json.loads((running.state / "connection.json").read_text())["connection_string"]
    try:
        with closing(HubClient(SharedKeyLogin(lambda _: text, time.time), str(running.ca_file))) as client:
            yield client
    finally:
        running.stop()


@pytest.fixture
def device(hub: HubClient) -> Iterator[str]:
    """The name of a new edge device, gone afterwards."""
    name = f"edgeferry-test-{uuid.uuid4().hex[:8]}"
    hub.create_device(name, {"edgeferry_test": name})
    yield name
    assert hub.delete_devices([name]) == {name: "deleted"}


def eventually(look: Callable[[], Any], wanted: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_device_is_found_by_its_tags(hub: HubClient, device: str) -> None:
    assert hub.device_twin(device)["tags"]["edgeferry_test"] == device
    hub.patch_tags(device, {"models": {"nyc_taxi": True}})
    condition = f"tags.edgeferry_test = '{device}' AND tags.models.nyc_taxi = true"
    eventually(lambda: [twin["deviceId"] for twin in hub.devices(condition)], [device])
    hub.patch_tags(device, {"models": {"nyc_taxi": None}})
    eventually(lambda: hub.devices(condition), [])


def test_creating_a_device_again_gives_the_same_keys(hub: HubClient, device: str) -> None:
    first = hub.create_device(device, {})["authentication"]["symmetricKey"]
    assert hub.create_device(device, {})["authentication"]["symmetricKey"] == first


def test_a_deployment_is_created_changed_and_deleted(hub: HubClient, device: str) -> None:
    fleet = Fleet(f"tags.edgeferry_test = '{device}'", environment=device)
    document = render_base(fleet)
    hub.create_configuration(document)
    try:
        with pytest.raises(HubError) as caught:
            hub.create_configuration(document)
        assert caught.value.status == 409
        [there] = [one for one in hub.configurations() if fleet.owns(one)]
        assert there["content"]["modulesContent"] == document["content"]["modulesContent"]
        hub.update_configuration({**document, "priority": 7})
        [there] = [one for one in hub.configurations() if fleet.owns(one)]
        assert there["priority"] == 7
    finally:
        hub.delete_configuration(document["id"])
        hub.delete_configuration(document["id"])  # one that is gone is no error
    assert not [one for one in hub.configurations() if fleet.owns(one)]


def test_a_module_that_is_not_there_is_none_and_cannot_be_called(hub: HubClient, device: str) -> None:
    assert hub.module_twin(device, "absent") is None
    with pytest.raises(HubError) as caught:
        hub.call_module(device, "absent", "ping", {}, timeout_s=5)
    assert caught.value.status == 404


@pytest.fixture(params=PLACES)
def images(request: pytest.FixtureRequest) -> Iterator[RegistryClient]:
    """A client of a registry that may push."""
    prefix = "edgeferry-test"
    if request.param == "azure":
        entra = EntraLogin(print)
        host = need("REGISTRY")["REGISTRY"]
        opened = RegistryClient(host, prefix, aad_token=lambda: entra.token(REGISTRY_SCOPE))
    else:
        server = request.getfixturevalue("registry_server")
        opened = RegistryClient(server.host, prefix, "pusher", server.password, server.ca_file)
    with closing(opened):
        yield opened


def test_an_image_and_its_evidence_are_pushed_found_and_removed(images: RegistryClient) -> None:
    config = render_config("amd64", [], Run(("/server",), (), "1:1", ()), {"test": uuid.uuid4().hex})
    manifest = render_manifest(config, [])
    image = Image("nothing", "v1", digest_of(manifest), digest_of(config), manifest, config, (), {})
    kind = "application/vnd.edgeferry.test+json"
    assert not images.has(image.name, image.digest)
    assert images.push(image) > 0
    assert images.push(image) == 0
    images.attach(image.name, image.digest, kind, b'{"passed": true}')
    assert list(images.attached(image.name, image.digest, kind)) == [b'{"passed": true}']
    images.remove(image.name, image.digest)
    assert not images.has(image.name, image.digest)
