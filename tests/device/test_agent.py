import hashlib
import json
import subprocess
import sys
import threading
import uuid

import pytest

from edgeferry.device.agent import Agent
from edgeferry.device.state import Store, load_enrolment
from edgeferry.wire.edge import module_hash, render_module
from tests.device.conftest import wait_until
from tests.device.worlds import FOREVER, World, taxi
from tests.engines import LOGIN, RunningRegistry, make_image
from tests.hubs import RunningHub, free_address
from tests.iot_edge import fill_template

pytestmark = pytest.mark.engine


@pytest.fixture
def world(hub, registry, engine, tiny_images, tmp_path):
    """A device that is enrolled, with no agent yet."""
    world = World(hub, registry, engine, tmp_path / "device", tiny_images)
    world.enrol()
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def running(world):
    """A device whose agent runs and has started module taxi."""
    world.start()
    world.settle(world.want(taxi(world.images[0])))
    return world


def test_a_layer_travels_from_the_hub_to_a_container_and_away_again(registry, engine, tiny_images, tmp_path):
    labels = {"edgeferry.sandbox": f"t{uuid.uuid4().hex[:6]}"}
    network = f"edgeferry.{labels['edgeferry.sandbox']}"
    gateway = engine.ensure_network(network, labels)
    (tmp_path / "hub").mkdir()
    hub = RunningHub(tmp_path / "hub", free_address(), 8443, 8883, also=(gateway,))
    world = World(
        hub, registry, engine, tmp_path / "device", tiny_images, gateway, sandbox=labels["edgeferry.sandbox"]
    )
    try:
        hub.start()
        world.enrol()
        world.start()
        hub.ask("PUT", "/configurations/base", base(world.device))
        assert world.settle(wait_until(lambda: desired_version(world)))["modules"] == {}
        look = "echo hello, are you there | nc edgeferry-hub 8883 > /dev/null && echo reached"
        look += "; test -S ${IOTEDGE_WORKLOADURI#unix://} && echo signs; echo $COLOUR"
        first = taxi(
            tiny_images[0],
            f"{look}; {FOREVER}",
            env={"COLOUR": "blue"},
            create_options={"HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": "5001"}]}}},
        )
        hub.ask("PUT", "/configurations/taxi-1", layer(world.device, "taxi-1", first, 1000))
        reported = world.settle(wait_until(lambda: (v := desired_version(world)) > 2 and v))
        facts = world.container()
        module = reported["modules"]["taxi"]
        assert facts.running
        assert module["runtimeStatus"] == "running"
        assert module["settings"]["image"] == tiny_images[0]
        assert module["settings"]["imageHash"] == facts.image_id == engine.image(tiny_images[0]).id
        assert module["hostPorts"] == {"8080/tcp": facts.host_ports["8080/tcp"]}
        assert reported["systemModules"]["edgeAgent"]["runtimeStatus"] == "running"
        assert reported["systemModules"]["edgeHub"]["runtimeStatus"] == "stopped"
        wait_until(lambda: "blue" in engine.logs(facts.id))
        assert engine.logs(facts.id).split() == ["reached", "signs", "blue"]

        second = taxi(tiny_images[1])
        hub.ask("PUT", "/configurations/taxi-2", layer(world.device, "taxi-2", second, 1001))
        reported = world.settle(wait_until(lambda: (v := desired_version(world)) > 3 and v))
        assert reported["modules"]["taxi"]["settings"]["imageHash"] == engine.image(tiny_images[1]).id
        assert reported["modules"]["taxi"].get("hostPorts", {}) == {}
        assert world.container().id != facts.id
        assert engine.inspect(facts.id) is None

        for name in ("taxi-2", "taxi-1"):
            hub.ask("DELETE", f"/configurations/{name}")
        reported = world.settle(wait_until(lambda: (v := desired_version(world)) > 4 and v))
        wait_until(lambda: world.container() is None, what="the container is removed")
        wait_until(lambda: world.reported().get("modules") == {})
        world.stop()
        assert "SharedAccessKey" not in world.log()
    finally:
        world.close()
        hub.stop()


