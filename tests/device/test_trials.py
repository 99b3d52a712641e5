"""Layers on trial: proven, rolled back by the device itself, quarantined; with real containers."""

import json
import uuid
from dataclasses import replace

import pytest

from edgeferry.device.verdicts import KIND, KIND_LABEL
from edgeferry.domain.smoke import Verdict
from edgeferry.wire.edge import render_module
from edgeferry.wire.verdict import COMPANION_PORT, render_verdicts
from tests.device.conftest import wait_until
from tests.device.worlds import FOREVER, World, taxi

pytestmark = pytest.mark.engine

CRASHES = "exit 3"


@pytest.fixture(scope="module")
def image(tiny_images):
    return tiny_images[0]


@pytest.fixture(scope="module")
def device(hub, registry, engine, tiny_images, tmp_path_factory):
    """A device whose agent runs."""
    device = World(hub, registry, engine, tmp_path_factory.mktemp("trials") / "device", tiny_images)
    device.enrol()
    allow(device, window_s=3)
    try:
        device.start()
        yield device
    finally:
        device.close()


@pytest.fixture
def world(device, image):
    """That device with two modules of one layer that were proven, and one of another; nothing that runs on it
    has run there before."""
    device.run = uuid.uuid4().hex[:8]
    bring(device, "M1", c=taxi(image))
    device.settle(bring(device, "L1", a=taxi(image), b=taxi(image)))
    proven(device, "L1", "M1")
    yield device
    device.settle(device.want_raw({"modules": None}), 200)
    wait_until(lambda: layers(device) == {})


def allow(world, **trial):
    lines = [f"{name} = {value}" for name, value in trial.items()]
    (world.folder / "agent.toml").write_text("\n".join(["[trial]", *lines]))


def restart(world, **trial):
    world.stop()
    allow(world, **trial)
    world.start()


def render(world, layer, name, spec):
    return {**render_module(replace(spec, name=name, env={"RUN": world.run})), "configuration": {"id": layer}}


def bring(world, layer, gone=(), **specs):
    """The desired version in which that layer brings these modules."""
    modules = {
        name: None if spec is None else render(world, layer, name, spec) for name, spec in specs.items()
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
    ("fault", "reasons"),
    [
        pytest.param(
            {"script": CRASHES}, ["ended by itself 3 times", "is exited after 3 s"], id="crash loop"
        ),
        pytest.param(
            {"create_options": {"Entrypoint": ["/none"], "HostConfig": {"Init": False}}},
            ["does not start"],
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
            ["is unhealthy", "is starting after 3 s"],
            id="unhealthy",
        ),
    ],
)
def test_a_layer_that_fails_goes_back_as_a_whole_and_touches_no_other(world, image, fault, reasons):
    before = ids(world, "c")
    bad = taxi(image, fault.get("script", FOREVER), create_options=fault.get("create_options", {}))
    version = bring(world, "L2", a=taxi(image, "sleep 1000"), b=bad)
    reported = world.settle(version, 500)
    wait_until(lambda: layers(world).get("L2") == "RolledBack")
    reported = world.settle(version, 500)
    told = reported["lastDesiredStatus"]["description"]
    assert any(f"layer L2 was rolled back: module b {reason}" in told for reason in reasons), told
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
    wait_until(lambda: layers(world).get("L2") == "RolledBack")
    world.settle(version, 500)
    wait_until(lambda: runs(world, "b", FOREVER))
    return world


def test_what_failed_is_not_tried_again_for_an_unrelated_change_or_a_restart(rolled_back, image):
    before = ids(rolled_back, "a", "b")
    rolled_back.settle(bring(rolled_back, "M2", c=taxi(image, "sleep 999")), 500)
    rolled_back.process.kill()
    rolled_back.process.wait()
    rolled_back.start()
    rolled_back.settle(bring(rolled_back, "N1", d=taxi(image)), 500)
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
    allow(world, window_s=3)
    try:
        world.start()
        world.settle(bring(world, "L1", a=taxi(image)))
        proven(world, "L1")
        restart(world, window_s=60)
        world.settle(bring(world, "L2", a=taxi(image, "sleep 3; exit 1")))
        own_hub.stop()
        wait_until(lambda: runs(world, "a", FOREVER))
        assert "failed layer=L2 goes_back=True" in world.log()
    finally:
        world.close()


