"""Hand-over on a real engine: who asks by name is answered throughout, and a crash leaves one container."""

import dataclasses
import itertools
import uuid
from pathlib import Path

import pytest

from edgeferry.device.containers import Place, render_container
from edgeferry.device.handover import hand_over, pick_serving, settle_names, steps
from edgeferry.domain.device_rules import TrialRules
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from tests.device.conftest import wait_until
from tests.engines import find_engine, make_image

pytestmark = pytest.mark.engine

SERVE = "mkdir -p /www; echo {0} > /www/health; exec httpd -f -p 8080 -h /www"
ASK = "while true; do wget -q -O - http://nyc_Taxi:8080/health || echo failed; done"
OPTIONS = {"Labels": {"edgeferry.handover": "true"}, "ExposedPorts": {"8080/tcp": {}}}
STEPS = ("created", "started", "answered", "predecessor renamed", "renamed", "drained", "stopped", "removed")


@dataclasses.dataclass
class Shop:
    """A device's containers, made without its agent."""

    engine: Engine
    place: Place
    image: str

    def body(self, script: str, name: str = "nyc_Taxi") -> dict:
        spec = ModuleSpec(name=name, image=self.image, create_options={**OPTIONS, "Cmd": [script]})
        Path(self.place.workload, name).mkdir(exist_ok=True)
        return render_container(self.place, spec)

    def run(self, script: str, name: str = "nyc_Taxi"):
        """The facts of a module's container that was started under its proper name."""
        self.engine.start(self.engine.create(self.place.container(name), self.body(script, name)))
        return self.engine.inspect(self.place.container(name))

    def serving(self, name: str = "nyc_Taxi"):
        return self.engine.inspect(self.place.container(name))

    def modules(self) -> list[str]:
        """The names of all containers of the module that is handed over."""
        found = self.engine.containers({**self.place.labels, "edgeferry.module": "nyc_Taxi"})
        return [facts.name for facts in found]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    engine = Engine(find_engine())
    tag = "edgeferry.invalid/hand-over:test"
    engine.load(make_image(folder, "hand-over").write_archive(folder / "image.tar", tag))
    yield tag
    engine.remove_image(tag)
    engine.close()


@pytest.fixture
def shop(image, tmp_path):
    engine = Engine(find_engine())
    place = Place(f"t{uuid.uuid4().hex[:6]}", "Dev_1", "", "", workload=str(tmp_path))
    engine.ensure_network(place.network, place.labels)
    yield Shop(engine, place, image)
    for facts in engine.containers(place.labels):
        engine.remove(facts.id)
    engine.remove_network(place.network)
    engine.close()


def test_no_request_by_name_fails_while_a_module_is_handed_over(shop):
    old = shop.run(SERVE.format("one"))
    client = shop.run(ASK, "client")
    wait_until(lambda: "one" in shop.engine.logs(client.id).split())
    hand_over(shop.engine, shop.place, "nyc_Taxi", old, shop.body(SERVE.format("two")), TrialRules())
    said = shop.engine.logs(client.id, 1_000_000).splitlines()
    assert set(said[said.index("one") :]) == {"one", "two"}
    wait_until(lambda: shop.engine.logs(client.id, 50).split() == ["two"] * 50)
    assert shop.modules() == [shop.place.container("nyc_Taxi")]
    assert shop.engine.inspect(old.id) is None


@pytest.mark.parametrize(
    ("script", "ready_s", "reason"),
    [
        pytest.param("exec httpd -f -p 8080 -h /bin", 1.0, "within 1 s: it answered 404", id="not ready"),
        pytest.param("sleep 60", 1.0, "Connection refused", id="does not listen"),
        pytest.param("echo no model; exit 3", 20.0, "ended with exit code 3: no model", id="ends"),
    ],
)
def test_a_successor_that_does_not_answer_goes_and_its_predecessor_serves_on(shop, script, ready_s, reason):
    old = shop.run(SERVE.format("one"))
    rules = TrialRules(ready_s=ready_s)
    with pytest.raises(EngineError, match=reason):
        hand_over(shop.engine, shop.place, "nyc_Taxi", old, shop.body(script), rules)
    assert shop.modules() == [shop.place.container("nyc_Taxi")]
    assert shop.serving() == old


def test_a_successor_that_cannot_start_goes_and_its_predecessor_serves_on(shop):
    old = shop.run(SERVE.format("one"))
    body = {**shop.body(""), "Entrypoint": ["/no/such/program"]}
    with pytest.raises(EngineError, match="no/such/program"):
        hand_over(shop.engine, shop.place, "nyc_Taxi", old, body, TrialRules())
    assert shop.modules() == [shop.place.container("nyc_Taxi")]
    assert shop.serving() == old


@pytest.mark.parametrize("done", range(len(STEPS) + 1), ids=("nothing", *STEPS))
def test_after_a_crash_at_any_step_one_container_serves_under_the_proper_name(shop, done):
    old = shop.run(SERVE.format("one"))
    body = shop.body(SERVE.format("two"))
    going = steps(shop.engine, shop.place, "nyc_Taxi", old, body, TrialRules(), drain_s=0.1)
    assert tuple(itertools.islice(going, done)) == STEPS[:done]
    going.close()
    took_over = done >= STEPS.index("predecessor renamed") + 1
    found = shop.engine.containers(shop.place.labels)
    assert (pick_serving(shop.place, found)["nyc_Taxi"].id == old.id) is not took_over
    settle_names(shop.engine, shop.place)
    assert shop.modules() == [shop.place.container("nyc_Taxi")]
    assert shop.serving().running
    assert (shop.serving().id == old.id) is not took_over
    assert settle_names(shop.engine, shop.place) is False


def test_an_error_after_the_name_moved_does_not_take_it_back(shop):
    old = shop.run(SERVE.format("one"))
    ticks = itertools.count()

    def fail_in_the_drain():
        if shop.serving() is None or shop.serving().id != old.id:
            next(ticks)
            raise EngineError("the engine hiccups", fix="wait")

    body = shop.body(SERVE.format("two"))
    hand_over(shop.engine, shop.place, "nyc_Taxi", old, body, TrialRules(), fail_in_the_drain)
    assert next(ticks) == 1
    assert shop.modules() == [shop.place.container("nyc_Taxi")]
    assert shop.serving().id != old.id


def test_a_successor_that_ended_meanwhile_gives_the_name_back_to_a_predecessor_that_runs(shop):
    old = shop.run(SERVE.format("one"))
    body = shop.body(SERVE.format("two"))
    going = steps(shop.engine, shop.place, "nyc_Taxi", old, body, TrialRules())
    assert list(itertools.islice(going, 4))[-1] == "predecessor renamed"
    shop.engine.stop(shop.place.successor("nyc_Taxi"), timeout_s=0)
    settle_names(shop.engine, shop.place)
    assert shop.modules() == [shop.place.container("nyc_Taxi")]
    assert shop.serving().id == old.id


def test_a_container_of_another_name_gets_the_proper_one(shop):
    made = shop.engine.create(f"{shop.place.network}.nyc_Taxi", shop.body("true"))
    assert settle_names(shop.engine, shop.place) is True
    assert shop.serving().id == made
