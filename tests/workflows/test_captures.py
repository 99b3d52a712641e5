"""Captures fetched as commands do: a real hub, a companion and a model server as processes."""

import json
import time
from types import SimpleNamespace

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.errors import HubError, OutsideError, RefusedError, UsageError
from edgeferry.ports import show_nobody
from edgeferry.wire.capture_page import render_source
from edgeferry.workflows.captures import (
    Wanted,
    fetch_captures,
    fetch_counts,
    stream_captures,
)
from edgeferry.workflows.survey import find_running
from tests.device.conftest import device, hub, wait_until  # noqa: F401
from tests.device.test_captures import send, send_many, server  # noqa: F401
from tests.device.test_companion import companion  # noqa: F401


@pytest.fixture
def services(hub):  # noqa: F811
    """What the workflow touches: the hub."""
    said = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    client = HubClient(SharedKeyLogin(lambda _: said, time.time), str(hub.ca_file))
    yield SimpleNamespace(hub=client, work=show_nobody)
    client.close()


@pytest.fixture
def capturing(companion, hub, server, services):  # noqa: F811
    """The name of a device whose companion knows where its model's captures are."""
    sources = {
        "captures": {"taxi": render_source(server.captures_url), "gone": render_source("http://127.0.0.1:1")}
    }
    hub.patch_desired(companion.device, "companion", sources)

    def ready():
        try:
            return fetch_counts(services, companion.device, "taxi")
        except (HubError, RefusedError):
            return None

    wait_until(ready)
    return companion.device


def test_all_pages_come_home_with_the_clients_answers(services, capturing, server):  # noqa: F811
    got = send_many(server, clients=4, count=1500)
    captured = fetch_captures(services, capturing, "taxi")
    assert {(record.id, record.output) for record in captured.records} == {
        (name, out) for name, _, out in got
    }
    assert [record.sequence for record in captured.records] == list(range(1, 1501))
    assert (captured.device, captured.damaged) == (capturing, 0)
    counts = fetch_counts(services, capturing, "taxi")
    assert (counts.user, counts.smoke) == (1500, 0)
    newest = fetch_captures(services, capturing, "taxi", newest=3).records
    assert newest == captured.records[-3:]
    assert fetch_captures(services, capturing, "taxi", newest=3, purpose="user").records == newest
    assert fetch_captures(services, capturing, "taxi", after="1490").records == captured.records[1490:]
    assert fetch_captures(services, capturing, "taxi", after="1500").records == ()
    assert fetch_captures(services, capturing, "taxi", purpose="smoke").records == ()


def test_records_come_home_with_the_names_of_their_columns(services, capturing, server):  # noqa: F811
    send_many(server, clients=1, count=3)
    (batch,) = stream_captures(services, capturing, "taxi", Wanted())
    assert [each.columns for each in batch.fetched] == [("distance", "hour")] * 3
    assert (batch.done, batch.total, batch.next) == (3, 3, "3")
    at = batch.records[1].at
    (later,) = stream_captures(services, capturing, "taxi", Wanted(since=at))
    (earlier,) = stream_captures(services, capturing, "taxi", Wanted(until=at, newest=5))
    assert (later.records, earlier.records) == (batch.records[1:], batch.records[:1])


def test_a_record_longer_than_a_page_comes_home_whole(services, capturing, server):  # noqa: F811
    body = json.dumps({"data": [[number / 7, 1] for number in range(9000)]})
    (got,) = send(server, [("long", body)])
    (record,) = fetch_captures(services, capturing, "taxi").records
    assert (record.id, record.inputs, record.output) == ("long", json.dumps(json.loads(body)["data"]), got[2])
    assert len(record.inputs) > 200_000


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        pytest.param("boat", RefusedError, "no model 'boat' that keeps captures", id="another model"),
        pytest.param("gone", OutsideError, "no answer", id="a model that does not answer"),
    ],
)
def test_captures_that_cannot_be_had_are_told_apart(services, capturing, name, error, problem):
    with pytest.raises(error, match=problem):
        fetch_captures(services, capturing, name)


def test_a_device_without_a_companion_is_told_from_one_that_is_not_there(services, device):  # noqa: F811
    with pytest.raises(UsageError, match="no companion to ask: nothing has been rolled out"):
        fetch_captures(services, device, "taxi")
    with pytest.raises(HubError, match="DeviceNotFound"):
        fetch_captures(services, "nobody", "taxi")


def test_a_model_that_no_device_reports_is_a_usage_error(services):
    with pytest.raises(UsageError, match="no device reports"):
        find_running(services, "boat")
