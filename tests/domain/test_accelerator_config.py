"""model_config.json of the accelerator: every key has a place or a reason; slips are told from own keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeferry.domain.accelerator_config import (
    KEYS,
    choose_target,
    make_settings,
    parse_entries,
    place_keys,
)
from edgeferry.domain.finding import RULES, Fault
from edgeferry.settings_table import KNOWN

REFERENCE = Path(__file__).parents[3] / "shared/reference/fixtures/reference-accelerator/model_config.json"

ENTRY = {
    "ML_MODEL_CONFIG_NAME": "nyc_taxi",
    "ENV_NAME": "dev",
    "AZURE_RM_SVC_CONNECTION": "azure_connection",
    "CLUSTER_NAME": "cluster-1",
    "IOTHUB_NAME": "taxihub",
    "KEYVAULT_NAME": "taxivault",
    "REGISTRY_NAME": "taxiregistry",
    "TARGET_CONDITION": "tags.incremental='yes'",
    "WORKSPACE_NAME": "taxi-ml",
}


def entry(**changes: Any) -> dict[str, Any]:
    return {**ENTRY, **changes}


def faults_of(*entries: Any) -> list[Fault]:
    found: list[Fault] = []
    parse_entries({"models": list(entries)}, lambda at: 7, found.append)
    return found


def parsed(*entries: dict[str, Any]) -> Any:
    return parse_entries({"models": list(entries)}, lambda at: 7, lambda fault: pytest.fail(str(fault)))


@pytest.mark.parametrize(
    ("entries", "rule", "problem", "fix"),
    [
        pytest.param(
            [entry(CLUSTER_NMAE="x") | {"CLUSTER_NAME": None}],
            "wrong-value",
            "CLUSTER_NAME",
            "quotes",
            id="null",
        ),
        pytest.param(
            [{k: v for k, v in entry(CLUSTER_NMAE="x").items() if k != "CLUSTER_NAME"}],
            "unknown-key",
            "CLUSTER_NMAE",
            "did you mean `CLUSTER_NAME`?",
            id="slip in a key",
        ),
        pytest.param(
            [{k: v for k, v in entry(iothub_name="x").items() if k != "IOTHUB_NAME"}],
            "unknown-key",
            "iothub_name",
            "did you mean `IOTHUB_NAME`?",
            id="small letters",
        ),
        pytest.param(
            [entry(), entry()],
            "duplicate-key",
            "nyc_taxi stands twice for `dev`",
            "keep one",
            id="two models of one name",
        ),
        pytest.param(
            [entry(ML_MODEL_CONFIG_NAME="")], "missing-key", "ML_MODEL_CONFIG_NAME", "add", id="no name"
        ),
        pytest.param(
            [entry(ML_MODEL_CONFIG_NAME="../x")],
            "wrong-name",
            "../x",
            "nyc_taxi",
            id="name that leads elsewhere",
        ),
        pytest.param(
            [entry(ENV_NAME="a/b")], "wrong-name", "a/b", "dev", id="environment that leads elsewhere"
        ),
        pytest.param(
            [entry(TARGET_CONDITION="tags.x = ")],
            "wrong-value",
            "TARGET_CONDITION",
            "",
            id="condition that cannot be read",
        ),
        pytest.param(["nyc_taxi"], "wrong-value", "entry 1", "write {…}", id="entry that is no object"),
        pytest.param(
            [entry(REGISTRY_NAME=["a"])], "wrong-value", "REGISTRY_NAME", "quotes", id="list for a text"
        ),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(entries: list[Any], rule: str, problem: str, fix: str) -> None:
    (fault,) = [each for each in faults_of(*entries) if each.rule == rule][:1]
    assert fault.rule in RULES
    assert problem in fault.problem
    assert fix in fault.fix


@pytest.mark.parametrize("models", [None, {}, []])
def test_a_file_without_entries_is_refused(models: Any) -> None:
    found: list[Fault] = []
    assert parse_entries({"models": models}, lambda at: 1, found.append) == ()
    assert [fault.rule for fault in found] == ["missing-key"]


def test_a_key_of_the_teams_own_is_no_slip_but_left_to_them() -> None:
    _, edits = place_keys(parsed(entry(ALERT_MAILBOX="ops@contoso.example", CLUSTER_NAME_2="other")))
    assert ["ALERT_MAILBOX" in edits[0].problem, "CLUSTER_NAME_2" in edits[1].problem] == [True, True]
    assert str(edits[0].origin) == "config/model_config.json:7"


def test_each_key_goes_somewhere_for_a_reason() -> None:
    placed, _ = place_keys(parsed(entry(HOST_PORT_NUMBER=5001)))
    where = {each.what: each.place for each in placed}
    assert where["ML_MODEL_CONFIG_NAME"] == "models/nyc_taxi/"
    assert where["IOTHUB_NAME"] == "environments/dev.toml: hub.host"
    assert where["HOST_PORT_NUMBER"] == ""
    assert all(each.reason for each in placed)


def test_settings_that_keys_name_exist() -> None:
    assert {key.setting for key in KEYS.values() if key.setting} <= set(KNOWN)
    assert set(make_settings(parsed(ENTRY))[0]) <= set(KNOWN)


def test_an_environment_gets_addresses_from_names() -> None:
    settings, edits = make_settings(parsed(entry()))
    assert settings["hub.host"] == "taxihub.azure-devices.net"
    assert settings["registry.host"] == "taxiregistry.azurecr.io"
    assert settings["ci.service_connection"] == "azure_connection"
    assert settings["registry.pull_password"] == "keyvault://registry-password"
    assert settings["rollout.fleet_condition"] == "tags.incremental='yes'"
    assert [edit.fix.partition(":")[0] for edit in edits] == ["environments/dev.toml"]  # the subscription


def test_a_host_that_is_whole_already_is_left_so() -> None:
    settings, _ = make_settings(parsed(entry(REGISTRY_NAME="taxi.azurecr.io")))
    assert settings["registry.host"] == "taxi.azurecr.io"


def test_models_of_one_environment_that_want_two_hubs_are_told_of() -> None:
    other = entry(ML_MODEL_CONFIG_NAME="london_taxi", IOTHUB_NAME="otherhub", TARGET_CONDITION="tags.x = 1")
    settings, edits = make_settings(parsed(entry(), other))
    assert settings["hub.host"] == "taxihub.azure-devices.net"
    assert settings["rollout.fleet_condition"] == "(tags.incremental='yes') OR (tags.x = 1)"
    assert "london_taxi wants IOTHUB_NAME otherhub" in edits[0].problem
    assert "ENV_NAME" in edits[0].fix


def test_a_model_keeps_its_condition_unless_environments_differ() -> None:
    assert choose_target(parsed(entry(), entry(ENV_NAME="prod"))) == ("tags.incremental='yes'", [])
    target, edits = choose_target(parsed(entry(), entry(ENV_NAME="prod", TARGET_CONDITION="tags.p = 1")))
    assert target == "tags.models.nyc_taxi = true"
    assert "edgeferry devices tag DEVICE models.nyc_taxi=true" in edits[0].fix


def test_every_key_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "from-the-accelerator.md").read_text("utf-8")
    rows = "\n".join(line.partition(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    assert [key for key in KEYS if f"`{key}`" not in rows] == []


def test_every_key_of_the_reference_is_known() -> None:
    if not REFERENCE.is_file():
        pytest.skip("the reference's configuration is not here: ../shared/reference")
    document = json.loads(REFERENCE.read_text())
    entries = parsed(*document["models"])
    assert {key for each in entries for key in each.values} == set(KEYS)
    assert not any(each.own for each in entries)
