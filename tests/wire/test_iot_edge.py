"""Everything we put on a hub, against Microsoft's own schemas of it.

Schema version 1.1 of `$edgeAgent` applies, 1.1 or (its `schemaVersion` changed) 1.2 of `$edgeHub`, and the
whole-deployment schemas that hold those. Those of version 1.0 know no startup order and no chunks. No schema
describes layers: they are checked by what they make of a device together with the base.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import referencing

from edgeferry.domain.edge_runtime import EdgeRuntime
from edgeferry.domain.layering import find_content_fault
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.wire.edge import parse_desired
from tests.iot_edge import (
    AGENT,
    DIGEST,
    IOT_EDGE,
    RUNTIMES,
    content,
    documents,
    fill_template,
    find_shared,
    merged,
)

AGENT_SCHEMAS = (
    "azure-iot-edgeagent-deployment-1.1",
    "schemastore-azure-iot-edgeagent-deployment-1.1",
)
HUB_SCHEMAS = {
    "1.1": ("azure-iot-edgehub-deployment-1.1", "schemastore-azure-iot-edgehub-deployment-1.1"),
    "1.2": ("azure-iot-edgehub-deployment-1.2", "schemastore-azure-iot-edgehub-deployment-1.2"),
}
WHOLE_SCHEMAS = {
    "1.1": (
        "schemastore-azure-iot-edge-deployment-2.0",
        "schemastore-azure-iot-edge-deployment-template-2.0",
        "schemastore-azure-iot-edge-deployment-template-3.0",
    ),
    "1.2": ("schemastore-azure-iot-edge-deployment-template-4.0",),
}
Json = dict[str, Any]


def read(name: str) -> Json:
    document: Json = json.loads(find_shared(f"schemas/{name}.json").read_text())
    return document


def retrieve(uri: str) -> Any:
    """A schema that another names by its public address, from where we have it."""
    name = uri.rpartition("/")[2].removesuffix(".json")
    return referencing.Resource.from_contents(read(f"schemastore-{name}"))


def find_errors(schema: str, document: Json) -> list[str]:
    said = read(schema)
    validator = jsonschema.validators.validator_for(said)
    registry = referencing.Registry(retrieve=retrieve)
    return [error.message for error in validator(said, registry=registry).iter_errors(document)]


def errors_by_schema(deployment: Json) -> dict[str, list[str]]:
    """What each fitting schema has against a complete deployment."""
    modules = deployment["modulesContent"]
    version = modules["$edgeHub"]["properties.desired"]["schemaVersion"]
    parts = {
        **{key: {"$edgeAgent": modules["$edgeAgent"]} for key in AGENT_SCHEMAS},
        **{key: {"$edgeHub": modules["$edgeHub"]} for key in HUB_SCHEMAS[version]},
        **dict.fromkeys(WHOLE_SCHEMAS[version], deployment),
    }
    return {schema: find_errors(schema, part) for schema, part in parts.items()}


def with_hub_version(deployment: Json, version: str) -> Json:
    changed = copy.deepcopy(deployment)
    changed["modulesContent"]["$edgeHub"]["properties.desired"]["schemaVersion"] = version
    return changed


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_base_alone_is_valid(runtime: EdgeRuntime, version: str) -> None:
    base = with_hub_version({"modulesContent": content(documents(runtime)["base"])}, version)
    found = errors_by_schema(base)
    assert {schema: errors for schema, errors in found.items() if errors} == {}
    assert len(found) >= 5


@pytest.mark.parametrize("version", ["1.1", "1.2"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_base_and_layers_make_of_a_device_is_valid(runtime: EdgeRuntime, version: str) -> None:
    whole = with_hub_version(merged(runtime), version)
    assert set(whole["modulesContent"]) == {"$edgeAgent", "$edgeHub", "companion"}
    agent = whole["modulesContent"]["$edgeAgent"]["properties.desired"]
    assert set(agent["modules"]) == {"companion", "nyc_taxi"}
    assert ("registryCredentials" in agent["runtime"]["settings"]) == (runtime.kind == "iotedge")
    assert {schema: errors for schema, errors in errors_by_schema(whole).items() if errors} == {}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_layer_keeps_to_paths_and_to_a_twins_limits(runtime: EdgeRuntime) -> None:
    found = {kind: find_content_fault(content(one)) for kind, one in documents(runtime).items()}
    assert {kind: fault for kind, fault in found.items() if fault} == {}
    for kind, one in documents(runtime).items():
        assert ("properties.desired" in content(one)["$edgeAgent"]) == (kind == "base")


def agent_of(deployment: Json) -> Json:
    said: Json = deployment["modulesContent"]["$edgeAgent"]["properties.desired"]
    return said


def hub_of(deployment: Json) -> Json:
    said: Json = deployment["modulesContent"]["$edgeHub"]["properties.desired"]
    return said


def taxi_of(deployment: Json) -> Json:
    said: Json = agent_of(deployment)["modules"]["nyc_taxi"]
    return said


IN_AGENT: list[tuple[str, Callable[[Json], Any]]] = [
    ("another schema version", lambda d: agent_of(d).update(schemaVersion="2.0")),
    ("no runtime", lambda d: agent_of(d).pop("runtime")),
    ("no edgeHub", lambda d: agent_of(d)["systemModules"].pop("edgeHub")),
    ("an edgeHub that is not said to run", lambda d: agent_of(d)["systemModules"]["edgeHub"].pop("status")),
    ("a module without image", lambda d: taxi_of(d)["settings"].pop("image")),
    ("a module without status", lambda d: taxi_of(d).pop("status")),
    ("an unknown restart policy", lambda d: taxi_of(d).update(restartPolicy="sometimes")),
    ("an unknown pull policy", lambda d: taxi_of(d).update(imagePullPolicy="always")),
    ("a startup order below zero", lambda d: taxi_of(d).update(startupOrder=-1)),
    ("a bare environment value", lambda d: taxi_of(d).update(env={"A": "1"})),
    (
        "a login without address",
        lambda d: agent_of(d)["runtime"]["settings"]["registryCredentials"]["taxi_azurecr_io"].pop("address"),
    ),
]
IN_HUB: list[tuple[str, Callable[[Json], Any]]] = [
    ("no routes", lambda d: hub_of(d).pop("routes")),
    ("an empty route", lambda d: hub_of(d)["routes"].update(upstream="")),
    ("a route of too low a priority", lambda d: hub_of(d)["routes"]["upstream"].update(priority=10)),
    (
        "a time to live in words",
        lambda d: hub_of(d).update(storeAndForwardConfiguration={"timeToLiveSecs": "2h"}),
    ),
]
STRICT: list[tuple[str, Callable[[Json], Any]]] = [
    ("a member of the hub's own", lambda d: taxi_of(d).update(configuration={"id": "x"})),
    ("createOptions as an object", lambda d: taxi_of(d)["settings"].update(createOptions={})),
    ("a chunk of another name", lambda d: taxi_of(d)["settings"].update(createOptionsA="x")),
    (
        "a login's name with a dot",
        lambda d: agent_of(d)["runtime"]["settings"].update(registryCredentials={"a.b": {}}),
    ),
]


def refused_by(spoil: Callable[[Json], Any], version: str) -> set[str]:
    whole = with_hub_version(merged(IOT_EDGE), version)
    spoil(whole)
    return {schema for schema, errors in errors_by_schema(whole).items() if errors}


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in IN_AGENT])
def test_a_fault_in_edge_agents_part_is_seen(spoil: Callable[[Json], Any]) -> None:
    assert refused_by(spoil, "1.1") >= set(AGENT_SCHEMAS)


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in IN_HUB])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_a_fault_in_edge_hubs_part_is_seen(spoil: Callable[[Json], Any], version: str) -> None:
    assert refused_by(spoil, version) >= {*HUB_SCHEMAS[version], *WHOLE_SCHEMAS[version]}


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in STRICT])
def test_the_strict_schemas_see_what_a_device_might_forgive(spoil: Callable[[Json], Any]) -> None:
    assert refused_by(spoil, "1.1") >= {*AGENT_SCHEMAS, "schemastore-azure-iot-edge-deployment-2.0"}


def test_each_schema_of_a_whole_deployment_sees_a_missing_runtime() -> None:
    for version, schemas in WHOLE_SCHEMAS.items():
        assert refused_by(IN_AGENT[1][1], version) >= set(schemas)


def test_iot_edge_gets_its_system_modules_a_route_and_a_health_check() -> None:
    whole = merged(IOT_EDGE)["modulesContent"]
    manifest = parse_desired(whole["$edgeAgent"]["properties.desired"])
    assert {name: spec.image for name, spec in manifest.system_modules.items()} == {
        "edgeAgent": "mcr.microsoft.com/azureiotedge-agent:1.5",
        "edgeHub": "mcr.microsoft.com/azureiotedge-hub:1.5",
    }
    for spec in manifest.system_modules.values():
        assert spec.create_options["HostConfig"]["LogConfig"]["Config"]["max-size"] == "10m"
    hub = whole["$edgeHub"]["properties.desired"]
    assert hub["routes"]["upstream"]["route"] == "FROM /messages/* INTO $upstream"
    assert hub["storeAndForwardConfiguration"] == {"timeToLiveSecs": 7200}
    health = manifest.modules["nyc_taxi"].create_options["Healthcheck"]
    assert health["Test"][-1].count("http://127.0.0.1:8080/health") == 1
    assert manifest.registries == (
        RegistryLogin("taxi.azurecr.io", "${REGISTRY_PULL_USERNAME}", "${REGISTRY_PULL_PASSWORD}"),
    )


def test_the_system_modules_images_can_be_others() -> None:
    own = EdgeRuntime("iotedge", agent_image="r/agent@" + DIGEST, hub_image="r/hub@" + DIGEST)
    manifest = parse_desired(content(documents(own)["base"])["$edgeAgent"]["properties.desired"])
    assert [spec.image for spec in manifest.system_modules.values()] == [own.agent_image, own.hub_image]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_modules_are_named_by_digest_and_start_in_order(runtime: EdgeRuntime) -> None:
    manifest = parse_desired(agent_of(merged(runtime)))
    assert all("@sha256:" in spec.image for spec in manifest.modules.values())
    assert {name: spec.startup_order for name, spec in manifest.modules.items()} == {
        "companion": 1,
        "nyc_taxi": 10,
    }
    assert {spec.restart_policy for spec in manifest.modules.values()} == {"always"}


def test_our_own_agent_gets_no_login_and_no_health_check() -> None:
    assert list(documents(AGENT)) == ["base", "companion", "layer"]
    assert "Healthcheck" not in json.dumps(documents(AGENT))


def test_the_references_template_is_what_we_take_it_for() -> None:
    template = fill_template()
    assert template["$schema-template"] == "2.0.0"
    assert "${" not in json.dumps(template)
    assert find_content_fault(template["modulesContent"]) is None
