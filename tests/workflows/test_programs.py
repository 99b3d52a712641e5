"""Programs are released: ours once their image was seen to start, IoT Edge's agent by its digest."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.stage import EngineStage
from edgeferry.domain.device_class import DEVICE_CLASSES
from edgeferry.domain.edge_runtime import EdgeRuntime
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate_evidence import Weight, find_shutting
from edgeferry.domain.gate_policy import GatePolicy, parse_metric_rules
from edgeferry.domain.image import Image
from edgeferry.domain.model import DEVICE_AGENT
from edgeferry.engine import Engine
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services, show_nobody
from edgeferry.workflows.evidence import weigh_evidence
from edgeferry.workflows.layers import find_image, next_layer, render_all
from edgeferry.workflows.programs import carry_program, release_agent
from tests.hollows import ListedLedger

LIMITS = DEVICE_CLASSES["small"]


class OtherImages:
    """Images whose agent is another program."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def assemble_agent(self) -> Image:
        return self._image


def services(images: Any, registry: RegistryClient, engine_url: str, folder: Path) -> Services:
    nothing: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    stage = EngineStage(lambda: Engine(engine_url), folder)
    given = {"images": images, "registry": registry, "stage": stage, "now": time.time, "sleep": time.sleep}
    given["work"] = show_nobody
    return Services(**nothing | given)


@pytest.mark.engine
def test_the_agent_is_pushed_once(
    images: LayeredImages, registry: RegistryClient, engine_url: str, tmp_path: Path
) -> None:
    place = services(images, registry, engine_url, tmp_path)
    image, verification, uploaded = carry_program(place, DEVICE_AGENT, LIMITS)
    assert uploaded > 10_000_000
    assert registry.has(image.name, image.digest)
    assert verification.passed
    assert carry_program(place, DEVICE_AGENT, LIMITS) == (image, verification, 0)


@pytest.mark.engine
def test_a_program_that_is_no_agent_is_not_pushed(
    images: LayeredImages, registry: RegistryClient, engine_url: str, tmp_path: Path
) -> None:
    other = images.assemble_companion()
    with pytest.raises(RefusedError, match="does not start"):
        carry_program(services(OtherImages(other), registry, engine_url, tmp_path), DEVICE_AGENT, LIMITS)
    assert not registry.has(other.name, other.digest)


DIGEST = f"sha256:{'a' * 64}"
PINNED = f"mcr.microsoft.com/azureiotedge-agent:1.5.21@{DIGEST}"
IOT_EDGE = Fleet("tags.edgeferry = true", runtime=EdgeRuntime("iotedge"))


def listed() -> Any:
    nothing: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    registry = SimpleNamespace(host="r", reference=lambda name, digest: f"r/{name}@{digest}")
    given = {"ledger": ListedLedger(time.time), "registry": registry, "new_id": lambda: "ab" * 16}
    given["work"] = show_nobody
    return Services(**nothing | given)


def test_iot_edges_agent_is_released_once_by_its_digest() -> None:
    place = listed()
    entry, new = release_agent(place, IOT_EDGE, PINNED, "ann")
    assert (entry.subject, new) == ("agent-v1.5.21-aaaaaaaa", True)
    assert release_agent(place, IOT_EDGE, PINNED, "ann") == (entry, False)
    policy = GatePolicy(("verification", "metrics"), parse_metric_rules("r2 >= 0.5"))
    facts = weigh_evidence(place, entry, policy, condition="*", environment="")
    assert find_shutting(facts, policy) is None
    documents = render_all(place, entry, "tags.site = 'x'", IOT_EDGE, [])
    assert list(documents) == ["base", "pull", "layer"]
    content = documents["layer"]["content"]["modulesContent"]["$edgeAgent"]["properties.desired"]
    assert content["systemModules"]["edgeAgent"]["settings"]["image"] == PINNED
    assert documents["layer"]["priority"] == 1


@pytest.mark.parametrize(
    ("fleet", "image", "words"),
    [
        pytest.param(IOT_EDGE, "", "no image names no digest", id="none for IoT Edge"),
        pytest.param(IOT_EDGE, "mcr.microsoft.com/azureiotedge-agent:1.5", "names no digest", id="a tag"),
        pytest.param(Fleet("*"), PINNED, "run edgeferry's agent", id="IoT Edge's for our agents"),
    ],
)
def test_an_agents_image_that_is_not_released(fleet: Fleet, image: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        release_agent(listed(), fleet, image, "ann")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"model": "taxi", "cases_sha256": ""}, id="a model's"),
        pytest.param({"image": PINNED.replace("aaaa", "bbbb")}, id="of another digest"),
        pytest.param({"image": PINNED.partition("@")[0]}, id="a tag"),
    ],
)
def test_an_image_elsewhere_is_taken_for_an_agents_by_its_digest_only(changed: dict[str, str]) -> None:
    place = listed()
    released, _ = release_agent(place, IOT_EDGE, PINNED, "ann")
    entry = replace(released, body={**released.body, **changed})
    place.registry.has = lambda name, digest: False
    place.registry.attached = lambda name, digest, kind: []
    facts = weigh_evidence(place, entry, GatePolicy(), condition="*", environment="")
    worth = {one.kind: str(one.weight) for one in facts if one.kind in ("image", "verification")}
    assert worth == {"image": str(Weight.FAILED), "verification": str(Weight.NOT_AVAILABLE)}
    layer = next_layer(place, entry, "*", IOT_EDGE, [])
    assert find_image(place, entry, layer) == f"r/{entry.body['model']}@{DIGEST}"