def base(device):
    system = {
        "edgeAgent": {"type": "docker", "settings": {"image": "edge/agent:1.5"}},
        "edgeHub": {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "settings": {"image": "edge/hub:1.5"},
        },
    }
    agent = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": system,
        "modules": {},
    }
    content = {
        "$edgeAgent": {"properties.desired": agent},
        "$edgeHub": {"properties.desired": {"schemaVersion": "1.1", "routes": {}}},
    }
    return configuration("base", device, content, 0)


def layer(device, name, spec, priority):
    content = {"$edgeAgent": {f"properties.desired.modules.{spec.name}": render_module(spec)}}
    return configuration(name, device, content, priority)


def configuration(name, device, content, priority):
    return {
        "id": name,
        "schemaVersion": "2.0",
        "content": {"modulesContent": content},
        "targetCondition": f"deviceId='{device}'",
        "priority": priority,
        "labels": {},
        "metrics": {"queries": {}},
    }


def desired_version(world):
    desired = world.hub.twin(world.device, "$edgeAgent")["properties"]["desired"]
    return desired["$version"] if "schemaVersion" in desired else 0


def long_options():
    """Create options in four chunks, of which the container shows every part."""
    labels = {f"part{number}": "x" * 100 + str(number) for number in range(16)}
    return {"Cmd": [FOREVER], "Labels": labels, "HostConfig": {"Memory": 64 * 1024 * 1024}}


@pytest.mark.parametrize("form", ["text", "chunks", "object"])
def test_create_options_reach_the_container_in_every_form_they_have(world, form):
    options = long_options()
    spec = taxi(world.images[0], create_options=options)
    said = render_module(spec)
    assert "createOptions03" in said["settings"]
    if form == "text":
        said["settings"] = {"image": spec.image, "createOptions": json.dumps(options)}
    elif form == "object":
        said["settings"] = {"image": spec.image, "createOptions": options}
    world.start()
    reported = world.settle(world.want_raw({"schemaVersion": "1.1", "modules": {"taxi": said}}))
    labels = world.container().labels
    assert {name: labels[name] for name in options["Labels"]} == options["Labels"]
    assert reported["modules"]["taxi"]["runtimeStatus"] == "running"
    if form == "chunks":
        settings = reported["modules"]["taxi"]["settings"]
        chunks = [settings[name] for name in sorted(settings) if name.startswith("createOptions")]
        assert json.loads("".join(chunks)) == options


@pytest.fixture
def tagged(registry, engine, pytestconfig):
    """The reference of an image as the reference accelerator names them: by model and tag."""
    image = make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex)
    reference = registry.tag(registry.push(image, "nyc_taxi"), "7")
    yield reference
    engine.remove_image(reference)


def test_the_references_template_is_carried_out_once_all_its_images_come(
    tagged, world, registry, pytestconfig
):
    """Its layer has a model and a test module. While the image of one does not exist, which is reported,
    neither starts; then both do, pulled with the login it brings, with the ports it asks for."""
    template = fill_template(
        CONTAINER_REGISTRY_ADDRESS=world.registry.address,
        CONTAINER_REGISTRY_USERNAME="device",
        CONTAINER_REGISTRY_PASSWORD="right",
        ML_MODEL_DOCKER_IMAGE_NAME="nyc_taxi",
        ML_MODEL_DOCKER_VERSION="7",
    )
    enrolment = json.loads((world.folder / "device.json").read_text())
    (world.folder / "device.json").write_text(json.dumps({**enrolment, "registries": []}))
    for name, content, priority in (
        ("base", base(world.device)["content"], 0),
        ("theirs", template, 10),
    ):
        name = f"{name}-{world.device}"
        body = {**configuration(name, world.device, {}, priority), "content": content}
        world.hub.ask("PUT", f"/configurations/{name}", body)
    (world.folder / "agent.toml").write_text('[policy]\nhost_network = true\nmounts = ["/tmp"]\n')
    world.start()
    reported = world.settle(wait_until(lambda: desired_version(world)), code=500)
    assert "testmodule:7" in reported["lastDesiredStatus"]["description"]
    assert reported["modules"] == {}
    registry.tag(
        registry.push(make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex), "testmodule"), "7"
    )
    reported = world.settle(wait_until(lambda: desired_version(world)))
    model = reported["modules"]["nyc_taxi"]
    assert model["runtimeStatus"] == "running"
    assert model["settings"]["image"] == tagged
    assert set(model["hostPorts"]) == {"5001/tcp", "31311/tcp"}
    assert reported["modules"]["testmodule"]["runtimeStatus"] == "running"
    assert world.hub.call(world.device, "$edgeAgent", "ping", None)["status"] == 200
    assert '"right"' not in json.dumps(reported) + world.log()


