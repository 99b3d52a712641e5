"""A machine whose clock is not the hub's decides nothing by the time."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.adapters.hub_transport import find_skew
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.workflows.clock import require_clock
from tests.hubs import RunningHub

NOON_S = 1_795_867_200.0
NOON = "Sat, 28 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("date", "sent_s", "received_s", "skew_s"),
    [
        pytest.param(NOON, NOON_S, NOON_S + 0.1, 0, id="the same time"),
        pytest.param(NOON, NOON_S + 0.9, NOON_S + 1.1, 0, id="within the second that is told"),
        pytest.param(NOON, NOON_S - 30, NOON_S + 30, 0, id="an answer that took a minute"),
        pytest.param(NOON, NOON_S + 601, NOON_S + 602, 600, id="ahead"),
        pytest.param(NOON, NOON_S - 602, NOON_S - 600, -600, id="behind"),
        pytest.param("", NOON_S, NOON_S, None, id="no date"),
        pytest.param("noon", NOON_S, NOON_S, None, id="a date that is none"),
    ],
)
def test_a_clock_is_held_against_the_one_that_answered(
    date: str, sent_s: float, received_s: float, skew_s: float | None
) -> None:
    assert find_skew(date, sent_s, received_s) == skew_s


@pytest.mark.parametrize(("ahead_s", "says"), [(0, ""), (700, "s ahead of the hub's"), (-700, "s behind")])
def test_who_has_another_time_than_the_hub_decides_nothing(
    hub: RunningHub, ahead_s: float, says: str
) -> None:
    text = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    client = HubClient(
        SharedKeyLogin(lambda afresh: text, time.time), str(hub.ca_file), now=lambda: time.time() + ahead_s
    )
    services = cast(Services, SimpleNamespace(hub=client))
    require_clock(services)
    client.configurations()
    assert client.skew_s is not None, "the hub tells the time"
    caught: Any = None
    try:
        require_clock(services)
    except RefusedError as error:
        caught = error
    client.close()
    assert says in str(caught)
    assert bool(caught) is bool(says)
