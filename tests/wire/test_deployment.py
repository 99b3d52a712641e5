"""Deployments as the hub takes them, and read back."""

from __future__ import annotations

import json
from typing import Any

from edgeferry.domain import layering
from edgeferry.domain.device_class import SMALL
from edgeferry.domain.fleet import Fleet
from edgeferry.wire.deployment import (
    ModelLayer,
    model_layer_name,
    parse_model_layer,
    render_base,
    render_companion_layer,
    render_model_layer,
)
from edgeferry.wire.edge import parse_module

DIGEST = "sha256:" + "ab" * 32
FLEET = Fleet("*")
LAYER = ModelLayer(
    name=model_layer_name("nyc_taxi-v1-abababab", FLEET),
    model="nyc_taxi",
    release="nyc_taxi-v1-abababab",
    digest=DIGEST,
    cases_sha256="cd" * 32,
    nonce="n1",
    target_condition="tags.models.nyc_taxi = true",
    priority=1000,
)
COMPANION_LAYER = ModelLayer(
    "edgeferry-companion-v0_1_0-abababab", "companion", "companion-v0.1.0-abababab", DIGEST, "", "n2", "*", 1
)


def test_a_model_layer_adds_one_module_and_orders_its_smoke_test() -> None:
    content = render_model_layer(LAYER, f"r:5443/taxi/nyc_taxi@{DIGEST}", "1", FLEET)["content"][
        "modulesContent"
    ]
    assert set(content) == {"$edgeAgent", "companion"}
    module = content["$edgeAgent"]["properties.desired.modules.nyc_taxi"]
    assert module["settings"]["image"].endswith("@" + DIGEST)
    assert module["env"]["EDGEFERRY_DIGEST"] == {"value": DIGEST}
    assert content["companion"]["properties.desired.models.nyc_taxi"] == {
        "url": "http://nyc_taxi:8080",
        "digest": DIGEST,
        "version": "1",
        "cases_sha256": "cd" * 32,
        "nonce": "n1",
    }
    assert content["companion"]["properties.desired.captures.nyc_taxi"] == {"url": "http://nyc_taxi:8082"}


def test_a_models_captures_have_a_volume_and_a_port_that_is_not_published() -> None:
    content = render_model_layer(LAYER, f"r/x@{DIGEST}", "1", FLEET)["content"]["modulesContent"]
    spec = parse_module("nyc_taxi", content["$edgeAgent"]["properties.desired.modules.nyc_taxi"])
    host = spec.create_options["HostConfig"]
    assert host["Mounts"] == [
        {"Type": "volume", "Source": "nyc_taxi-captures", "Target": "/var/lib/edgeferry/captures"}
    ]
    assert list(host["PortBindings"]) == ["8080/tcp"]


def test_a_module_is_held_to_its_device_class() -> None:
    content = render_model_layer(LAYER, f"r/x@{DIGEST}", "1", FLEET)["content"]["modulesContent"]
    settings = content["$edgeAgent"]["properties.desired.modules.nyc_taxi"]["settings"]
    chunks = [text for key, text in sorted(settings.items()) if key.startswith("createOptions")]
    assert all(len(chunk) <= 512 for chunk in chunks)
    host = json.loads("".join(chunks))["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] == SMALL.memory_bytes


def test_a_layer_is_read_back_from_its_labels() -> None:
    assert parse_model_layer(render_model_layer(LAYER, f"r/x@{DIGEST}", "1", FLEET)) == LAYER
    assert (
        parse_model_layer(render_companion_layer(COMPANION_LAYER, f"r/c@{DIGEST}", FLEET)) == COMPANION_LAYER
    )


def test_a_companion_is_told_by_its_container_which_rollout_brought_it() -> None:
    content = render_companion_layer(COMPANION_LAYER, f"r/c@{DIGEST}", FLEET)["content"]["modulesContent"]
    assert list(content) == ["$edgeAgent"]
    module = content["$edgeAgent"]["properties.desired.modules.companion"]
    assert module["env"] == {"EDGEFERRY_NONCE": {"value": COMPANION_LAYER.nonce}}


def test_the_companion_of_an_earlier_edgeferry_is_one_too() -> None:
    labels = {"edgeferry": "companion", "digest": DIGEST}
    found = parse_model_layer({"id": "edgeferry-companion-abab", "labels": labels, "priority": 1})
    assert found is not None
    assert (found.model, found.digest, found.release, found.nonce) == ("companion", DIGEST, "", "")


def test_other_peoples_deployments_are_not_ours() -> None:
    assert parse_model_layer({"id": "x", "labels": None}) is None
    assert parse_model_layer(render_base(FLEET)) is None


def is_base(configuration: dict[str, Any]) -> bool:
    """What the hub makes of it."""
    return layering.is_base(configuration["content"].get("modulesContent", {}))


def test_only_the_base_is_a_base() -> None:
    assert is_base(render_base(Fleet("*")))
    assert not is_base(render_companion_layer(COMPANION_LAYER, f"r/c@{DIGEST}", FLEET))
    assert not is_base({"content": {"deviceContent": {}}})


def test_names_are_what_the_hub_allows() -> None:
    assert model_layer_name("companion-v0.1.0-abababab", FLEET) == "edgeferry-companion-v0_1_0-abababab"
    assert model_layer_name("nyc_taxi-v1-abababab", FLEET) == "edgeferry-nyc_taxi-v1-abababab"
