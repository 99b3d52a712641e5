"""Settings: who wins, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeferry.errors import UsageError
from edgeferry.settings import load_settings


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
        "registry.username": ("from-environment", "environment"),
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
