import base64
import gzip
import json
import time
import uuid
from contextlib import contextmanager, nullcontext

import pytest

from edgeferry.device.containers import MODULE_LABEL, Place
from edgeferry.device.methods import MOST_BYTES, Methods
from edgeferry.engine import Engine
from tests.device.conftest import wait_until
from tests.engines import find_engine, make_image

LOUD = (
    "echo '<6> 2026-02-14 16:15:35.243 +00:00 [INF] - one'; sleep 0.2; echo '<3> two' >&2; sleep 0.2; "
    "echo three; echo; while true; do sleep 1; done"
)
WRITTEN = "<6> 2026-02-14 16:15:35.243 +00:00 [INF] - one\n<3> two\nthree\n\n"


class Device:
    """Two modules of one device, and what answers its methods."""

    def __init__(self, engine, image):
        self.engine = engine
        self.place = Place(f"t{uuid.uuid4().hex[:6]}", "d-1", "", "")
        self.woken = 0
        self.applies = []
        self.excused = []
        self.methods = Methods(
            engine.url,
            self.place,
            self.wake,
            hub="hub.example",
            history=lambda: self.applies,
            retry=lambda layer: layer == "known",
            decommission=lambda said: (200, said),
            restarting=self.restarting,
        )
        for module, script in (("taxi", LOUD), ("boat", "seq 1 9 || true; exit 0")):
            labels = {**self.place.labels, MODULE_LABEL: module}
            body = {"Image": image, "Cmd": [script], "Labels": labels, "HostConfig": {"Init": True}}
            engine.start(engine.create(self.place.container(module), body))

    def wake(self):
        self.woken += 1

    @contextmanager
    def restarting(self, module):
        self.excused.append(module)
        yield

    def ask(self, name, **payload):
        return self.methods.answer(name, {"schemaVersion": "1.0", **payload})

    def logs(self, *, module="taxi", form=None, **wanted):
        status, answer = self.ask("GetModuleLogs", items={"id": module, "filter": wanted}, **(form or {}))
        assert status == 200, answer
        return answer

    def close(self):
        self.methods.close()
        for facts in self.engine.containers(self.place.labels):
            self.engine.remove(facts.id)


@pytest.fixture(scope="module")
def device(pytestconfig, tmp_path_factory):
    engine = Engine(find_engine())
    tag = f"edgeferry-test/methods:{uuid.uuid4().hex[:8]}"
    image = make_image(pytestconfig.cache.mkdir("busybox"), tag)
    engine.load(image.write_archive(tmp_path_factory.mktemp("image") / "image.tar", tag))
    device = Device(engine, tag)
    try:
        wait_until(lambda: device.logs()[0]["payload"] == WRITTEN, what="the module's log")
        yield device
    finally:
        device.close()
        engine.remove_image(tag)
        engine.close()


pytestmark = pytest.mark.engine


@pytest.mark.parametrize("name", ["ping", "PING", "Ping"])
def test_ping_is_answered_by_any_spelling_and_payload(device, name):
    for payload in (None, 7, "x", {"schemaVersion": "9"}):
        assert device.methods.answer(name, payload) == (200, None)


@pytest.mark.parametrize("name", ["Dance", "UploadModuleLogs", "UploadSupportBundle", "GetTaskStatus", ""])
def test_an_unknown_command_is_answered_as_iot_edge_does(device, name):
    status, answer = device.ask(name)
    assert status == 400
    assert answer["message"].startswith(f"Command '{name}' not found. The supported commands are - ping, ")


@pytest.mark.parametrize("name", ["GetModuleLogs", "RestartModule", "GetApplyHistory", "RetryLayer"])
@pytest.mark.parametrize("version", ["2.0", "", None])
def test_another_major_version_is_refused(device, name, version):
    assert device.ask(name, schemaVersion=version)[0] == 400


