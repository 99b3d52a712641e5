"""When a device has let go of an agent that was taken back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.errors import RefusedError
from edgeferry.workflows.watch import await_gone

OLD, NEW = ("r/agent@sha256:" + letter * 64 for letter in "ab")


def wait_for(desired: str, brought_by: int, reported: str, done: int) -> int:
    """How often was waited until the agent in the image `NEW` was gone from a device that says this."""
    own = {"settings": {"image": desired}}
    metadata = {"systemModules": {"edgeAgent": {"$lastUpdatedVersion": brought_by}}}
    twin = {
        "properties": {
            "desired": {"$version": 9, "$metadata": metadata, "systemModules": {"edgeAgent": own}},
            "reported": {
                "lastDesiredVersion": done,
                "systemModules": {"edgeAgent": {"settings": {"image": reported}}},
            },
        }
    }
    hub = SimpleNamespace(module_twin=lambda device, module: twin, queries_per_minute=20.0)
    clock = iter(range(0, 1000, 10))
    slept: list[float] = []
    services: Any = SimpleNamespace(hub=hub, now=lambda: float(next(clock)), sleep=slept.append, say=print)
    await_gone(services, ["d"], "agent", 60, NEW.partition("@")[2])
    return len(slept)


def test_a_device_that_chooses_the_same_agent_by_itself_is_not_waited_for() -> None:
    assert wait_for("mcr.microsoft.com/azureiotedge-agent:1.5", 8, NEW, 8) == 0
    assert wait_for(NEW, 8, OLD, 8) == 0


@pytest.mark.parametrize(
    ("desired", "brought_by", "done"),
    [
        pytest.param(NEW, 7, 8, id="it is wanted still"),
        pytest.param(OLD, 9, 8, id="another is wanted, which it has not taken up"),
    ],
)
def test_a_device_that_has_it_still_is_waited_for(desired: str, brought_by: int, done: int) -> None:
    with pytest.raises(RefusedError, match="d still runs agent after 60 s"):
        wait_for(desired, brought_by, NEW, done)
