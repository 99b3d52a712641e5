import gc
import io
import random
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime

import pytest

from edgeferry.adapters.registry import RegistryClient
from edgeferry.device.image_check import check_image
from edgeferry.device.pull_relay import Relay
from edgeferry.device.pulls import Pulls
from edgeferry.device.registry_line import RegistryLine
from edgeferry.domain.device_rules import PullRules
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.engine_images import ImageFacts
from edgeferry.errors import UsageError
from tests.adapters.test_registry import layered_image
from tests.device.conftest import wait_until
from tests.engines import LOGIN, RunningRegistry, make_image
from tests.faulty_registry import HEALTHY, Fault, FaultyRegistry

engine_test = pytest.mark.engine
ROOMY = {"least_free_bytes": 1}


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    registry = FaultyRegistry().start()
    yield registry
    registry.stop()


@pytest.fixture
def push(registry, engine, pytestconfig):
    """Puts a new image into the registry; it is removed from the engine at the end."""
    pushed = []

    def push(*more: bytes) -> str:
        image = make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex)
        pushed.append(registry.push(image, "edge/tiny", *more))
        return pushed[-1]

    yield push
    for reference in pushed:
        engine.remove_image(reference)


@pytest.fixture
def start(engine):
    """Makes `Pulls` that are closed at the end."""
    made = []

    def start(wait: float = 0.3, **rules) -> Pulls:
        now = rules.pop("local_now", datetime.now)
        made.append(
            Pulls(
                engine.url,
                threading.Event(),
                PullRules(**{**ROOMY, **rules}),
                wait_s=lambda _: wait,
                local_now=now,
            )
        )
        return made[-1]

    yield start
    for pulls in made:
        pulls.close()


def outcome(pulls: Pulls, image: str, timeout_s: float = 30.0) -> str:
    """How the next attempt to pull the image ended: "" when it came."""
    found: dict[str, str] = {}

    def ended() -> bool:
        found.update(pulls.harvest())
        return image in found

    wait_until(ended, timeout_s, f"a pull of {image} ends")
    return found[image]


FAULTS = [
    pytest.param(Fault(401), "refused the login", id="401"),
    pytest.param(Fault(403), "refused the login", id="403"),
    pytest.param(Fault(404), "no such image", id="404"),
    pytest.param(Fault(429), "did not deliver", id="429"),
    pytest.param(Fault(500), "did not deliver", id="500"),
    pytest.param(Fault(503), "did not deliver", id="503"),
    pytest.param(Fault(manifest="truncated"), "did not deliver", id="truncated-manifest"),
    pytest.param(Fault(manifest="wrong"), "did not deliver", id="wrong-manifest-digest"),
    pytest.param(Fault(layer="wrong"), "did not deliver", id="wrong-layer-digest"),
    pytest.param(Fault(layer="half"), "no byte came for 1 s", id="half-body"),
    pytest.param(Fault(layer="stuck"), "no byte came for 1 s", id="stuck"),
]


@engine_test
@pytest.mark.parametrize(("fault", "problem"), FAULTS)
def test_a_registry_that_fails_is_named_asked_seldom_and_believed_once_it_heals(
    registry, push, start, engine, fault, problem
):
    image = push()
    registry.fault = fault
    pulls = start(progress_s=1, wait=1.0)
    pulls.start(image, [])
    assert problem in outcome(pulls, image)
    assert engine.image(image) is None
    asked = len(registry.requests)
    assert asked < 20
    until = pulls.next_due() - 0.4
    while time.monotonic() < until:
        assert pulls.harvest() == {}
        time.sleep(0.01)
    assert len(registry.requests) == asked, "it was asked again before the wait was over"
    registry.fault = HEALTHY
    wait_until(lambda: pulls.harvest().get(image) == "", what="the image comes")
    assert engine.image(image) is not None
    assert pulls.waiting() == {}


@engine_test
def test_a_registry_that_takes_the_question_and_never_answers_is_given_up(registry, push, start):
    image = push()
    registry.fault = Fault(manifest="stuck")
    pulls = start(progress_s=1, wait=60)
    pulls.start(image, [])
    assert "no byte came for 1 s" in outcome(pulls, image)
    assert pulls.progress() == {}


