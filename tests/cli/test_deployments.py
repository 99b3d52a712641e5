"""`edgeferry deployments`: files for Azure's command line, with a real ledger and a real hub."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from tests.hubs import RunningHub, free_address
from tests.iot_edge import ADDRESS, BODY, RELEASE
from tests.typed import clean_environment, typed

PROJECT = Path(__file__).parents[2] / "examples" / "taxi"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose ledger holds one release."""
    state = tmp_path / "state"
    subprocess.run(["git", "init", "--quiet", "--bare", str(state / "ledger.git")], check=True)
    keys = KeyFolder(state / "keys", state / "trust", may_trust=True)
    ledger = GitLedger(str(state / "ledger.git"), "ledger", state / "ledger", keys, time.time)
    ledger.append("release", RELEASE.subject, BODY, "ann")
    return state


def run(state: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    settings = {"EDGEFERRY_STATE": str(state), "EDGEFERRY_REGISTRY__HOST": ADDRESS, **settings}
    words = ("--project", str(PROJECT), "deployments", *arguments)
    done = typed(*words, environment=clean_environment(**settings), where=state.parent)
    return done.returncode, done.stdout, done.stderr


def hub_settings(hub: RunningHub) -> dict[str, str]:
    text = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    return {"EDGEFERRY_HUB__CONNECTION_STRING": text, "EDGEFERRY_HUB__CA_FILE": str(hub.ca_file)}


PULL = {
    "EDGEFERRY_DEVICE__RUNTIME": "iotedge",
    "EDGEFERRY_REGISTRY__PULL_USERNAME": "puller",
    "EDGEFERRY_REGISTRY__PULL_PASSWORD": "pull-secret",
}


def test_render_writes_files_and_prints_commands_without_a_hub(state: Path) -> None:
    code, out, err = run(state, "render", "nyc_taxi", "--folder", "out", **PULL)
    assert code == 0, err
    assert "no hub is set" in err
    names = sorted(path.name for path in (state.parent / "out").iterdir())
    assert names == [
        "edgeferry-base.json",
        "edgeferry-companion-v1_0-efefefef.json",
        "edgeferry-nyc_taxi-v1-abababab.json",
        "edgeferry-pull-taxi_azurecr_io-1.json",
    ]
    commands = out.split("az iot edge deployment create")[1:]
    assert [("--layered" in command) for command in commands] == [False, True, True, True]
    assert "edgeferry-base.json" in commands[0]
    assert "pull-secret" not in out + err + "".join(
        path.read_text() for path in (state.parent / "out").iterdir()
    )


def test_render_says_what_azure_would_not_take_in_the_condition(state: Path) -> None:
    condition = "LOWER(tags.line) != 'a'"
    code, out, err = run(state, "render", "nyc_taxi", "--target-condition", condition, "--folder", "out")
    assert code == 0, err
    assert "column 1: Azure's twin queries have no LOWER()" in err
    assert "column 7: devices without tags.line are left out too" in err
    assert "LOWER" in out


def test_render_refuses_a_condition_that_cannot_be_read(state: Path) -> None:
    code, _, err = run(state, "render", "nyc_taxi", "--target-condition", "tags.a = 1) OR (true")
    assert code == 2
    assert "column 11" in err


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        pytest.param([], ["base", "companion", "layer"], id="no flag is all, for our agent without a login"),
        pytest.param(["--all", "--runtime", "iotedge"], ["base", "pull", "companion", "layer"], id="all"),
        pytest.param(["--layer"], ["layer"], id="one"),
        pytest.param(["--layer", "--base"], ["base", "layer"], id="two, in the order to create them"),
        pytest.param(["--pull", "--runtime", "iotedge"], ["pull"], id="the login"),
    ],
)
def test_render_writes_what_was_asked_for(state: Path, flags: list[str], kinds: list[str]) -> None:
    code, out, err = run(state, "render", RELEASE.subject, *flags, "--output", "json")
    assert code == 0, err
    facts = json.loads(out)
    assert [one["kind"] for one in facts] == kinds
    for one in facts:
        said = json.loads((state.parent / one["file"]).read_text())
        assert set(said) == {"content", "metrics"}
        assert one["command"].startswith("az iot edge deployment create")


def test_render_refuses_a_login_for_devices_that_have_one(state: Path) -> None:
    code, _, err = run(state, "render", "nyc_taxi", "--pull")
    assert code == 2
    assert "a rollout would put no pull there" in err
    assert not (state.parent / "deployments").exists()


def test_render_puts_a_layer_above_those_on_the_hub(state: Path, hub: RunningHub) -> None:
    settings = hub_settings(hub)
    code, out, err = run(state, "render", "nyc_taxi", "--layer", "-o", "json", **settings)
    assert code == 0, err
    assert json.loads(out)[0]["priority"] == 1000
    labels = {"edgeferry": "model", "model": "nyc_taxi", "release": "older"}
    body = {"labels": labels, "priority": 1006, "targetCondition": "tags.x = true"}
    content = {"modulesContent": {"$edgeAgent": {"properties.desired.modules.m": {}}}}
    hub.ask("PUT", "/configurations/edgeferry-older", {**body, "content": content})
    _, out, _ = run(state, "render", "nyc_taxi", "--layer", "-o", "json", **settings)
    assert json.loads(out)[0]["priority"] == 1007


def test_login_gives_the_fleet_its_login_and_a_new_one_replaces_it(state: Path, hub: RunningHub) -> None:
    settings = {**hub_settings(hub), **PULL}
    answers = []
    for password in ("first-secret", "first-secret", "second-secret"):
        settings["EDGEFERRY_REGISTRY__PULL_PASSWORD"] = password
        code, out, err = run(state, "login", "--output", "json", **settings)
        assert code == 0, err
        assert "-secret" not in out + err
        answers.append(json.loads(out)["state"])
    assert answers == ["created", "unchanged", "replaced"]


def test_login_without_one_says_what_to_set(state: Path, hub: RunningHub) -> None:
    code, _, err = run(state, "login", **hub_settings(hub))
    assert code == 2
    assert "registry.pull_username is not set" in err


def test_render_follows_no_reference_to_the_login(state: Path) -> None:
    settings = {**PULL, "EDGEFERRY_REGISTRY__PULL_PASSWORD": "keyvault://vault/pull"}
    code, _, err = run(state, "render", "nyc_taxi", "--pull", **settings)
    assert code == 0, err
    assert "Key Vault" not in err
