"""Settings: who wins, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeferry.errors import UsageError
from edgeferry.settings import Value, load_settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EDGEFERRY_STATE", raising=False)
    (tmp_path / "edgeferry.toml").write_text('[registry]\nhost = "from-file"\n')
    return tmp_path


def test_flags_win_over_environment_over_file_over_what_up_started(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = project / ".edgeferry"
    state.mkdir()
    started = {"registry.host": "from-up", "registry.username": "from-up", "engine.url": "from-up"}
    (state / "sandbox.json").write_text(json.dumps({"settings": started}))
    monkeypatch.setenv("EDGEFERRY_REGISTRY__USERNAME", "from-environment")
    settings = load_settings(project, {"registry.prefix": "from-flag"})
    said = {name: (v.text, v.source) for name, v in settings.values.items() if v.text.startswith("from-")}
    assert said == {
        "registry.host": ("from-file", "edgeferry.toml"),
        "registry.username": ("from-environment", "EDGEFERRY_REGISTRY__USERNAME"),
        "registry.prefix": ("from-flag", "flag"),
        "engine.url": ("from-up", "this machine (edgeferry up)"),
    }


def test_the_project_is_found_from_a_folder_below(project: Path) -> None:
    below = project / "models" / "nyc_taxi"
    below.mkdir(parents=True)
    assert load_settings(below).root == project.resolve()


def test_without_a_project_the_error_says_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no edgeferry\.toml") as caught:
        load_settings(tmp_path)
    assert "--project" in caught.value.fix


def test_an_unknown_setting_names_the_near_miss(project: Path) -> None:
    (project / "edgeferry.toml").write_text('[registry]\nhots = "x"\n')
    with pytest.raises(UsageError, match=r"unknown setting registry\.hots") as caught:
        load_settings(project)
    assert "registry.host" in caught.value.fix


def test_an_unknown_environment_variable_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_REGISTRY__PASWORD", "x")
    with pytest.raises(UsageError, match="EDGEFERRY_REGISTRY__PASWORD"):
        load_settings(project)


def test_a_secret_in_the_project_file_is_refused(project: Path) -> None:
    (project / "edgeferry.toml").write_text('[registry]\npassword = "hunter2"\n')
    with pytest.raises(UsageError, match="is a secret") as caught:
        load_settings(project)
    assert "EDGEFERRY_REGISTRY__PASSWORD" in caught.value.fix
    assert "hunter2" not in str(caught.value)


def test_secrets_are_masked_when_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_REGISTRY__PASSWORD", "hunter2")
    shown = load_settings(project).masked()
    assert shown["registry.password"].text == "********"
    assert shown["hub.connection_string"].text == ""


def test_broken_toml_is_a_usage_error(project: Path) -> None:
    (project / "edgeferry.toml").write_text("[registry\n")
    with pytest.raises(UsageError, match=r"edgeferry\.toml"):
        load_settings(project)


def test_a_setting_that_is_needed_and_missing_says_how_to_set_it(project: Path) -> None:
    with pytest.raises(UsageError, match=r"hub\.connection_string is not set") as caught:
        load_settings(project).need("hub.connection_string")
    assert "EDGEFERRY_HUB__CONNECTION_STRING" in caught.value.fix


def write_environment(project: Path, name: str, text: str) -> None:
    (project / "environments").mkdir(exist_ok=True)
    (project / "environments" / f"{name}.toml").write_text(text)


def test_an_environment_wins_over_the_project_and_over_what_it_inherits(project: Path) -> None:
    write_environment(project, "azure", '[azure]\nworkspace = "ml"\n[hub]\nhost = "dev.azure-devices.net"\n')
    write_environment(project, "prod", 'inherits = "azure"\n[hub]\nhost = "prod.azure-devices.net"\n')
    settings = load_settings(project, environment="prod")
    assert settings.environment == "prod"
    assert settings.values["hub.host"] == Value("prod.azure-devices.net", "environments/prod.toml")
    assert settings.values["azure.workspace"] == Value("ml", "environments/azure.toml")
    assert settings.values["registry.host"] == Value("from-file", "edgeferry.toml")


def test_the_environment_variable_chooses_and_the_flag_wins(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_environment(project, "dev", '[registry]\nprefix = "dev"\n')
    write_environment(project, "test", '[registry]\nprefix = "test"\n')
    monkeypatch.setenv("EDGEFERRY_ENV", "dev")
    assert load_settings(project)["registry.prefix"] == "dev"
    assert load_settings(project, environment="test")["registry.prefix"] == "test"


@pytest.mark.parametrize("address", ['[hub]\nhost = "h"', '[hub]\nconnection_string = "keyvault://v/hub"'])
def test_a_credential_of_this_machines_hub_never_goes_to_another_one(project: Path, address: str) -> None:
    state = project / ".edgeferry"
    state.mkdir()
    local = {"hub.connection_string": "HostName=local", "hub.ca_file": "/local.pem", "engine.url": "unix://e"}
    (state / "sandbox.json").write_text(json.dumps({"settings": local}))
    write_environment(project, "prod", address)
    assert load_settings(project)["hub.connection_string"] == "HostName=local"
    settings = load_settings(project, environment="prod")
    assert (settings["hub.ca_file"], settings["engine.url"]) == ("", "unix://e")
    assert "local" not in settings["hub.connection_string"]


def test_an_unknown_environment_names_the_near_miss(project: Path) -> None:
    write_environment(project, "prod", "")
    with pytest.raises(UsageError, match="there is no environment 'prd'") as caught:
        load_settings(project, environment="prd")
    assert "did you mean prod?" in caught.value.fix


def test_environments_that_inherit_in_a_circle_are_named(project: Path) -> None:
    write_environment(project, "a", 'inherits = "b"')
    write_environment(project, "b", 'inherits = "a"')
    with pytest.raises(UsageError, match="a > b > a"):
        load_settings(project, environment="a")


def test_an_environment_holds_a_reference_to_a_secret_but_no_secret(project: Path) -> None:
    write_environment(project, "prod", '[registry]\npassword = "keyvault://vault/registry-password"')
    shown = load_settings(project, environment="prod").masked()
    assert shown["registry.password"].text == "keyvault://vault/registry-password"
    write_environment(project, "prod", '[registry]\npassword = "hunter2"')
    with pytest.raises(UsageError, match=r"registry\.password is a secret") as caught:
        load_settings(project, environment="prod")
    assert "keyvault://VAULT/NAME" in caught.value.fix
    assert "hunter2" not in str(caught.value)


def test_a_value_that_is_no_choice_says_who_set_it_and_what_may_stand_there(project: Path) -> None:
    write_environment(project, "prod", '[train]\nplace = "mars"')
    with pytest.raises(UsageError, match=r"train\.place is 'mars', set by environments/prod\.toml") as caught:
        load_settings(project, environment="prod")
    assert caught.value.fix == "choose one of: local, azureml"
