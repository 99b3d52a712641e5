"""The agent as a container: it does its work there, and updates itself or stays what it was."""

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from edgeferry.engine import Engine
from tests.device.agents import AgentImages, Boxed
from tests.device.conftest import wait_until
from tests.device.worlds import World, taxi
from tests.engines import LOGIN, RunningRegistry, find_engine, make_image

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
def engine():
    engine = Engine(find_engine())
    yield engine
    engine.close()


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
def tiny(agents, engine, pytestconfig):
    """An image for modules."""
    cache = pytestconfig.cache.mkdir("busybox")
    tiny = agents.registry.push(make_image(cache, uuid.uuid4().hex), "edge/tiny")
    yield tiny
    engine.remove_image(tiny)


@pytest.fixture(scope="module")
def boxed(hub, agents, engine, first, tiny, tmp_path_factory):
    """A device whose agent runs as a container, with one module."""
    with opened(
        World(hub, agents.registry, engine, tmp_path_factory.mktemp("a") / "state", [tiny]), first
    ) as one:
        yield one


@pytest.fixture(scope="module")
def hasty(hub, agents, engine, first, tiny, tmp_path_factory):
    """Such a device, where a new agent has little time to prove itself."""
    with opened(
        World(hub, agents.registry, engine, tmp_path_factory.mktemp("b") / "state", [tiny]),
        first,
        "proven_s = 4",
    ) as one:
        yield one


@contextlib.contextmanager
def opened(world: World, first: str, rules: str = "") -> Iterator[Boxed]:
    """The device with its first agent and one module."""
    world.enrol()
    (world.folder / "agent.toml").write_text(f"[update]\n{rules}\n")
    boxed = Boxed(world)
    try:
        boxed.start(first)
        boxed.want(first)
        world.settle(world.want(taxi(world.images[0])))
        yield boxed
    finally:
        boxed.close()
        world.close()


def settle(boxed: Boxed, image: str) -> None:
    """One agent runs, that of the image, under the name of the first, and nothing is on record."""

    def done() -> bool:
        found = boxed.agents()
        if len(found) != 1 or boxed.phase():
            return False
        return (found[0].name, found[0].image, found[0].running) == (boxed.name, image, True)

    try:
        wait_until(done, what=f"one agent of {image}", timeout_s=60)
    except AssertionError as error:
        raise AssertionError(f"{error}\nphase {boxed.phase()!r}\n{boxed.logs()}") from error


def test_an_agent_in_a_container_runs_modules_and_is_followed_by_another(boxed, agents) -> None:
    module = boxed.world.container()
    assert module.running
    second = agents.push()
    boxed.world.settle(boxed.want(second))
    settle(boxed, second)
    boxed.world.settle(boxed.world.want(taxi(boxed.world.images[0], restart_policy="never")))
    again = boxed.world.container()
    assert (again.id, again.started_at) == (module.id, module.started_at)


def edgeferry(verb: str, boxed: Boxed, *more: str) -> str:
    """What the command about this device's agent printed."""
    command = [sys.executable, "-m", "edgeferry", "agent", verb, "--state", str(boxed.world.folder), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_the_commands_find_an_agent_in_a_container(boxed) -> None:
    (agent,) = boxed.agents()
    said = json.loads(edgeferry("status", boxed, "-o", "json"))
    assert said["agent"]["runs"]
    assert (said["agent"]["form"], said["agent"]["where"]) == ("container", agent.name)
    assert said["modules"]["taxi"]["container"] == "running"
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
        pytest.param(HANGS_LATER, "was not proven within 4 s", id="hangs once it acts"),
    ],
)
def test_an_agent_that_fails_gives_way_to_the_one_before(hasty, agents, script: str, reason: str) -> None:
    (before,) = hasty.agents()
    bad = agents.push(script)
    said = hasty.world.settle(hasty.want(bad), 500)
    assert reason in said["lastDesiredStatus"]["description"]
    (after,) = hasty.agents()
    assert (after.id, after.running) == (before.id, True)
    assert hasty.world.engine.image(bad) is None
    assert hasty.world.module()["runtimeStatus"] == "running"
    hasty.world.settle(hasty.want(before.image))
    assert hasty.phase() == ""


def test_an_image_that_is_no_agent_is_not_run(boxed, agents) -> None:
    (before,) = boxed.agents()
    other = agents.push("raise SystemExit(3)", labels={"edgeferry.agent": "false"})
    said = boxed.world.settle(boxed.want(other), 500)
    assert "it is no agent" in said["lastDesiredStatus"]["description"]
    assert [one.id for one in boxed.agents()] == [before.id]
    boxed.world.settle(boxed.want("mcr.microsoft.com/azureiotedge-agent:1.5"))


@pytest.mark.parametrize("phase", ["handed", "proven"])
def test_a_power_cut_in_any_phase_ends_with_one_agent(boxed, agents, phase: str) -> None:
    good = agents.push()
    boxed.want(good)
    wait_until(lambda: boxed.phase() == phase, timeout_s=40, what=f"{phase}\n{boxed.logs()}")
    boxed.cut_power()
    settle(boxed, good)
