"""The agent as a container: it does its work there, and updates itself or stays what it was."""

import json
import os
import uuid

import pytest

from tests.device.agents import PATIENCE_S, AgentImages, Boxed
from tests.device.conftest import wait_until
from tests.device.worlds import World, taxi
from tests.engines import LOGIN, RunningRegistry, make_image
from tests.typed import typed

pytestmark = pytest.mark.engine

OLD_STATE = (
    "import sys; from edgeferry.device import turns; from edgeferry.errors import UsageError\n"
    "def fail(folder): raise UsageError('this state is of version 9', fix='update')\n"
    "turns.load_enrolment = fail\n"
    "from edgeferry.device.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
HANGS_LATER = (
    "import sys, time; from edgeferry.device.agent import Agent\n"
    "Agent.run = lambda self: time.sleep(3600)\n"
    "from edgeferry.device.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
DIES_LATER = HANGS_LATER.replace("time.sleep(3600)", "sys.exit('no legs')")


@pytest.fixture(scope="module")
def agents(images, tmp_path_factory):
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    yield AgentImages(images.assemble_agent(), registry)
    registry.stop()


@pytest.fixture(scope="module")
def first(agents):
    """The agent that devices begin with."""
    return agents.push()


@pytest.fixture(scope="module")
def boxed(hub, agents, engine, first, tmp_path_factory, pytestconfig):
    """A device whose agent runs as a container, with one module."""
    cache = pytestconfig.cache.mkdir("busybox")
    tiny = agents.registry.push(make_image(cache, uuid.uuid4().hex), "edge/tiny")
    world = World(hub, agents.registry, engine, tmp_path_factory.mktemp("device") / "state", [tiny])
    world.enrol()
    boxed = Boxed(world)
    try:
        boxed.start(first)
        boxed.want(first)
        boxed.told(world.want(taxi(tiny)), 200)
        yield boxed
    finally:
        boxed.close()
        world.close()
        engine.remove_image(tiny)


def test_an_agent_in_a_container_runs_modules_and_is_followed_by_another(boxed, agents) -> None:
    module = boxed.world.container()
    assert module.running
    second = agents.push()
    boxed.told(boxed.want(second), 200)
    boxed.settle(second)
    boxed.told(boxed.world.want(taxi(boxed.world.images[0], restart_policy="never")), 200)
    again = boxed.world.container()
    assert (again.id, again.started_at) == (module.id, module.started_at)


def edgeferry(verb: str, boxed: Boxed, *more: str) -> str:
    """What the command about this device's agent printed."""
    words = ("agent", verb, "--state", str(boxed.world.folder), *more)
    return typed(*words, environment=os.environ).stdout


def test_the_commands_find_an_agent_in_a_container(boxed) -> None:
    (agent,) = boxed.agents()
    said = json.loads(edgeferry("status", boxed, "-o", "json"))
    assert said["agent"]["runs"]
    assert (said["agent"]["form"], said["agent"]["where"]) == ("container", agent.name)
    taxi_now = said["modules"]["taxi"]
    assert (taxi_now["container"], taxi_now["runtimeStatus"]) == ("running", "running")
    assert (said["connected"], said["status"]["code"]) == (True, 200)
    assert list(json.loads(edgeferry("history", boxed, "-o", "json"))[-1]["images"]) == ["taxi"]
    assert "desired version=" in edgeferry("logs", boxed)
    again = json.loads(edgeferry("install", boxed, "--image", agent.image, "-o", "json"))
    assert (again["container"], again["changed"]) == (agent.name, False)
    assert boxed.agents()[0].started_at == agent.started_at


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("raise SystemExit('no hands')", "ended by itself: no hands", id="crashes"),
        pytest.param(OLD_STATE, "cannot run here: this state is of version 9", id="cannot read the state"),
        pytest.param(DIES_LATER, "ended by itself: no legs", id="crashes once it acts"),
    ],
)
def test_an_agent_that_fails_gives_way_to_the_one_before(boxed, agents, script: str, reason: str) -> None:
    (before,) = boxed.agents()
    bad = agents.push(script)
    said = boxed.told(boxed.want(bad), 500)
    assert reason in said["lastDesiredStatus"]["description"]
    (after,) = boxed.agents()
    assert (after.id, after.running) == (before.id, True)
    assert boxed.world.engine.image(bad) is None
    assert boxed.world.module()["runtimeStatus"] == "running"
    boxed.told(boxed.want(before.image), 200)
    assert boxed.phase() == ""


def test_an_image_that_is_no_agent_is_not_run(boxed, agents) -> None:
    (before,) = boxed.agents()
    other = agents.push("raise SystemExit(3)", labels={"edgeferry.agent": "false"})
    said = boxed.told(boxed.want(other), 500)
    assert "it is no agent" in said["lastDesiredStatus"]["description"]
    assert [one.id for one in boxed.agents()] == [before.id]
    boxed.told(boxed.want("mcr.microsoft.com/azureiotedge-agent:1.5"), 200)


@pytest.mark.parametrize("phase", ["handed", "proven"])
def test_a_power_cut_in_any_phase_ends_with_one_agent(boxed, agents, phase: str) -> None:
    good = agents.push()
    boxed.want(good)
    wait_until(
        lambda: boxed.phase() == phase or [one.image for one in boxed.agents()] == [good],
        timeout_s=PATIENCE_S,
        what=phase,
    )
    boxed.cut_power()
    boxed.settle(good)


def test_an_agent_that_hangs_once_it_acts_gives_way_to_the_one_before(boxed, agents, engine) -> None:
    (boxed.world.folder / "agent.toml").write_text("[update]\nproven_s = 4\n")
    (before,) = boxed.agents()
    engine.stop(before.id)
    engine.start(before.id)
    said = boxed.told(boxed.want(agents.push(HANGS_LATER)), 500)
    assert "was not proven within 4 s" in said["lastDesiredStatus"]["description"]
    assert [one.id for one in boxed.agents()] == [before.id]
