import gc
import threading
import uuid
from pathlib import Path

import pytest

from edgeferry.engine import Engine
from edgeferry.engine_causes import explain
from edgeferry.errors import EngineError
from tests.device.conftest import wait_until
from tests.doors import Door
from tests.engines import LOGIN, RunningRegistry, find_engine, make_image
from tests.faulty_registry import Fault, FaultyRegistry


@pytest.mark.parametrize(
    ("said", "problem", "retryable"),
    [
        ("Get https://r/v2/: no basic auth credentials", "refused the login", False),
        ("unauthorized: authentication required", "refused the login", False),
        ("manifest unknown: manifest unknown", "no such image", False),
        ("dial tcp: lookup registry.local: no such host", "does not resolve", True),
        ("x509: certificate signed by unknown authority", "does not trust", False),
        (
            'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
            "not answer",
            True,
        ),
        ("net/http: request canceled (Client.Timeout exceeded)", "too slowly", True),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk is full", True),
        ("received unexpected HTTP status: 503 Service Unavailable", "did not deliver", True),
        ("manifest verification failed for digest sha256:0", "did not deliver", True),
        ("unexpected end of JSON input", "did not deliver", True),
        ("Bind for 127.0.0.1:80 failed: port is already allocated", "host port is taken", True),
        ("could not find an available, non-overlapping IPv4 address pool", "no address range", False),
        ("Pool overlaps with other one on this address space", "range is taken", False),
        ("OCI runtime create failed: exec: no such file", "cannot start", False),
        ("something nobody has seen", "answered 500: something nobody has seen", False),
    ],
)
def test_what_the_engine_says_becomes_problem_fix_and_whether_to_try_again(said, problem, retryable):
    error = explain("pulling x", said, 500)
    assert problem in error.problem
    assert error.problem.startswith("pulling x: ")
    assert error.fix
    assert error.retryable is retryable


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves it to gc
def test_an_engine_that_is_not_there_is_a_retryable_error(tmp_path):
    with pytest.raises(EngineError, match="no engine answers") as caught:
        Engine(f"unix://{tmp_path}/nobody.sock", start_it="edgeferry up").ping()
    assert caught.value.retryable
    assert str(caught.value).startswith("no engine answers at unix:///")
    assert caught.value.fix == "edgeferry up"
    del caught
    gc.collect()


engine_test = pytest.mark.engine


@pytest.fixture(scope="module")
def engine():
    engine = Engine(find_engine())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def labels(engine):
    labels = {"edgeferry.sandbox": f"t{uuid.uuid4().hex[:8]}"}
    yield labels
    for facts in engine.containers(labels):
        engine.remove(facts.id)
    for network in engine.networks(labels):
        engine.remove_network(network)


@pytest.fixture(scope="module")
def tiny(engine, labels, pytestconfig, tmp_path_factory):
    """The tag of a tiny image on the engine."""
    tag = f"edgeferry-test/{labels['edgeferry.sandbox']}:1"
    image = make_image(pytestconfig.cache.mkdir("busybox"), note=tag)
    engine.load(image.write_archive(tmp_path_factory.mktemp("image") / "image.tar", tag))
    yield tag
    for facts in engine.containers(labels):
        engine.remove(facts.id)
    engine.remove_image(tag)


def body(labels, tiny, script="while true; do sleep 1; done", **host):
    return {
        "Image": tiny,
        "Cmd": [script],
        "Labels": labels,
        "HostConfig": {"Init": True, "NetworkMode": "none", **host},
    }


@engine_test
def test_a_loaded_image_is_known_by_tag_and_id(engine, tiny):
    facts = engine.image(tiny)
    assert facts.id.startswith("sha256:")
    assert facts.labels == {"note": tiny}
    assert facts.size_bytes > 1_000_000
    assert engine.image(facts.id) == facts
    assert engine.image("edgeferry-test/nothing:1") is None


@engine_test
def test_a_container_lives_from_create_to_remove(engine, labels, tiny):
    name = f"{labels['edgeferry.sandbox']}.life"
    container = engine.create(name, body(labels, tiny, "echo hello; while true; do sleep 1; done"))
    created = engine.inspect(name)
    assert (created.id, created.status, created.running) == (container, "created", False)
    engine.start(container)
    engine.start(container)
    running = engine.inspect(container)
    assert (running.name, running.image, running.running) == (name, tiny, True)
    assert running.image_id == engine.image(tiny).id
    assert running.labels.items() >= labels.items()
    assert [facts.name for facts in engine.containers(labels)] == [name]
    wait_until(lambda: "hello" in engine.logs(container))
    engine.stop(container, timeout_s=5)
    engine.stop(container)
    assert engine.inspect(container).status == "exited"
    engine.remove(container)
    engine.remove(container)
    assert engine.inspect(name) is None
    assert engine.containers(labels) == []


