"""A real hub for adapters that speak to one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.domain.anchor import DEVICE
from tests.hubs import RunningHub, free_address


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture
def client(hub: RunningHub) -> Iterator[HubClient]:
    """The hub's service API; afterwards the hub remembers no ledger."""
    text = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    opened = HubClient(SharedKeyLogin(lambda afresh: text, time.time), str(hub.ca_file))
    yield opened
    opened.delete_devices([DEVICE])
    opened.close()
