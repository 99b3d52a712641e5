"""Layers on trial: proven, rolled back by the device itself, quarantined; with real containers."""

import json
import time
import uuid
from dataclasses import replace

import pytest

from edgeferry.engine import Engine
from edgeferry.wire.edge import render_module
from tests.device.conftest import wait_until
from tests.device.worlds import FOREVER, World, taxi
from tests.engines import LOGIN, RunningRegistry, find_engine, make_image

pytestmark = pytest.mark.engine

CRASHES = "exit 3"


@pytest.fixture(scope="module")
def engine():
    engine = Engine(find_engine())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def registry(engine, tmp_path_factory):
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def image(engine, registry, pytestconfig):
    reference = registry.push(make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex), "edge/tiny")
    yield reference
    engine.remove_image(reference)


@pytest.fixture
def world(hub, registry, engine, image, tmp_path):
    """A device whose agent runs, with two modules of one layer that were proven, and one of another."""
    world = World(hub, registry, engine, tmp_path / "device", [image])
    world.enrol()
    allow(world, window_s=1)
    try:
        world.start()
        world.settle(bring(world, "L1", a=taxi(image), b=taxi(image)))
        world.settle(bring(world, "M1", c=taxi(image)))
        proven(world, "L1", "M1")
        yield world
    finally:
        world.close()


def allow(world, **trial):
    lines = [f"{name} = {value}" for name, value in trial.items()]
    (world.folder / "agent.toml").write_text("\n".join(["[trial]", *lines]))


def bring(world, layer, gone=(), **specs):
    """The desired version in which that layer brings these modules."""
    modules = {
        name: None
        if spec is None
        else {**render_module(replace(spec, name=name)), "configuration": {"id": layer}}
        for name, spec in specs.items()
    }
    return world.want_raw({"schemaVersion": "1.1", "modules": modules})


def layers(world):
    return {name: state["outcome"] for name, state in world.reported().get("layers", {}).items()}


def proven(world, *names):
    wait_until(lambda: all(layers(world).get(name) == "Proven" for name in names), what=f"{names} proven")


def ids(world, *modules):
    return {name: world.container(name).id for name in modules}


def runs(world, module, script):
    facts = world.container(module)
    return facts is not None and facts.running and script in facts.labels["edgeferry.desired"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(
            {"script": CRASHES}, "ended by itself 3 times, at last with exit code 3", id="crash loop"
        ),
        pytest.param(
            {"create_options": {"Entrypoint": ["/none"], "HostConfig": {"Init": False}}},
            "does not start",
            id="cannot start",
        ),
        pytest.param(
            {
                "create_options": {
                    "Healthcheck": {
                        "Test": ["CMD", "/bin/sh", "-c", "exit 1"],
                        "Interval": 1_000_000_000,
                        "Retries": 1,
                    }
                }
            },
            "is unhealthy",
            id="unhealthy",
        ),
    ],
)
def test_a_layer_that_fails_goes_back_as_a_whole_and_touches_no_other(world, image, fault, reason):
    before = ids(world, "c")
    began = time.monotonic()
    allow(world, window_s=60)
    world.stop()
    world.start()
    bad = taxi(image, fault.get("script", FOREVER), create_options=fault.get("create_options", {}))
    version = bring(world, "L2", a=taxi(image, "sleep 1000"), b=bad)
    reported = world.settle(version, 500, timeout_s=60)
    wait_until(lambda: layers(world).get("L2") == "RolledBack", timeout_s=60)
    assert time.monotonic() - began < 60
    reported = world.settle(version, 500, timeout_s=60)
    assert f"layer L2 was rolled back: module b {reason}" in reported["lastDesiredStatus"]["description"]
    wait_until(lambda: runs(world, "a", FOREVER) and runs(world, "b", FOREVER))
    for name in "ab":
        assert world.module(name)["settings"]["createOptions"] == json.dumps(
            {"Cmd": [FOREVER]}, separators=(",", ":")
        )
    assert ids(world, "c") == before


