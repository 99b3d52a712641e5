"""`edgeferry audit`, with a real ledger and a real hub."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from edgeferry.wire.canonical import render_canonical
from tests.adapters.ledgers import tamper
from tests.hubs import RunningHub, free_address
from tests.iot_edge import BODY, RELEASE
from tests.typed import clean_environment, typed

PROJECT = Path(__file__).parents[2] / "examples" / "taxi"
PLAN = {"waves": [{"wave": 1, "devices": ["press-1"]}]}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    running.create_device("press-1")
    yield running
    running.stop()


class Desk:
    """A project's state folder, with a ledger that holds a release which reached press-1."""

    def __init__(self, state: Path, hub: RunningHub) -> None:
        self.state = state
        self.hub = hub
        self.remote = state / "ledger.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(self.remote)], check=True)
        keys = KeyFolder(state / "keys", state / "trust", may_trust=True)
        ledger = GitLedger(str(self.remote), "ledger", state / "ledger", keys, time.time)
        name = RELEASE.subject
        ledger.append("release", name, BODY, "ann")
        ledger.append("plan", name, PLAN, "ann")
        yes = ledger.append("approval", name, {"release": name, "decision": "yes"}, "ben")
        plan = f"sha256:{hashlib.sha256(render_canonical(PLAN)).hexdigest()}"
        body = {"release": name, "model": "nyc_taxi", "plan": plan, "approvals": [yes.id], "layer": "l"}
        ledger.append("rollout", f"{name}-01", body, "ann")
        ledger.append("wave", f"{name}-01", {"wave": 1, "event": "started"}, "ann")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        text = json.loads((self.hub.state / "connection.json").read_text())["connection_string"]
        environment = clean_environment(
            EDGEFERRY_STATE=str(self.state),
            EDGEFERRY_HUB__CONNECTION_STRING=text,
            EDGEFERRY_HUB__CA_FILE=str(self.hub.ca_file),
        )
        return typed("--project", str(PROJECT), *arguments, environment=environment)

    def ask(self, *arguments: str) -> Any:
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def desk(tmp_path: Path, hub: RunningHub) -> Desk:
    return Desk(tmp_path / "state", hub)


def test_the_ledger_is_accepted_verified_and_what_was_done_to_it_is_told(desk: Desk) -> None:
    accepted = desk.ask("audit", "accept", "--yes")
    assert (accepted["entries"], set(accepted["keys"])) == (5, {"ann", "ben"})
    assert desk.ask("audit", "verify")["ok"] is True
    assert [one["device"] for one in desk.ask("devices", "list")] == ["press-1"], "the anchor is no device"

    tamper(desk.remote, lambda _: None, back=1)
    done = desk.run("audit", "verify")
    assert done.returncode == 1
    assert "newest entries were removed or rewritten" in done.stdout
    assert "edgeferry audit accept" in done.stderr
    refused = desk.run("audit", "show")
    assert refused.returncode == 1
    assert "the ledger was tampered with" in refused.stderr


def test_what_was_desired_on_a_device_is_told_with_who_approved_it_on_what_evidence(desk: Desk) -> None:
    found = desk.ask("audit", "show", "--device", "press-1", "--at", "2999-01-01")
    (desired,) = found["desired"]
    assert (desired["release"], desired["wave"]) == (RELEASE.subject, 1)
    assert [one["people"] for one in desired["approvals"]] == [["ben"]]
    assert desired["evidence"]["digest"] == BODY["digest"]
    assert found["ran"]["note"] == "its agent is not connected, and only the agent knows"


def test_every_decision_about_a_release_or_a_rollout_is_told(desk: Desk) -> None:
    done = desk.run("audit", "show", RELEASE.subject)
    for said in (
        "version 1, sha256:",
        "1 device in 1 wave",
        "yes by ben",
        "started, layer l",
        "wave 1 start",
    ):
        assert said in done.stdout
    done = desk.run("audit", "show", "nothing")
    assert done.returncode == 2
    assert RELEASE.subject in done.stderr
