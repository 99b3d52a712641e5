"""`edgeferry plan` as a user types it: a real hub, a real registry, a ledger with one release."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from tests.hubs import RunningHub, free_address
from tests.iot_edge import BODY, RELEASE
from tests.registries import RegistryServer
from tests.typed import clean_environment, typed

PROJECT = Path(__file__).parents[2] / "examples" / "taxi"


@dataclass(frozen=True)
class Place:
    """A user's state folder, and the servers that the settings name."""

    state: Path
    hub: RunningHub
    registry: RegistryServer

    def plan(self, *arguments: str) -> tuple[int, str, str]:
        said = json.loads((self.hub.state / "connection.json").read_text())["connection_string"]
        settings = {
            "EDGEFERRY_STATE": str(self.state),
            "EDGEFERRY_HUB__CONNECTION_STRING": said,
            "EDGEFERRY_HUB__CA_FILE": str(self.hub.ca_file),
            "EDGEFERRY_REGISTRY__HOST": self.registry.host,
            "EDGEFERRY_REGISTRY__CA_FILE": self.registry.ca_file,
            "EDGEFERRY_REGISTRY__USERNAME": "pusher",
            "EDGEFERRY_REGISTRY__PASSWORD": self.registry.password,
            "COLUMNS": "250",
        }
        words = ("--project", str(PROJECT), "plan", "nyc_taxi", *arguments)
        done = typed(*words, environment=clean_environment(**settings))
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, registry_server: RegistryServer) -> Iterator[Place]:
    state = tmp_path_factory.mktemp("state")
    subprocess.run(["git", "init", "--quiet", "--bare", str(state / "ledger.git")], check=True)
    keys = KeyFolder(state / "keys", state / "trust", may_trust=True)
    ledger = GitLedger(str(state / "ledger.git"), "ledger", state / "ledger", keys, time.time)
    ledger.append("release", RELEASE.subject, BODY, "ann")
    hub = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    try:
        yield Place(state, hub, registry_server)
    finally:
        hub.stop()


def test_a_rollout_to_nobody_is_blocked(place: Place) -> None:
    code, out, err = place.plan("-t", "tags.line = 7")
    assert code == 1
    assert "nobody" in out
    assert "1 conflict would stop this rollout" in err
    assert "tag the devices" in err


def test_a_plan_shows_waves_changes_and_what_one_device_will_have(place: Place) -> None:
    place.hub.create_device("press-1")
    place.hub.create_device("press-2")
    for number in (1, 2):
        tags = {"edgeferry": True, "line": 1, "rollout_bucket": number}
        place.hub.ask("PATCH", f"/twins/press-{number}", {"tags": tags})
    code, out, err = place.plan("-t", "tags.line = 1", "--device", "press-1")
    assert code == 0, err
    assert "2 devices get it, 0 devices would lose it, 0 devices have it already" in out
    for words in ("press-1, press-2", "modules.nyc_taxi", "edgeferry-nyc_taxi-v1-abababab", "deployments"):
        assert words in out
    assert "press-1: modules" in out
    code, out, err = place.plan("-t", "tags.line = 1", "-d", "press-1", "-o", "json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["hash"].startswith("sha256:")
    assert facts["gained"] == ["press-1", "press-2"]
    assert [wave["devices"] for wave in facts["waves"]] == [["press-1", "press-2"]]
    device = facts["device"]
    assert device["before"] == {}
    assert "nyc_taxi" in device["after"]["$edgeAgent"]["modules"]
    assert place.hub.ask("GET", "/configurations", top="100") == [], "a plan touches nothing"


def test_a_device_that_is_not_there_is_named(place: Place) -> None:
    code, _, err = place.plan("-t", "tags.line = 1", "--device", "press-9")
    assert code == 2
    assert "press-9 is no edge device of this hub" in err
