"""A device leaves its fleet: what it wipes, when it answers, and that it stays ended."""

import json
import os
import subprocess
import sys
import uuid

import pytest

from edgeferry.device.state import Store, load_enrolment
from edgeferry.device.wipe import decommission, finish, is_decommissioned
from edgeferry.engine import Engine
from tests.device.test_agent import world  # noqa: F401
from tests.device.worlds import FOREVER, taxi
from tests.engines import make_image

pytestmark = pytest.mark.engine

VOLUME = {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "data", "Target": "/data"}]}}
NO_ENGINE = "unix:///run/no-such-engine.sock"


@pytest.fixture
def images(engine, registry, pytestconfig):
    """One image of this test alone, which only the registry has."""
    reference = registry.push(make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex), "edge/own")
    yield [reference]
    engine.remove_image(reference)


@pytest.fixture
def settled(world):  # noqa: F811
    """A device whose agent runs a module with a volume, from an image that it pulled."""
    world.start()
    world.settle(world.want(taxi(world.images[0], FOREVER, create_options=VOLUME)))
    return world


def left_on_the_engine(world):  # noqa: F811
    prefix = f"edgeferry.{world.sandbox}.{world.device}"
    return (
        [facts.name for facts in world.engine.containers(world.labels)],
        world.engine.networks(world.labels),
        world.engine.volumes(prefix),
        [image for image in world.images if world.engine.image(image)],
    )


def run_agent(world):  # noqa: F811
    """(exit code, stderr) of an agent started in the device's folder, as systemd does."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeferry.device", "--state", str(world.folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def secrets_of(world):  # noqa: F811
    said = json.loads((world.folder / "device.json").read_text())
    return [said["connection_string"].split("SharedAccessKey=")[1].split(";")[0], "right"]


def test_a_device_that_is_told_to_leave_wipes_itself_answers_and_stays_ended(settled):
    (settled.folder / "agent.toml").write_text("[pull]\nbytes_per_s = 1000000\n")
    secrets = secrets_of(settled)
    assert all(left_on_the_engine(settled)), "there is something to wipe"
    refused = settled.hub.call(settled.device, "$edgeAgent", "Decommission", {"device": "another"})
    assert refused["status"] == 400
    assert settled.device in refused["payload"]["message"]
    assert all(left_on_the_engine(settled))

    answer = settled.hub.call(settled.device, "$edgeAgent", "Decommission", {"device": settled.device})
    process = settled.process
    assert (answer["status"], answer["payload"]["problems"]) == (200, [])
    removed = answer["payload"]["removed"]
    assert removed.pop("files") >= 3
    assert removed == {"containers": 1, "networks": 1, "volumes": 1, "images": 1}
    assert left_on_the_engine(settled) == ([], [], [], [])
    assert process.wait(60) == 0
    assert sorted(path.name for path in settled.folder.iterdir()) == ["agent.toml", "decommissioned", "lock"]
    kept = b"".join(path.read_bytes() for path in settled.folder.iterdir()).decode()
    assert not [secret for secret in secrets if secret in kept]
    code, said = run_agent(settled)
    assert (code, "decommissioned" in said) == (0, True)


def test_a_wipe_that_was_cut_off_goes_on_at_the_next_start_and_keys_go_whatever_the_engine_says(settled):
    settled.stop()
    enrolment, store = load_enrolment(settled.folder), Store(settled.folder)
    left = {
        "engine": NO_ENGINE,
        "sandbox": enrolment.sandbox,
        "device": enrolment.device,
        "images": sorted(store.load_images()[0]),
    }
    marker = settled.folder / "decommissioned"
    marker.write_text(json.dumps({"device": enrolment.device, "left": left}))
    code, told = run_agent(settled)
    assert code == 3, "worth another start"
    assert NO_ENGINE in told
    assert sorted(path.name for path in settled.folder.iterdir()) == ["decommissioned", "lock"]
    assert left_on_the_engine(settled)[0], "nothing was done on another engine"

    marker.write_text(marker.read_text().replace(NO_ENGINE, settled.engine.url))
    assert run_agent(settled)[0] == 0
    assert left_on_the_engine(settled) == ([], [], [], [])


def test_what_is_erased_is_overwritten_first_and_links_are_not_followed(world):  # noqa: F811
    outside = world.folder.parent / "outside"
    outside.write_text("not the device's")
    (world.folder / "link").symlink_to(outside)
    (world.folder / "sub").mkdir()
    secret = world.folder / "sub" / "key"
    secret.write_text("k" * 40)
    again = world.folder.parent / "hard"
    os.link(secret, again)
    wiped = decommission(load_enrolment(world.folder), Store(world.folder))
    assert not wiped.problems
    assert again.read_bytes() == bytes(40)
    assert outside.read_text() == "not the device's"
    assert is_decommissioned(world.folder)
    assert not finish(world.folder).problems, "once more is fine"


def test_an_image_that_another_container_uses_stays_and_is_no_fault(settled):
    own = Engine(settled.engine.url)
    other = own.create(f"other-{settled.device}", {"Image": settled.images[0]})
    try:
        answer = settled.hub.call(settled.device, "$edgeAgent", "Decommission", {"device": settled.device})
        process = settled.process
        assert (answer["status"], answer["payload"]["removed"]["images"]) == (200, 0)
        assert process.wait(60) == 0
        assert own.image(settled.images[0])
    finally:
        own.remove(other)
        own.close()
