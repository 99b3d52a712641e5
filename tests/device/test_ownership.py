import json
import subprocess
import sys
import uuid
from dataclasses import replace

import pytest

from edgeferry.device.containers import Place, made_hash, render_container, spec_hash
from edgeferry.device.ownership import Owner, claim, find_strangers, load_owner, refuse_strangers
from edgeferry.device.state import Store, load_enrolment
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import ContainerFacts
from edgeferry.errors import EngineError, OutsideError, RefusedError
from tests.device.conftest import free_port, wait_until
from tests.device.disks import refusing_writes, tiny_disk
from tests.device.worlds import World, taxi
from tests.engines import LOGIN, RunningRegistry, make_image

TAXI = ModuleSpec(name="taxi", image="r/taxi@sha256:1")
PLACE = Place("ab12cd", "device-1", "edgeferry-hub", "", owner="ours")


def container(**labels: str) -> ContainerFacts:
    return ContainerFacts(
        id="1",
        name="edgeferry.ab12cd.device-1.taxi",
        image_id="",
        image="",
        status="running",
        running=True,
        exit_code=0,
        health="",
        started_at="",
        finished_at="",
        restart_count=0,
        labels={"edgeferry.device": "device-1", **{f"edgeferry.{key}": said for key, said in labels.items()}},
        host_ports={},
        addresses={},
        oom_killed=False,
    )


@pytest.mark.parametrize(
    ("containers", "strangers"),
    [
        pytest.param([], set(), id="a new device"),
        pytest.param([container(owner="ours")], set(), id="our own"),
        pytest.param([container()], set(), id="from before there were owners"),
        pytest.param([container(owner="taken")], set(), id="taken over from"),
        pytest.param([container(owner="ours"), container(owner="theirs")], {"theirs"}, id="another's"),
    ],
)
def test_a_stranger_is_whoever_else_made_a_container_of_this_device(containers, strangers):
    owner = Owner("ours", frozenset({"taken"}))
    assert find_strangers(owner, containers) == strangers
    if strangers:
        with pytest.raises(RefusedError, match=r"owner theirs: edgeferry\.ab12cd\.device-1\.taxi") as caught:
            refuse_strangers(owner, containers)
        assert "--take-over" in caught.value.fix
    else:
        refuse_strangers(owner, containers)


def test_a_container_carries_its_owner_and_only_another_ones_is_made_anew():
    labels = render_container(PLACE, TAXI)["Labels"]
    assert labels["edgeferry.owner"] == "ours"
    wanted = spec_hash(PLACE, TAXI)
    assert made_hash(PLACE, labels) == wanted
    assert made_hash(PLACE, {**labels, "edgeferry.owner": "theirs"}) == ""
    del labels["edgeferry.owner"]
    assert made_hash(PLACE, labels) == wanted
    assert render_container(replace(PLACE, owner=""), TAXI)["Labels"] == labels


def test_the_hash_does_not_tell_the_owner():
    assert spec_hash(PLACE, TAXI) == spec_hash(replace(PLACE, owner="theirs"), TAXI)


def test_an_owner_is_made_once_and_outlives_the_loss_of_a_copy(tmp_path):
    owner = load_owner(Store(tmp_path))
    assert owner.id
    assert load_owner(Store(tmp_path)) == owner
    (tmp_path / "owner").write_bytes(b"")
    assert load_owner(Store(tmp_path)) == owner
    (tmp_path / "other").mkdir()
    assert load_owner(Store(tmp_path / "other")) != owner


def test_an_owner_that_cannot_be_kept_has_no_id(tmp_path):
    with tiny_disk(tmp_path / "tiny") as folder, refusing_writes(folder):
        assert load_owner(Store(folder)) == Owner("")


def enrolled(store: Store, engine: str, device: str, sandbox: str = "ab12cd"):
    """The enrolment of that device, written into the store's folder."""
    connection = f"HostName=h;DeviceId={device};SharedAccessKey=a2V5"
    said = {"connection_string": connection, "engine": engine, "sandbox": sandbox}
    (store.folder / "device.json").write_text(json.dumps(said))
    return load_enrolment(store.folder)


def test_an_engine_that_does_not_answer_keeps_no_agent_from_starting_but_nothing_is_taken_over(tmp_path):
    store = Store(tmp_path)
    enrolment = enrolled(store, f"tcp://127.0.0.1:{free_port()}", "device-1")
    owner = claim(enrolment, store, take_over=False)
    assert owner == load_owner(store)
    with pytest.raises(EngineError, match="no engine answers"):
        claim(enrolment, store, take_over=True)
    assert load_owner(store) == owner


