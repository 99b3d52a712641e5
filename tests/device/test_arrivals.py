"""Images that do not come are told until they do, whatever else is desired meanwhile."""

import math
import threading
from datetime import UTC, datetime

import pytest

from edgeferry.device.arrivals import Arrivals
from edgeferry.device.images import Images
from edgeferry.device.pulls import Pulls
from edgeferry.device.state import Store
from edgeferry.domain.device_plan import Pull
from edgeferry.domain.device_rules import PullRules
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import Engine

NOWHERE = "unix:///nowhere.sock"
WANTED = Pull("r/a:1", "a needs it")


@pytest.fixture
def pulls():
    """Pulls outside their window: nothing begins."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    pulls = Pulls(NOWHERE, threading.Event(), PullRules(window="22:00-05:00"), local_now=lambda: noon)
    yield pulls
    pulls.close()


@pytest.fixture
def arrivals(pulls, tmp_path):
    return Arrivals(pulls, Images(Engine(NOWHERE), Store(tmp_path)))


def test_an_image_that_is_missing_is_expected_until_its_pull_fails(arrivals):
    arrivals.ask_for([WANTED], [])
    spec = ModuleSpec(name="a", image="r/a:1")
    assert (arrivals.are_expected, arrivals.find_held([spec]), arrivals.problems()) == (
        True,
        {"a": "a needs it"},
        [],
    )
    arrivals.harvest()
    assert not arrivals.are_expected
    assert "22:00" in arrivals.find_held([spec])["a"]


def test_why_it_does_not_come_is_told_on_while_something_else_is_desired_too(arrivals):
    arrivals.ask_for([WANTED], [])
    arrivals.harvest()
    arrivals.ask_for([WANTED, Pull("r/b:1", "b needs it")], [])
    assert "r/a:1" in arrivals.problems()[0]
    arrivals.ask_for([], [])
    assert (arrivals.problems(), arrivals.are_expected) == ([], False)


def test_pulls_that_wait_for_their_window_are_not_due(arrivals, pulls):
    arrivals.ask_for([WANTED], [])
    assert pulls.next_due() == math.inf
