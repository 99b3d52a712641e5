import threading
import uuid
from pathlib import Path

import pytest

from edgeferry.device.engine_events import Watch
from tests.doors import Door
from tests.engines import make_image

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def labels(engine, pytestconfig, tmp_path_factory):
    labels = {"edgeferry.sandbox": f"t{uuid.uuid4().hex[:8]}"}
    yield labels
    for facts in engine.containers(labels):
        engine.remove(facts.id)


@pytest.fixture(scope="module")
def run(engine, labels, pytestconfig, tmp_path_factory):
    """Runs a script in a container with the given labels."""
    tag = f"edgeferry-test/{labels['edgeferry.sandbox']}:1"
    image = make_image(pytestconfig.cache.mkdir("busybox"), note=tag)
    engine.load(image.write_archive(tmp_path_factory.mktemp("image") / "image.tar", tag))

    def run(script: str, also: dict | None = None, **body) -> str:
        said = {"Image": tag, "Cmd": [script], "Labels": {**labels, **(also or {})}, **body}
        container = engine.create(f"t{uuid.uuid4().hex[:8]}", {**said, "HostConfig": {"NetworkMode": "none"}})
        engine.start(container)
        return container

    yield run
    for facts in engine.containers(labels):
        engine.remove(facts.id)
    engine.remove_image(tag)


@pytest.fixture
def listen():
    """Starts a watch that has been woken for its beginning; it is stopped at the end."""
    started = []

    def listen(url: str, labels: dict) -> threading.Event:
        wake = threading.Event()
        watch = Watch(url, labels, wake)
        started.append(watch)
        watch.start()
        assert wake.wait(60)
        wake.clear()
        return wake

    yield listen
    for watch in started:
        watch.stop()


def test_a_container_that_ends_is_heard_of_at_once(engine, labels, run, listen):
    container = run("read line; exit 3", OpenStdin=True)
    wake = listen(engine.url, labels)
    assert not wake.wait(0.3)
    engine.stop(container, timeout_s=0)
    assert wake.wait(60)


def test_health_is_heard_of(engine, labels, run, listen):
    also = {"what": uuid.uuid4().hex}
    healthcheck = {"Test": ["CMD", "/bin/busybox", "true"], "Interval": 2_000_000_000, "Retries": 1}
    run("sleep 60", also, Healthcheck=healthcheck)
    wake = listen(engine.url, also)
    assert wake.wait(60)


def test_other_devices_containers_wake_nobody(engine, labels, run, listen):
    wake = listen(engine.url, {**labels, "edgeferry.device": "other"})
    container = run("sleep 60")
    engine.stop(container, timeout_s=0)
    assert not wake.wait(0.5)


def test_an_engine_that_went_away_is_listened_to_again(engine, labels, run, listen, tmp_path):
    link = tmp_path / "engine.sock"
    with Door(link, Path(engine.url.removeprefix("unix://"))):
        wake = listen(f"unix://{link}", labels)
    assert not wake.wait(0.3)
    with Door(link, Path(engine.url.removeprefix("unix://"))):
        assert wake.wait(60), "that it is back"
        wake.clear()
        run("exit 0")
        assert wake.wait(60)


def test_it_ends_promptly_listening_or_not(engine, labels, tmp_path):
    for url in (engine.url, f"unix://{tmp_path}/nobody.sock"):
        wake = threading.Event()
        watch = Watch(url, labels, wake)
        watch.start()
        wake.wait(1)
        watch.stop()  # it gives up on a thread that does not end
        assert not [each for each in threading.enumerate() if each.name == "engine events"]
