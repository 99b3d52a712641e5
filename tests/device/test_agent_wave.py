"""A release of the agent, rolled out to a device whose agent is a container: it changes, or stays."""

import time

import pytest

from edgeferry.domain.rollout import State
from tests.device.agents import AgentImages, Boxed
from tests.device.worlds import World
from tests.engines import LOGIN, RunningRegistry
from tests.hollows import ListedLedger, layers_of, open_services, roll, rules, say_yes

pytestmark = pytest.mark.engine

BY = rules(timeout_s="120")


@pytest.fixture
def boxed(hub, images, engine, tmp_path, tmp_path_factory):
    """A device whose agent runs as a container, and the images of others."""
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    agents = AgentImages(images.assemble_agent(), registry)
    world = World(hub, registry, engine, tmp_path / "state", [])
    world.enrol()
    hub.ask("PATCH", f"/twins/{world.device}", {"tags": {"edgeferry": True, "only": world.device}})
    boxed = Boxed(world)
    try:
        yield boxed, agents
    finally:
        boxed.close()
        world.close()
        registry.stop()


def test_an_agent_is_rolled_out_and_goes_back_by_itself_or_when_nobody_wants_it(boxed, tmp_path) -> None:
    boxed, agents = boxed
    first, good, bad = agents.push(), agents.push(), agents.push("raise SystemExit('no hands')")
    boxed.start(first)
    services = open_services(boxed.world.hub.state, tmp_path, print)
    services.ledger = ListedLedger(time.time)
    condition = f"tags.only = '{boxed.world.device}'"

    def ship(version: int, image: str):
        digest = image.partition("@")[2]
        body = {
            "model": "agent",
            "version": str(version),
            "image": image,
            "digest": digest,
            "config_digest": agents.configs[image],
            "cases_sha256": "",
        }
        entry = services.ledger.append("release", f"agent-v{version}-{digest[7:15]}", body, "ann")
        say_yes(services, entry, BY, condition)
        return roll(services, entry, BY, condition)

    try:
        result = ship(1, bad)
        assert (result.state, "went back to what it had" in result.reason) == (State.FAILED, True)
        assert "ended by itself: no hands" in result.reason
        assert layers_of(services, "agent") == []
        boxed.settle(first)
        result = ship(2, good)
        assert result.state is State.SUCCEEDED, result.reason
        assert result.outcomes[0].reason == "it runs; the device has no models"
        boxed.settle(good)
        (layer,) = layers_of(services, "agent")
        services.hub.delete_configuration(layer.name, "*")
        boxed.settle(first)
    finally:
        for one in services.hub.configurations():
            services.hub.delete_configuration(one["id"], "*")
        services.hub.close()
