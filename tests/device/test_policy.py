"""What a device's owner does not allow is not run, and said; `find_refusals` is tested by itself."""

import uuid

import pytest

from tests.device.worlds import World, taxi
from tests.engines import LOGIN, RunningRegistry, make_image
from tests.iot_edge import fill_template

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def registry(engine, tmp_path_factory, pytestconfig):
    """A registry that has both images of the reference's template, as that names them."""
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    cache = pytestconfig.cache.mkdir("busybox")
    references = [
        registry.tag(registry.push(make_image(cache, uuid.uuid4().hex), name), "7")
        for name in ("nyc_taxi", "testmodule")
    ]
    yield registry
    for reference in references:
        engine.remove_image(reference)
    registry.stop()


@pytest.fixture
def world(hub, registry, engine, tmp_path):
    """A device that is enrolled, with no agent yet."""
    world = World(hub, registry, engine, tmp_path / "device", [f"{registry.address}/nyc_taxi:7"])
    world.enrol()
    try:
        yield world
    finally:
        world.close()


def want_template(world):
    """The desired version with the modules of the reference's layered template."""
    content = fill_template(CONTAINER_REGISTRY_ADDRESS=world.registry.address)["modulesContent"]["$edgeAgent"]
    prefix = "properties.desired.modules."
    modules = {path.removeprefix(prefix): said for path, said in content.items() if path.startswith(prefix)}
    assert set(modules) == {"nyc_taxi", "testmodule"}
    return world.want_raw({"schemaVersion": "1.1", "modules": modules})


def test_each_line_of_the_references_template_that_policy_forbids_is_reported(world):
    world.start()
    reported = world.settle(want_template(world), code=500)
    said = reported["lastDesiredStatus"]["description"]
    assert 'HostConfig.Mounts "/tmp"' in said
    assert 'policy.mounts = ["/tmp"]' in said
    assert 'HostConfig.NetworkMode "host"' in said
    assert 'NetworkingConfig.EndpointsConfig "host"' in said
    assert "policy.host_network = true" in said
    assert world.container("nyc_taxi") is None
    assert world.container("testmodule") is None


def test_the_references_template_runs_where_the_owner_allows_it(world):
    (world.folder / "agent.toml").write_text('[policy]\nhost_network = true\nmounts = ["/tmp"]\n')
    world.start()
    reported = world.settle(want_template(world))
    assert {name: said["runtimeStatus"] for name, said in reported["modules"].items()} == {
        "nyc_taxi": "running",
        "testmodule": "running",
    }


def test_what_served_before_goes_on_when_the_next_is_refused_and_a_corrected_one_follows(world):
    world.start()
    world.settle(world.want(taxi(world.images[0])))
    before = world.container()
    options = {"HostConfig": {"Binds": ["/run:/host:ro"]}}
    reported = world.settle(world.want(taxi(world.images[0], create_options=options)), code=500)
    assert "policy.docker_socket = true" in reported["lastDesiredStatus"]["description"]
    assert world.container().id == before.id
    assert world.module()["runtimeStatus"] == "running"
    world.settle(world.want(taxi(world.images[0])))