@pytest.mark.parametrize(
    ("wanted", "payload"),
    [
        pytest.param({}, WRITTEN, id="all"),
        pytest.param({"tail": 2}, "three\n\n", id="tail"),
        pytest.param({"loglevel": 3}, "<3> two\n", id="level"),
        pytest.param({"regex": "^t", "tail": 1}, "three\n", id="the last that match"),
        pytest.param({"since": "1h"}, WRITTEN, id="since"),
        pytest.param({"until": "1h"}, "", id="until"),
        pytest.param({"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, "", id="between"),
    ],
)
def test_logs_are_filtered(device, wanted, payload):
    assert device.logs(**wanted) == [{"id": "taxi", "payload": payload, "payloadBytes": None}]


def test_logs_come_as_records_with_stream_and_time_in_the_order_they_were_written(device):
    (answer,) = device.logs(form={"contentType": "json"})
    records = json.loads(answer["payload"])
    assert [(each["stream"], each["loglevel"], each["text"]) for each in records] == [
        ("stdout", 6, "[INF] - one"),
        ("stderr", 3, "two"),
        ("stdout", 6, "three"),
        ("stdout", 6, ""),
    ]
    assert {(each["iothub"], each["device"], each["id"]) for each in records} == {
        ("hub.example", "d-1", "taxi")
    }
    assert records[0]["timestamp"] == "2026-02-14T16:15:35.243000+00:00"
    assert records[1]["timestamp"] < records[2]["timestamp"]
    (last,) = device.logs(form={"contentType": "json"}, tail=3, loglevel=3)
    assert [each["text"] for each in json.loads(last["payload"])] == ["two"]


def test_logs_come_packed(device):
    (answer,) = device.logs(form={"encoding": "gzip"})
    assert answer["payload"] is None
    assert gzip.decompress(base64.b64decode(answer["payloadBytes"])).decode() == WRITTEN


def test_the_first_item_that_fits_a_module_counts_and_names_may_be_patterns(device):
    items = [{"id": "^TAXI$", "filter": {"tail": 1}}, {"id": "all", "filter": {"tail": 0}}]
    status, answer = device.ask("getmodulelogs", items=items)
    assert (status, [(each["id"], each["payload"]) for each in answer]) == (
        200,
        [("boat", ""), ("taxi", "\n")],
    )
    assert [each["id"] for each in device.logs(module="ax|oa")] == ["boat", "taxi"]
    assert device.logs(module="nobody") == []


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({}, id="no items"),
        pytest.param({"items": {"id": "["}}, id="no pattern"),
        pytest.param({"items": {"id": "a", "filter": {"since": "soon"}}}, id="no time"),
        pytest.param({"items": {"id": "a"}, "encoding": "zip"}, id="encoding"),
    ],
)
def test_a_request_for_logs_that_cannot_be_read_is_refused(device, payload):
    status, answer = device.ask("GetModuleLogs", **payload)
    assert status == 400
    assert answer["message"]


@pytest.mark.parametrize(("megabytes", "problem"), [(0.2, "ask for a smaller tail"), (5, "ask since when")])
def test_more_logs_than_a_method_may_answer_are_refused_and_packed_ones_may_fit(device, megabytes, problem):
    place = Place(device.place.sandbox, f"d-{uuid.uuid4().hex[:6]}", "", "")
    image = device.engine.inspect(device.place.container("taxi")).image
    line = "x" * 999
    script = f"i=0; while [ $i -lt {int(megabytes * 1000)} ]; do echo {line}; i=$((i+1)); done"
    body = {"Image": image, "Cmd": [script], "Labels": {**place.labels, MODULE_LABEL: "long"}}
    methods = Methods(
        device.engine.url, place, device.wake, decommission=lambda _: (200, None), restarting=nullcontext
    )
    container = device.engine.create(place.container("long"), body)
    try:
        device.engine.start(container)
        wait_until(lambda: not device.engine.inspect(container).running, 60, "the log's end")
        items = {"id": "long"}
        status, answer = methods.answer("GetModuleLogs", {"items": items})
        assert (status, problem in answer["message"]) == (400, True)
        status, answer = methods.answer("GetModuleLogs", {"items": items, "encoding": "gzip"})
        assert status == (200 if megabytes < 1 else 400)
        status, answer = methods.answer("GetModuleLogs", {"items": {"id": "long", "filter": {"tail": 3}}})
        assert (status, answer[0]["payload"]) == (200, f"{line}\n" * 3)
    finally:
        methods.close()
        device.engine.remove(container)


def test_a_module_is_restarted_and_the_agent_looks_at_once(device):
    before, woken = device.engine.inspect(device.place.container("boat")), device.woken
    time.sleep(0.01)
    assert device.ask("restartmodule", id="boat") == (200, None)
    after = device.engine.inspect(device.place.container("boat"))
    assert (after.id, after.started_at > before.started_at) == (before.id, True)
    assert device.woken == woken + 1
    assert device.excused == ["boat"]


@pytest.mark.parametrize("module", ["ship", "", None, 7, {"a": 1}, "../x"])
def test_a_module_that_is_not_there_is_not_restarted(device, module):
    status, answer = device.ask("RestartModule", id=module)
    assert status == 500
    assert "is not on this device" in answer["message"]


def test_applies_are_told_newest_first_as_many_as_fit(device):
    device.applies = [{"desiredVersion": number, "reason": "r" * 1000} for number in range(200)]
    status, answer = device.ask("GetApplyHistory")
    told = [each["desiredVersion"] for each in answer["applies"]]
    assert status == 200
    assert told == list(range(199, 199 - len(told), -1))
    assert MOST_BYTES - 1100 < len(json.dumps(answer)) < MOST_BYTES + 100 < 128 * 1024
    _, answer = device.ask("getApplyHistory", limit=2)
    assert [each["desiredVersion"] for each in answer["applies"]] == [199, 198]
    assert device.ask("GetApplyHistory", limit=0) == (200, {"applies": []})
    assert device.ask("GetApplyHistory", limit="2")[0] == 400
    device.applies = []
    assert device.ask("GetApplyHistory") == (200, {"applies": []})


def test_a_layers_quarantine_is_lifted(device):
    woken = device.woken
    assert device.ask("RetryLayer", id="known") == (200, None)
    assert device.woken == woken + 1
    for layer in ("other", "", None, 7):
        status, answer = device.ask("RetryLayer", id=layer)
        assert (status, "is not in quarantine" in answer["message"]) == (500, True)