def test_with_nothing_to_go_back_to_a_layer_is_tried_on_and_said_to_have_failed(world, image):
    version = bring(world, "X1", x=taxi(image, CRASHES))
    wait_until(lambda: layers(world).get("X1") == "Failed")
    reported = world.settle(version, 500)
    assert "layer X1 failed, and nothing was proven before" in reported["lastDesiredStatus"]["description"]
    assert world.container("x") is not None


def test_a_layer_that_takes_a_module_away_gives_it_back_when_it_fails(world, image):
    bring(world, "L2", a=taxi(image, CRASHES), b=None)
    wait_until(lambda: layers(world).get("L2") == "RolledBack")
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
    world.settle(version, 500)
    wait_until(lambda: layers(world).get("L2") == "RolledBack")
    wait_until(lambda: runs(world, "a", FOREVER) and runs(world, "b", FOREVER))


def say(tiny_images, state, at):
    """A companion that says so of the first image."""
    digest = tiny_images[0].partition("@")[2]
    verdict = Verdict("taxi", state, digest, "3", "cases", "nonce", "case 2 is off", 5, 1, 1.0, 2.0, at)
    said = json.dumps(render_verdicts([verdict]))
    script = f"mkdir /www && echo '{said}' > /www/verdict && exec httpd -f -p {COMPANION_PORT} -h /www"
    return taxi(tiny_images[1], script, create_options={"Labels": {KIND_LABEL: KIND}})


def test_a_layer_that_fails_its_smoke_test_goes_back_and_an_older_verdict_is_not_about_it(
    world, image, tiny_images
):
    world.settle(bring(world, "companion", companion=say(tiny_images, "Failed", "before")))
    world.settle(bring(world, "L2", a=taxi(image, "sleep 1000"), b=taxi(image)))
    proven(world, "L2")
    version = bring(world, "L3", a=taxi(image, "sleep 2000"), b=taxi(image))
    wait_until(lambda: layers(world).get("L3") == "Trial")
    bring(world, "companion", companion=say(tiny_images, "Passed", "later"))
    proven(world, "L3")
    restart(world, window_s=60)
    version = bring(world, "L4", a=taxi(image, "sleep 3000"), b=taxi(image))
    wait_until(lambda: layers(world).get("L4") == "Trial")
    version = bring(world, "companion", companion=say(tiny_images, "Failed", "at last"))
    wait_until(lambda: layers(world).get("L4") == "RolledBack")
    reported = world.settle(version, 500)
    assert "module a failed its smoke test: case 2 is off" in reported["lastDesiredStatus"]["description"]
    wait_until(lambda: runs(world, "a", "sleep 2000"))
    restart(world, window_s=3)


def test_what_was_applied_is_told_by_method_and_a_layer_that_failed_is_tried_again(rolled_back, image):
    said = rolled_back.hub.call(rolled_back.device, "$edgeAgent", "GetApplyHistory", {"limit": 2})
    last, before = said["payload"]["applies"]
    assert (last["layers"], last["outcome"], last["images"]) == (
        ["L2"],
        "RolledBack",
        {"a": image, "b": image},
    )
    assert before["outcome"] == "Proven"
    told = rolled_back.hub.call(rolled_back.device, "$edgeAgent", "RetryLayer", {"id": "L2"})
    assert told["status"] == 200

    def latest():
        said = rolled_back.hub.call(rolled_back.device, "$edgeAgent", "GetApplyHistory", {"limit": 1})
        return said["payload"]["applies"][0]

    wait_until(lambda: latest()["at"] != last["at"] and latest()["outcome"] == "RolledBack")


def test_a_state_folder_that_takes_nothing_keeps_no_module_down(world, image):
    """The journal cannot be written, as on a full disk: nothing new is begun, what runs is kept up."""
    (world.folder / "journal.new").mkdir()
    (world.folder / "journal").unlink(missing_ok=True)
    try:
        bring(world, "L1", a=taxi(image), b=taxi(image, "sleep 3600"))

        def said():
            return world.reported().get("lastDesiredStatus", {})

        wait_until(lambda: "state folder" in said().get("description", ""), what="the fault is told")
        assert said()["code"] == 500
        before = world.container("a")
        world.engine.stop(before.id, 1)
        wait_until(lambda: world.container("a").running, what="a is up again")
        assert world.container("a").id == before.id
        assert not runs(world, "b", "sleep 3600")
        assert world.module("c")["runtimeStatus"] == "running"
    finally:
        (world.folder / "journal.new").rmdir()
    wait_until(lambda: runs(world, "b", "sleep 3600"), what="the layer is applied once the folder takes it")