def test_applying_the_same_again_touches_no_container(running):
    before = running.container()
    spec = taxi(running.images[0], restart_policy="on-failure", startup_order=3)
    reported = running.settle(running.want(spec))
    assert running.container() == before
    assert reported["modules"]["taxi"]["restartPolicy"] == "on-failure"
    assert reported["modules"]["taxi"]["startupOrder"] == 3


def test_an_image_that_does_not_come_is_reported_while_the_old_one_serves(running):
    before = running.container()
    missing = running.images[0].rpartition(":")[0] + ":" + "0" * 64
    reported = running.settle(running.want(taxi(missing), taxi(running.images[0], name="other")), code=500)
    assert "no such image" in reported["lastDesiredStatus"]["description"]
    assert reported["modules"]["taxi"]["settings"]["image"] == running.images[0]
    assert reported["modules"]["taxi"]["runtimeStatus"] == "running"
    assert running.container() == before
    assert running.container("other").running
    reported = running.settle(running.want(taxi(running.images[0])))
    assert reported["lastDesiredStatus"] == {"code": 200, "description": ""}
    assert running.container() == before


@pytest.mark.parametrize(
    ("desired", "code", "reason"),
    [
        pytest.param({"schemaVersion": "9.0"}, 412, "schemaVersion", id="unknown schema"),
        pytest.param({"modules": {"taxi": {"status": "odd"}}}, 400, "modules.taxi.status", id="malformed"),
        pytest.param({"schemaVersion": None, "modules": None}, 417, "no deployment", id="emptied"),
    ],
)
def test_desired_properties_that_cannot_be_carried_out_change_nothing(running, desired, code, reason):
    before = running.container()
    reported = running.settle(running.want_raw(desired), code=code)
    assert reason in reported["lastDesiredStatus"]["description"]
    assert reported["modules"]["taxi"]["runtimeStatus"] == "running"
    assert running.container() == before


def test_a_module_that_cannot_start_does_not_hold_up_another(running):
    broken = taxi(
        running.images[0], name="broken", startup_order=1, create_options={"Entrypoint": ["/nothing"]}
    )
    broken.create_options["HostConfig"] = {"Init": False}
    reported = running.settle(
        running.want(broken, taxi(running.images[0], name="fine", startup_order=99999)), code=500
    )
    assert "cannot start" in reported["lastDesiredStatus"]["description"]
    assert reported["modules"]["fine"]["runtimeStatus"] == "running"
    assert reported["modules"]["broken"]["runtimeStatus"] == "stopped"
    running.settle(running.want(gone=("broken",)))
    assert running.container("broken") is None


def test_a_module_desired_stopped_is_there_but_does_not_run(running):
    reported = running.settle(running.want(taxi(running.images[0], status="stopped")))
    assert reported["modules"]["taxi"]["runtimeStatus"] == "stopped"
    assert not running.container().running
    reported = running.settle(running.want(taxi(running.images[0])))
    assert reported["modules"]["taxi"]["runtimeStatus"] == "running"
    assert running.container().running


