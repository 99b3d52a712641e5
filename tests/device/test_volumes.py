"""Volumes: a module's data outlives its container, and goes with its device."""

import pytest

from edgeferry.domain.fleet import Fleet
from edgeferry.wire.deployment import ModelLayer, render_model_layer
from edgeferry.wire.edge import parse_module
from tests.device.conftest import wait_until
from tests.device.test_agent import world  # noqa: F401
from tests.device.worlds import FOREVER, taxi

pytestmark = pytest.mark.engine

FOLDER = "/var/lib/edgeferry/captures"
SCRIPT = f"echo $HOSTNAME >> {FOLDER}/starts; cat {FOLDER}/starts; {FOREVER}"


def mounts():
    """The host configuration that a model's own layer asks for."""
    layer = ModelLayer("l", "taxi", "r", "sha256:aa", "bb", "n", "*", 1000)
    content = render_model_layer(layer, "r/taxi@sha256:aa", "1", Fleet("*"))["content"]["modulesContent"]
    spec = parse_module("taxi", content["$edgeAgent"]["properties.desired.modules.taxi"])
    return {"Mounts": spec.create_options["HostConfig"]["Mounts"]}


def test_captures_outlive_their_container_and_go_with_the_device(world):  # noqa: F811
    options = {"HostConfig": mounts()}
    volume = f"edgeferry.{world.sandbox}.{world.device}.taxi-captures"
    world.start()
    world.settle(world.want(taxi(world.images[0], SCRIPT, create_options=options)))
    first = wait_until(lambda: starts(world, 1))
    world.settle(world.want(taxi(world.images[1], SCRIPT, create_options=options)))
    second = wait_until(lambda: starts(world, 2))
    assert second[0] == first[0] != second[1]
    assert world.engine.volumes(volume) == [volume]
    world.stop()
    world.wipe()
    assert world.engine.volumes(volume) == []


def starts(world, count):  # noqa: F811
    """The containers that wrote to the volume, once there are that many."""
    container = world.container()
    lines = world.engine.logs(container.id).split() if container else []
    return lines if len(lines) == count else None