@engine_test
def test_host_ports_and_addresses_are_told_while_it_runs(engine, labels, tiny):
    network = f"{labels['edgeferry.sandbox']}.net"
    gateway = engine.ensure_network(network, labels)
    assert engine.ensure_network(network, labels) == gateway
    assert engine.networks(labels) == [network]
    wanted = body(labels, tiny, NetworkMode=network, PortBindings={"80/tcp": [{"HostIp": "127.0.0.1"}]})
    container = engine.create(f"{network}.one", {**wanted, "ExposedPorts": {"80/tcp": {}}})
    engine.start(container)
    facts = engine.inspect(container)
    assert facts.host_ports["80/tcp"] > 1024
    assert facts.addresses[network].rpartition(".")[0] == gateway.rpartition(".")[0]
    with pytest.raises(EngineError):
        engine.remove_network(network)
    engine.remove(container)
    engine.remove_network(network)
    engine.remove_network(network)
    assert engine.networks(labels) == []


@engine_test
def test_exit_code_and_missing_program_are_told(engine, labels, tiny):
    ended = engine.create(f"{labels['edgeferry.sandbox']}.ends", body(labels, tiny, "exit 7"))
    engine.start(ended)
    facts = wait_until(lambda: (found := engine.inspect(ended)).status == "exited" and found)
    assert (facts.exit_code, facts.running, facts.oom_killed) == (7, False, False)
    broken = engine.create(
        f"{labels['edgeferry.sandbox']}.broken",
        {**body(labels, tiny, Init=False), "Entrypoint": ["/nothing"]},
    )
    with pytest.raises(EngineError, match="cannot start"):
        engine.start(broken)


@engine_test
def test_errors_name_what_is_wrong(engine, labels, tiny):
    with pytest.raises(EngineError, match="does not have the image"):
        engine.create("x", {"Image": "edgeferry-test/nothing:1"})
    with pytest.raises(EngineError, match="does not have it"):
        engine.start("edgeferry-nothing")
    name = f"{labels['edgeferry.sandbox']}.twice"
    engine.create(name, body(labels, tiny))
    with pytest.raises(EngineError, match="name is taken"):
        engine.create(name, body(labels, tiny))


@engine_test
def test_an_archive_that_is_none_is_refused(engine, tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(b"not an archive")
    with pytest.raises(EngineError, match=r"loading image\.tar"):
        engine.load(path)


@engine_test
def test_images_are_pulled_by_digest_with_the_right_login_only(engine, labels, tmp_path, pytestconfig):
    image = make_image(pytestconfig.cache.mkdir("busybox"), note=uuid.uuid4().hex)
    registry = RunningRegistry(tmp_path, login=LOGIN).start()
    reference = ""
    try:
        reference = registry.push(image, "edge/tiny")
        for login in ((), ("device", "wrong")):
            with pytest.raises(EngineError, match="refused the login") as caught:
                engine.pull(reference, *login)
            assert not caught.value.retryable
        engine.pull(reference, "device", "right")
        facts = engine.image(reference)
        assert facts.id == image.id
        assert reference in facts.repo_digests
        with pytest.raises(EngineError, match="no such image"):
            engine.pull(reference.rpartition(":")[0] + ":" + "0" * 64, "device", "right")
        registry.stop()
        engine.remove_image(reference)
        assert engine.image(reference) is None
        with pytest.raises(EngineError, match="does not answer") as caught:
            engine.pull(reference, "device", "right")
        assert caught.value.retryable
    finally:
        registry.stop()
        if reference:
            engine.remove_image(reference)


@pytest.fixture
def stuck(pytestconfig):
    """A registry whose layers never come whole, and the reference of an image there."""
    registry = FaultyRegistry(Fault(layer="stuck")).start()
    image = make_image(pytestconfig.cache.mkdir("busybox"), note=uuid.uuid4().hex)
    yield registry, registry.push(image, "edge/tiny")
    registry.stop()


@engine_test
def test_a_pull_is_given_up_with_its_reason_while_nothing_arrives(engine, stuck):
    _, reference = stuck
    told = []
    wanted = threading.Event()
    threading.Timer(0.8, wanted.set).start()
    with pytest.raises(EngineError, match="given up: nobody wants it") as caught:
        engine.pull(
            reference, on_progress=told.append, given_up=lambda: "nobody wants it" if wanted.is_set() else ""
        )
    assert caught.value.retryable
    assert 0 < told[-1].bytes_done < told[-1].bytes_known


@engine_test
def test_a_pull_whose_engine_ends_meanwhile_has_failed(engine, stuck, tmp_path):
    _, reference = stuck
    url = tmp_path / "engine.sock"
    with Door(url, Path(engine.url.removeprefix("unix://"))) as door:
        told = []
        threading.Timer(0.8, door.shut).start()
        with pytest.raises(EngineError, match="or it ended meanwhile") as caught:
            Engine(f"unix://{url}").pull(reference, on_progress=told.append)
        assert caught.value.retryable
        assert told, "it had begun"


@engine_test
def test_an_engine_that_went_away_leaves_no_socket_open(engine, tmp_path):
    url = tmp_path / "engine.sock"
    with Door(url, Path(engine.url.removeprefix("unix://"))) as door:
        asked = Engine(f"unix://{url}")
        assert asked.containers({"nobody": "has this"}) == []
        door.shut()
        for _ in range(2):
            with pytest.raises(EngineError, match="no engine answers"):
                asked.containers({"nobody": "has this"})
        asked.close()
    gc.collect()  # a socket left open is an error of this test