@engine_test
def test_a_failure_is_not_tried_again_before_its_wait_is_over(registry, push, start):
    image = push()
    registry.fault = Fault(500)
    pulls = start(wait=60)
    pulls.start(image, [])
    outcome(pulls, image)
    asked = len(registry.requests)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        pulls.start(image, [])
        assert pulls.harvest() == {}
    assert len(registry.requests) == asked
    assert "tried again in" in pulls.waiting()[image]
    assert "did not deliver" in pulls.waiting()[image]
    assert 20 < pulls.next_due() - time.monotonic() <= 60


@engine_test
def test_a_registry_that_asks_for_patience_gets_it(registry, push, start):
    image = push()
    registry.fault = Fault(429, retry_after="40")
    pulls = start(wait=0.1)
    pulls.start(image, [])
    assert "asks to wait 40 s" in outcome(pulls, image)
    assert 10 < pulls.next_due() - time.monotonic() <= 40


@engine_test
def test_a_registry_whose_name_does_not_resolve_is_named(start):
    image = f"nowhere.invalid/edge/tiny@sha256:{'0' * 64}"
    pulls = start()
    pulls.start(image, [])
    assert "name does not resolve" in outcome(pulls, image)


@engine_test
def test_a_new_login_is_tried_at_once(tmp_path, pytestconfig, engine, start):
    image = make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex)
    registry = RunningRegistry(tmp_path, login=LOGIN).start()
    reference = registry.push(image, "edge/tiny")
    try:
        pulls = start(wait=60)
        pulls.start(reference, [RegistryLogin(registry.address, "device", "wrong")])
        assert "refused the login" in outcome(pulls, reference)
        pulls.start(reference, [RegistryLogin(registry.address, "device", "right")])
        assert outcome(pulls, reference) == ""
    finally:
        registry.stop()
        engine.remove_image(reference)


@engine_test
def test_a_pull_tells_how_far_it_is_and_ends_when_nobody_wants_it(registry, push, start, engine):
    image = push()
    registry.bytes_per_s = 300_000
    pulls = start()
    pulls.start(image, [])
    progress = wait_until(lambda: (found := pulls.progress().get(image)) and found.bytes_done and found)
    assert 0 < progress.bytes_done < progress.bytes_known
    assert (progress.layers_done, progress.layers) == (0, 1)
    pulls.stop(image)
    wait_until(lambda: not pulls.is_running(image))
    sent = registry.sent
    time.sleep(0.7)
    assert registry.sent - sent <= 64 * 1024, "the engine goes on"
    assert pulls.harvest() == {}
    assert engine.image(image) is None


@engine_test
def test_an_image_that_came_is_told_though_nobody_wants_it_any_more(registry, push, start):
    image = push()
    pulls = start()
    pulls.start(image, [])
    wait_until(lambda: not pulls.is_running(image))
    pulls.stop(image)
    pulls.keep_only(set())
    assert pulls.harvest() == {image: ""}


@engine_test
def test_only_what_is_wanted_goes_on(registry, push, start):
    first, second = push(), push()
    registry.fault = Fault(layer="stuck")
    pulls = start(progress_s=600)
    pulls.start(first, [])
    pulls.start(second, [])
    pulls.keep_only({second})
    wait_until(lambda: set(pulls.progress()) == {second})


@engine_test
def test_two_are_pulled_at_a_time_and_the_oldest_wish_is_the_next(registry, push, start):
    images = [push() for _ in range(4)]
    registry.fault = Fault(layer="stuck")
    pulls = start(progress_s=600)
    for image in images:
        pulls.start(image, [])
    running = set(pulls.progress())
    assert running == set(images[:2])
    assert set(pulls.waiting()) == set(images[2:])
    assert "2 others" in pulls.waiting()[images[2]]
    assert pulls.next_due() == float("inf")
    pulls.stop(images[0])
    wait_until(lambda: set(pulls.progress()) == {images[1], images[2]})


@engine_test
def test_outside_the_window_nothing_is_pulled_and_what_runs_at_its_end_is_given_up(
    registry, push, start, engine
):
    image = push()
    clock = [datetime(2026, 1, 1, 21, 59)]
    pulls = start(window="22:00-05:00", local_now=lambda: clock[0])
    pulls.start(image, [])
    assert "opens at 22:00" in outcome(pulls, image)
    assert "opens at 22:00" in pulls.waiting()[image]
    assert registry.requests == []
    registry.bytes_per_s = 200_000
    clock[0] = datetime(2026, 1, 1, 22, 0)
    assert pulls.harvest() == {}
    wait_until(lambda: (found := pulls.progress().get(image)) and found.bytes_done)
    clock[0] = datetime(2026, 1, 2, 5, 0)
    assert "given up: outside the download window" in outcome(pulls, image)
    registry.bytes_per_s = 0
    clock[0] = datetime(2026, 1, 2, 22, 0)
    assert outcome(pulls, image) == ""
    assert engine.image(image) is not None


