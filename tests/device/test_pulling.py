"""What an agent does while images do not come."""

import threading
import uuid
from collections.abc import Iterator

import pytest

from edgeferry.device.agent import Agent
from edgeferry.device.state import Store, load_enrolment
from tests.device.conftest import wait_until
from tests.device.worlds import World, taxi
from tests.engines import make_image
from tests.faulty_registry import HEALTHY, Fault, FaultyRegistry

pytestmark = pytest.mark.engine
PASS_S = 600.0


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    registry = FaultyRegistry().start()
    yield registry
    registry.stop()


@pytest.fixture
def world(hub, registry, engine, pytestconfig, tmp_path) -> Iterator[World]:
    """A device that runs module taxi with the first of two images; its agent looks seldom unless woken."""
    cache = pytestconfig.cache.mkdir("busybox")
    images = [registry.push(make_image(cache, uuid.uuid4().hex), "edge/tiny") for _ in range(2)]
    world = World(hub, registry, engine, tmp_path / "device", images)
    world.enrol()
    (world.folder / "agent.toml").write_text("[pull]\nprogress_s = 60\nleast_free_bytes = 1\n")
    store = Store(world.folder)
    store.open()
    agent = Agent(load_enrolment(world.folder), store, pass_s=PASS_S, wait_s=lambda failures: 1.0)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        version = world.want(taxi(images[0], "read line < /dev/zero; sleep 3600"))
        wait_until(lambda: world.reported().get("lastDesiredVersion") == version)
        yield world
    finally:
        agent.stop()
        thread.join(30)
        store.close()
        world.close()
        for image in images:
            engine.remove_image(image)


def test_a_crashed_module_is_up_again_while_another_image_still_comes(world, registry, engine):
    registry.bytes_per_s = 20_000  # 100 seconds for all of it
    world.want(taxi(world.images[1], name="other"))
    sent = registry.sent
    wait_until(lambda: registry.sent > sent + 20_000, what="the other image comes")
    before = world.container()
    engine.stop(before.id, timeout_s=0)
    wait_until(lambda: (facts := world.container()).running and facts.started_at != before.started_at)
    assert engine.image(world.images[1]) is None, "it was up again only after the other image had come"


def test_the_old_container_runs_on_while_the_registry_fails_and_the_new_one_comes_once_it_heals(
    world, registry, engine
):
    before = world.container()
    registry.fault = Fault(500)
    world.want(taxi(world.images[1]))
    wait_until(lambda: "did not deliver" in str(world.reported().get("lastDesiredStatus")))
    assert world.container() == before
    registry.fault = HEALTHY
    wait_until(lambda: (facts := world.container()) and facts.running and facts.image == world.images[1])