@pytest.fixture
def rolled_back(world, image):
    """A world whose layer L2 failed."""
    version = bring(world, "L2", a=taxi(image, "sleep 1000"), b=taxi(image, CRASHES))
    wait_until(lambda: layers(world).get("L2") == "RolledBack", timeout_s=60)
    world.settle(version, 500, timeout_s=60)
    wait_until(lambda: runs(world, "b", FOREVER))
    return world


def test_what_failed_is_not_tried_again_for_an_unrelated_change_or_a_restart(rolled_back, image):
    before = ids(rolled_back, "a", "b")
    rolled_back.settle(bring(rolled_back, "M2", c=taxi(image, "sleep 999")), 500, timeout_s=60)
    rolled_back.process.kill()
    rolled_back.process.wait()
    rolled_back.start()
    rolled_back.settle(bring(rolled_back, "N1", d=taxi(image)), 500, timeout_s=60)
    assert ids(rolled_back, "a", "b") == before
    assert runs(rolled_back, "c", "sleep 999")
    assert layers(rolled_back)["L2"] == "RolledBack"


def test_removing_the_failed_layer_at_the_hub_is_nothing_to_do_and_good(rolled_back, image):
    before = ids(rolled_back, "a", "b")
    rolled_back.settle(bring(rolled_back, "L1", a=taxi(image), b=taxi(image)), 200)
    assert ids(rolled_back, "a", "b") == before
    assert layers(rolled_back)["L1"] == "Proven"


def test_a_better_layer_after_a_failed_one_is_tried_and_proven(rolled_back, image):
    rolled_back.settle(
        bring(rolled_back, "L3", a=taxi(image, "sleep 1000"), b=taxi(image, "sleep 3000")), 200
    )
    proven(rolled_back, "L3")
    assert runs(rolled_back, "b", "sleep 3000")


def test_a_device_goes_back_without_its_hub(own_hub, registry, engine, image, tmp_path):
    world = World(own_hub, registry, engine, tmp_path / "device", [image])
    world.enrol()
    allow(world, window_s=1)
    try:
        world.start()
        world.settle(bring(world, "L1", a=taxi(image)))
        proven(world, "L1")
        allow(world, window_s=60)
        world.stop()
        world.start()
        world.settle(bring(world, "L2", a=taxi(image, "sleep 3; exit 1")))
        own_hub.stop()
        wait_until(lambda: runs(world, "a", FOREVER), timeout_s=60)
        assert "failed layer=L2 goes_back=True" in world.log()
    finally:
        world.close()


def test_with_nothing_to_go_back_to_a_layer_is_tried_on_and_said_to_have_failed(world, image):
    version = bring(world, "X1", x=taxi(image, CRASHES))
    wait_until(lambda: layers(world).get("X1") == "Failed", timeout_s=60)
    reported = world.settle(version, 500, timeout_s=60)
    assert "layer X1 failed, and nothing was proven before" in reported["lastDesiredStatus"]["description"]
    assert world.container("x") is not None


def test_a_layer_that_takes_a_module_away_gives_it_back_when_it_fails(world, image):
    bring(world, "L2", a=taxi(image, CRASHES), b=None)
    wait_until(lambda: layers(world).get("L2") == "RolledBack", timeout_s=60)
    wait_until(lambda: runs(world, "a", FOREVER) and runs(world, "b", FOREVER))


def test_modules_that_are_no_longer_desired_are_forgotten(world, image):
    world.settle(bring(world, "", c=None))
    wait_until(lambda: "M1" not in world.reported()["layers"])
    assert world.container("c") is None


def test_a_module_that_a_trial_waits_for_is_not_lost_when_the_state_is(world, image):
    """Without its memory the agent takes what runs for good, where something else is desired."""
    world.stop()
    for path in world.folder.glob("state.json*"):
        path.unlink()
    (world.folder / "journal").unlink(missing_ok=True)
    version = bring(world, "L2", a=taxi(image, CRASHES), b=taxi(image, "sleep 1000"))
    world.start()
    world.settle(version, 500, timeout_s=60)
    wait_until(lambda: layers(world).get("L2") == "RolledBack", timeout_s=60)
    wait_until(lambda: runs(world, "a", FOREVER) and runs(world, "b", FOREVER))