@engine_test
def test_a_disk_that_is_too_full_is_told_before_anything_is_pulled(registry, push, start):
    image = push()
    pulls = start(least_free_bytes=10**15)
    pulls.start(image, [])
    problem = outcome(pulls, image)
    assert "not started, the disk is too full" in problem
    assert "the image brings 2 MB, and 1,000,000,000 MB must stay free" in problem
    assert not any("/blobs/" in path for path in registry.requests)


@engine_test
def test_layers_that_are_there_need_no_room(registry, push, start, pytestconfig, engine):
    first = push()
    pulls = start()
    pulls.start(first, [])
    assert outcome(pulls, first) == ""
    shared = registry.blobs[max(registry.blobs, key=lambda digest: len(registry.blobs[digest]))]
    image = make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex)
    second = registry.push(type(image)(shared, image.config), "edge/tiny", b"\0" * 10240)
    full = start(least_free_bytes=10**15)
    full.start(second, [])
    assert "the image brings 0 MB" in outcome(full, second)


@engine_test
def test_a_cap_is_kept_and_the_image_has_its_own_name_in_the_end(registry, push, start, engine):
    cap, count = 2_000_000, 2
    big = random.Random(1).randbytes(500_000)
    images = [push(tar_of(f"{number}".encode() + big)) for number in range(count)]
    pulls = start(bytes_per_s=cap)
    began = time.monotonic()
    for image in images:
        pulls.start(image, [])
    came: dict[str, str] = {}
    wait_until(lambda: came.update(pulls.harvest()) or len(came) == count)
    took = time.monotonic() - began
    assert set(came.values()) == {""}
    rate = registry.sent / took
    assert rate < cap * 1.15
    assert rate > cap * 0.1, "slower than it may be"
    whole = sum(len(blob) for blob in registry.blobs.values())
    assert registry.sent <= whole * 1.05, "the second pull brought the layers again"
    digests = tuple(image.partition("@")[2] for image in images)
    assert {each for each in engine.repo_digests() if each.endswith(digests)} == set(images)


@engine_test
def test_a_cap_is_kept_with_the_login_of_a_registry_that_asks_for_one(tmp_path, pytestconfig, engine, start):
    image = make_image(pytestconfig.cache.mkdir("busybox"), uuid.uuid4().hex)
    registry = RunningRegistry(tmp_path, login=LOGIN).start()
    reference = registry.tag(registry.push(image, "edge/tiny"), "one")
    try:
        pulls = start(bytes_per_s=50_000_000)
        pulls.start(reference, [RegistryLogin(registry.address, *LOGIN)])
        assert outcome(pulls, reference) == ""
        assert engine.image(reference).id == image.id
    finally:
        registry.stop()
        engine.remove_image(reference)


@engine_test
def test_a_cap_is_kept_over_tls_with_a_token_of_the_registrys_server(
    registry_server, tmp_path, engine, start
):
    client = RegistryClient(
        registry_server.host, "pulls", "pusher", registry_server.password, registry_server.ca_file
    )
    image = layered_image(tmp_path, uuid.uuid4().hex)
    client.push(image)
    client.close()
    reference = client.reference("taxi", image.digest)
    pulls = start(bytes_per_s=50_000_000)
    try:
        pulls.start(reference, [RegistryLogin(registry_server.host, "puller", registry_server.password)])
        assert outcome(pulls, reference) == ""
        assert engine.image(reference).repo_digests == (reference,)
    finally:
        engine.remove_image(reference)


@engine_test
def test_no_cap_is_broken_for_a_tag_of_which_the_registry_does_not_say_what_it_is(registry, push, start):
    image = registry.tag(push(), "one")
    registry.fault = Fault(503)
    pulls = start(bytes_per_s=50_000_000)
    pulls.start(image, [])
    assert "the registry answered 503" in outcome(pulls, image)
    assert not any(path.startswith("/v2/edge/tiny/blobs") for path in registry.requests)


