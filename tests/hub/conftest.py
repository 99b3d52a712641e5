"""A real hub process per test module, and the clients to look at it with."""

import ssl
from collections.abc import Iterator

import httpx
import pytest

from tests.hub.clients import Service
from tests.hubs import RunningHub, free_address


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Iterator[RunningHub]:
    """A running hub with nothing in it; tests may stop, kill and start it again."""
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def service(hub) -> Iterator[Service]:
    """The hub's REST API, as its owner."""
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    with httpx.Client(verify=context, trust_env=False, timeout=40) as http:
        yield Service(hub, http)
