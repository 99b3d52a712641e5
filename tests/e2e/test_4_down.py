"""The last of the end-to-end tests: nothing is left running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeferry.engine import Engine
from tests.e2e.conftest import CommandLine, Ran

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def test_down_leaves_nothing_running(edgeferry: CommandLine, demo: Ran) -> None:
    """Last of all."""
    assert edgeferry("down").code == 0
    assert list((edgeferry.state / "run").glob("*.json")) == []
    known = json.loads((edgeferry.state / "sandbox.json").read_text())
    if not Path(known["engine"].removeprefix("unix://")).exists():
        return  # the engine was ours and idle: it is gone as well
    engine = Engine(known["engine"])
    assert engine.containers({"edgeferry.sandbox": known["id"]}) == []
    assert engine.networks({"edgeferry.sandbox": known["id"]}) == []
    engine.close()