@engine_test
def test_a_login_that_changes_in_the_middle_of_a_pull_is_tried_next_without_a_wait(registry, push, start):
    image = push()
    registry.fault = Fault(layer="stuck")
    pulls = start(progress_s=1, wait=60)
    pulls.start(image, [])
    wait_until(lambda: registry.sent)
    pulls.start(image, [RegistryLogin(registry.address, "device", "new")])
    registry.fault = HEALTHY
    assert "no byte came" in outcome(pulls, image)
    assert outcome(pulls, image) == ""


@engine_test
def test_what_an_agent_that_was_killed_left_behind_goes_with_the_next_pull(registry, push, start, engine):
    first, second = push(), push()
    relay = Relay(50_000_000)
    line = RegistryLine(registry.address, "edge/tiny", None)
    passage = relay.open(line, first.partition("@")[2])
    engine.pull(passage.reference)
    for still_there in (True, False):
        pulls = start(bytes_per_s=50_000_000)
        pulls.start(second, [])
        assert outcome(pulls, second) == ""
        assert (engine.image(passage.reference) is not None) is still_there
        if still_there:
            relay.close()
            line.close()


@engine_test
@pytest.mark.parametrize(
    ("fault", "problem"), [(Fault(layer="stuck"), "no byte came"), (Fault(layer="wrong"), "did not deliver")]
)
def test_what_fails_behind_the_cap_is_told_of_the_image_itself(registry, push, start, fault, problem):
    image = push()
    registry.fault = fault
    pulls = start(bytes_per_s=50_000_000, progress_s=1)
    pulls.start(image, [])
    said = outcome(pulls, image)
    assert said.startswith(f"pulling {image}: ")
    assert problem in said
    assert "edgeferry-relay" not in said


def test_a_cap_that_cannot_be_kept_is_told():
    far = Pulls("tcp://192.0.2.1:2375", threading.Event(), PullRules(bytes_per_s=1))
    assert "on another machine" in far.cap_problem
    near = Pulls("unix:///nowhere", threading.Event(), PullRules(bytes_per_s=1))
    assert near.cap_problem == ""


def test_a_window_that_is_none_is_refused():
    with pytest.raises(UsageError, match="no download window"):
        Pulls("unix:///nowhere", threading.Event(), PullRules(window="22-5"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves it to gc
def test_an_engine_that_is_gone_is_a_problem_of_the_pull(tmp_path):
    pulls = Pulls(f"unix://{tmp_path}/nobody.sock", threading.Event(), wait_s=lambda _: 60.0)
    pulls.start("127.0.0.1:1/x:1", [])
    assert "no engine answers" in outcome(pulls, "127.0.0.1:1/x:1")
    gc.collect()


DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("reference", "known", "facts", "problem"),
    [
        pytest.param(f"r:1/a@{DIGEST}", "", ("id", f"r:1/a@{DIGEST}"), "", id="by-its-digest"),
        pytest.param(f"r:1/a:t@{DIGEST}", "", ("id", f"r:1/a@{DIGEST}"), "", id="tag-and-digest"),
        pytest.param(f"r:1/a@{DIGEST}", "", (DIGEST,), "", id="by-its-id"),
        pytest.param(f"r:1/a@{DIGEST}", "", ("id", f"r:1/a@{OTHER}"), "another digest", id="other-digest"),
        pytest.param(f"r:1/a@{DIGEST}", "", ("id", f"r:1/b@{DIGEST}"), "another digest", id="other-name"),
        pytest.param(f"r:1/a@{DIGEST}", "", ("id",), "another digest", id="without-digest"),
        pytest.param("r:1/a:t", "", ("id",), "", id="a-tag-first-seen"),
        pytest.param("r:1/a:t", "id", ("id",), "", id="a-tag-that-stayed"),
        pytest.param("r:1/a:t", "before", ("id",), "was moved", id="a-tag-that-moved"),
        pytest.param("r:1/a:t", "", None, "does not have", id="absent"),
    ],
)
def test_an_image_is_the_one_that_was_asked_for_or_what_is_wrong_is_told(reference, known, facts, problem):
    found = ImageFacts(facts[0], facts[1:], 1, {}) if facts else None
    said = check_image(found, reference, known)
    assert problem in said
    assert bool(said) == bool(problem)


def tar_of(body: bytes) -> bytes:
    """A layer with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        info = tarfile.TarInfo("big")
        info.size = len(body)
        layer.addfile(info, io.BytesIO(body))
    return packed.getvalue()