def test_images_beyond_the_current_and_the_previous_are_removed(running, registry, engine, pytestconfig):
    cache = pytestconfig.cache.mkdir("busybox")
    first, second, third = (registry.push(make_image(cache, uuid.uuid4().hex), "edge/tiny") for _ in range(3))
    try:
        running.settle(running.want(taxi(first)))
        running.settle(running.want(taxi(second)))
        assert engine.image(first) is not None, "the previous one stays"
        running.settle(running.want(taxi(third)))
        wait_until(lambda: engine.image(first) is None)
        assert engine.image(second) is not None
        assert running.container().image == third
    finally:
        running.settle(running.want(taxi(running.images[0])))
        for reference in (first, second, third):
            engine.remove_image(reference)


def test_the_agent_may_end_and_start_without_touching_containers(running):
    before = running.container()
    version = running.reported()["lastDesiredVersion"]
    running.stop()
    assert running.container() == before
    reported = running.reported()
    assert reported["lastDesiredStatus"]["code"] == 406
    assert reported["modules"]["taxi"]["runtimeStatus"] == "unknown"
    running.start()
    reported = running.settle(version)
    assert reported["modules"]["taxi"]["runtimeStatus"] == "running"
    assert running.container() == before


def test_a_container_that_holds_a_key_as_older_agents_made_it_is_made_anew_once(world):
    spec = taxi(world.images[0])
    made_by_older = module_hash(
        {
            "image": spec.image,
            "createOptions": dict(spec.create_options),
            "env": {},
            "version": spec.version,
            "status": spec.status,
            "gateway": ["edgeferry-hub", "", hashlib.sha256(world.hub.ca_file.read_bytes()).hexdigest()],
        }
    )
    labels = {
        **world.labels,
        "edgeferry.device": world.device,
        "edgeferry.module": "taxi",
        "edgeferry.spec": made_by_older,
        "edgeferry.desired": json.dumps(render_module(spec)),
    }
    world.engine.pull(spec.image, *LOGIN)
    name = f"edgeferry.{world.sandbox}.{world.device}.taxi"
    old = world.engine.create(name, {"Image": spec.image, "Labels": labels})
    world.want(spec)
    world.start()
    new = wait_until(lambda: (facts := world.container()) and facts.id != old and facts.running and facts.id)
    world.stop()
    world.start()
    wait_until(lambda: world.module().get("runtimeStatus") == "running")
    assert world.container().id == new


def test_wiping_removes_what_is_this_devices_and_nothing_else(running):
    other = World(running.hub, running.registry, running.engine, running.folder, running.images)
    other.sandbox = running.sandbox
    foreign = running.engine.create(
        f"taxi.edgeferry.{running.sandbox}.{other.device}",
        {"Image": running.images[0], "Labels": {**running.labels, "edgeferry.device": other.device}},
    )
    running.stop()
    running.wipe()
    assert [facts.id for facts in running.engine.containers(running.labels)] == [foreign]
    assert running.engine.networks(running.labels) == []
    running.wipe()


def test_a_second_agent_in_the_same_folder_is_refused(running):
    program = [sys.executable, "-m", "edgeferry.device", "--state", str(running.folder)]
    second = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert second.returncode == 3
    assert "another agent already runs" in second.stderr


def test_a_device_starts_without_its_hub(own_hub, registry, engine, tiny_images, tmp_path):
    world = World(own_hub, registry, engine, tmp_path / "device", tiny_images)
    world.enrol()
    try:
        world.start()
        world.settle(world.want(taxi(tiny_images[0])))
        world.stop()
        own_hub.stop()
        engine.remove(world.container().id)
        world.start()
        wait_until(lambda: (facts := world.container()) and facts.running, what="the module runs offline")
        own_hub.start()
        wait_until(lambda: world.module().get("runtimeStatus") == "running")
    finally:
        world.close()


def test_a_device_that_is_not_enrolled_says_so(tmp_path):
    program = [sys.executable, "-m", "edgeferry.device", "--state", str(tmp_path)]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "enrol the device first" in ran.stderr