@pytest.fixture(scope="module")
def image(engine, pytestconfig, tmp_path_factory):
    """An image that only a registry has; the registry."""
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    reference = registry.push(make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex), "tiny")
    yield reference, registry
    engine.remove_image(reference)
    registry.stop()


@pytest.fixture
def worlds(hub, engine, image, tmp_path):
    """Two state folders of one device, whose taxi runs by the first one's agent."""
    first = World(hub, image[1], engine, tmp_path / "first", [image[0]])
    first.enrol()
    second = replace(first, folder=tmp_path / "second")
    second.folder.mkdir()
    (second.folder / "device.json").write_bytes((first.folder / "device.json").read_bytes())
    try:
        first.start()
        first.settle(first.want(taxi(image[0])))
        yield first, second
    finally:
        second.close()
        first.close()


def owner_of(world: World) -> str:
    return world.container().labels["edgeferry.owner"]


def refused(world: World) -> str:
    """What the agent said that ended with the answer no."""
    process, world.process = world.process, None
    try:
        assert process.wait(60) == 1, world.log()
    finally:
        process.kill()
    return world.log()


@pytest.mark.engine
def test_a_device_has_one_owner_and_the_last_to_take_over_is_it(worlds):
    first, second = worlds
    before = first.container()
    assert owner_of(first) == load_owner(Store(first.folder)).id

    second.start()
    said = refused(second)
    assert f"owner {owner_of(first)}" in said
    assert "--take-over" in said
    assert first.container().id == before.id

    second.start("--take-over")
    assert "--take-over" in refused(first), "the agent that runs sees that it is no longer the owner"
    wait_until(lambda: (facts := second.container()) and facts.running and facts.id != before.id, 60)
    taken = owner_of(second)
    assert taken == load_owner(Store(second.folder)).id
    first.start()
    assert f"owner {taken}" in refused(first)
    second.stop()

    kept = second.container().id
    second.start()
    second.settle(second.reported()["lastDesiredVersion"])
    assert second.container().id == kept, "once taken over, nothing is made anew again"

    first.start("--take-over")
    assert "--take-over" in refused(second), "also when it had taken over itself"
    wait_until(lambda: (facts := first.container()) and facts.running and facts.id != kept, 60)
    assert owner_of(first) not in (taken, before.labels["edgeferry.owner"])


@pytest.fixture
def foreign(engine, pytestconfig, tmp_path):
    """The labels of a container, never started, that another agent made for a device."""
    tag = f"edgeferry-test:{uuid.uuid4().hex}"
    engine.load(make_image(pytestconfig.cache.mkdir("busybox"), tag).write_archive(tmp_path / "tar", tag))
    place = Place(f"t{uuid.uuid4().hex[:6]}", "device-1", "edgeferry-hub", "", owner="theirs")
    labels = {**place.owned_labels, "edgeferry.module": "taxi"}
    created = engine.create(place.container("taxi"), {"Image": tag, "Labels": labels})
    try:
        yield labels
    finally:
        engine.remove(created)
        engine.remove_image(tag)


@pytest.mark.engine
def test_a_take_over_that_cannot_be_kept_takes_nothing(foreign, engine, tmp_path):
    with tiny_disk(tmp_path / "tiny") as folder:
        store = Store(folder)
        enrolment = enrolled(store, engine.url, "device-1", foreign["edgeferry.sandbox"])
        with refusing_writes(folder), pytest.raises(OutsideError, match="cannot be kept"):
            claim(enrolment, store, take_over=True)
        with pytest.raises(RefusedError, match="owner theirs"):
            claim(enrolment, store, take_over=False)
        taken = claim(enrolment, store, take_over=True)
        assert claim(enrolment, store, take_over=False) == taken, "asked for once, it holds"
        assert claim(enrolment, store, take_over=True) == taken, "nothing is left to take over"


@pytest.mark.engine
def test_nobody_wipes_what_another_owns_without_taking_it_over(foreign, engine, tmp_path):
    enrolled(Store(tmp_path), engine.url, "device-1", foreign["edgeferry.sandbox"])
    program = [sys.executable, "-m", "edgeferry.device", "--state", str(tmp_path), "--wipe"]
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "owner theirs" in ended.stderr
    assert len(engine.containers(foreign)) == 1
    subprocess.run([*program, "--take-over"], capture_output=True, check=True)
    assert engine.containers(foreign) == []
