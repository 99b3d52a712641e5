"""Waiting for what is measured."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import TypeVar

from edgeferry.engine import Engine
from tests.device.worlds import World

T = TypeVar("T")


def poll(fact: Callable[[], T], seconds: float = 120) -> T:
    """The fact's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing came within {seconds:g} s")
        time.sleep(0.005)
    return value


def answer_of(address: str) -> str:
    """What `/health` on port 8080 says there; empty when it does not answer 200."""
    connection = http.client.HTTPConnection(address, 8080, timeout=1)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.read().decode().strip() if response.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def wait_for_answer(engine: Engine, name: str, network: str) -> float:
    """When the container of that name first answered."""

    def address() -> str:
        facts = engine.inspect(name)
        return facts.addresses.get(network, "") if facts else ""

    found = poll(address)
    poll(lambda: answer_of(found))
    return time.monotonic()


def settle(world: World, version: int) -> None:
    """That desired version was carried out."""

    def is_done() -> bool:
        said = world.reported()
        status = said.get("lastDesiredStatus", {}).get("code")
        return bool(said.get("lastDesiredVersion") == version and status == 200)

    poll(is_done)