def test_methods_of_the_agent(running):
    call = lambda name, payload=None: running.hub.call(running.device, "$edgeAgent", name, payload)  # noqa: E731
    assert call("ping") == {"status": 200, "payload": None}
    unknown = call("Dance", {})
    assert unknown["status"] == 400
    assert "supported commands" in unknown["payload"]["message"]
    before = running.container()
    assert call("RestartModule", {"schemaVersion": "1.0", "id": "taxi"})["status"] == 200
    after = running.container()
    assert after.id == before.id
    assert after.started_at > before.started_at
    assert call("RestartModule", {"schemaVersion": "1.0", "id": "boat"})["status"] == 500
    assert call("RestartModule", {"schemaVersion": "2.0", "id": "taxi"})["status"] == 400


def test_logs_by_method(running):
    running.settle(running.want(taxi(running.images[0], f"echo one; echo two; {FOREVER}")))

    def logs(**filters):
        items = {"id": "ta.*", "filter": {"tail": 5, **filters}}
        payload = {"schemaVersion": "1.0", "items": items, "encoding": "none"}
        return running.hub.call(running.device, "$edgeAgent", "GetModuleLogs", payload)

    wait_until(lambda: logs()["payload"] == [{"id": "taxi", "payload": "one\ntwo\n", "payloadBytes": None}])
    assert logs(regex="tw")["payload"][0]["payload"] == "two\n"
    assert logs(since="1d")["payload"][0]["payload"] == "one\ntwo\n"
    assert logs(since="soon")["status"] == 400


@pytest.fixture
def quick(world):
    """A device whose agent looks and waits a hundred times quicker, in this process."""
    store = Store(world.folder)
    store.open()
    agent = Agent(load_enrolment(world.folder), store, pass_s=0.1, wait_s=lambda failures: 0.2 * 2**failures)
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield world
    finally:
        agent.stop()
        thread.join(30)
        store.close()
    assert not thread.is_alive()


def test_a_module_that_ends_is_restarted_with_growing_waits(quick):
    version = quick.want(taxi(quick.images[0], "exit 3"))
    module = wait_until(lambda: (said := quick.module()).get("restartCount", 0) >= 2 and said)
    assert module["runtimeStatus"] in ("backoff", "running")
    container = quick.container()
    assert quick.reported()["lastDesiredVersion"] == version
    wait_until(lambda: quick.module().get("exitCode") == 3)
    wait_until(lambda: quick.module().get("statusDescription") == "exited (3)")
    wait_until(lambda: quick.module().get("runtimeStatus") == "backoff")
    assert quick.container().id == container.id


def test_a_module_that_may_not_be_restarted_is_reported_failed(quick):
    version = quick.want(taxi(quick.images[0], "exit 3", restart_policy="never"))
    wait_until(lambda: quick.module().get("runtimeStatus") == "failed")
    assert quick.reported()["lastDesiredVersion"] == version
    assert quick.module()["restartCount"] == 0


def test_a_registry_that_comes_back_is_tried_again(quick, tmp_path, pytestconfig):
    folder = tmp_path / "registry"
    folder.mkdir()
    late = RunningRegistry(folder).start()
    image = late.push(make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex), "late")
    late.stop()
    try:
        version = quick.want(taxi(image))

        def status():
            said = quick.reported()
            return said.get("lastDesiredVersion") == version and said["lastDesiredStatus"]

        assert "does not answer" in wait_until(status)["description"]
        late.start()
        wait_until(lambda: quick.module().get("runtimeStatus") == "running")
        wait_until(lambda: status()["code"] == 200)
    finally:
        quick.want(gone=("taxi",))
        wait_until(lambda: quick.container() is None)
        quick.engine.remove_image(image)
        late.stop()


def test_no_key_stands_in_a_container(running):
    inspected = subprocess.run(
        ["docker", "-H", running.engine.url, "inspect", running.container().id],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    own = running.hub.ask("GET", f"/devices/{running.device}/modules/taxi")
    device = running.hub.ask("GET", f"/devices/{running.device}")
    for identity in (own, device):
        assert identity["authentication"]["symmetricKey"]["primaryKey"] not in inspected
    assert "IOTEDGE_GATEWAYHOSTNAME=edgeferry-hub" in json.loads(inspected)[0]["Config"]["Env"]
