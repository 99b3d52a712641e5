"""Pull-only tokens from the command line: made on the local registry, told as commands for Azure's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeferry.sandbox.accounts import accounts_file, ensure_logins, is_password, load_accounts
from edgeferry.settings import SANDBOX_FILE
from tests.cli.test_commands import ROOT, run


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder as `up` leaves it, as far as the registry goes."""
    state = tmp_path / "state"
    accounts_file(state).parent.mkdir(parents=True)
    ensure_logins(accounts_file(state), {"edgeferry": "one", "device": "two"})
    settings = {"registry.host": "127.31.1.1:5443", "registry.username": "edgeferry"}
    (state / SANDBOX_FILE).write_text(json.dumps({"settings": settings}))
    return state


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    """A project whose registry is Azure's."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "edgeferry.toml").write_text('[registry]\nhost = "contoso.azurecr.io"\n')
    return project


def test_a_token_is_made_listed_regenerated_and_deleted(state: Path) -> None:
    words = ("registry", "tokens", "create", "berlin", "--repository", "edgeferry/nyc_taxi", "-r", "a/*")
    code, out, err = run(state, *words, "--output", "json")
    assert code == 0, err
    made = json.loads(out)
    assert (made["registry"], made["username"]) == ("127.31.1.1:5443", "berlin")
    assert is_password(load_accounts(accounts_file(state))["berlin"], made["password"])
    assert made["password"] not in err
    code, out, _ = run(state, "registry", "tokens", "list", "--output", "json")
    assert json.loads(out) == [{"name": "berlin", "repositories": ["edgeferry/nyc_taxi", "a/*"]}]
    code, out, _ = run(state, "registry", "tokens", "regenerate", "berlin")
    assert code == 0
    assert "username berlin\npassword " in out
    assert made["password"] not in out
    code, out, _ = run(state, "registry", "tokens", "delete", "berlin")
    assert (code, out) == (0, "deleted berlin\n")
    code, out, err = run(state, "registry", "tokens", "delete", "berlin")
    assert (code, out) == (2, "")
    assert "no token berlin" in err


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        pytest.param(
            ["create", "berlin", "-r", "edgeferry/nyc_taxi"],
            [
                "az acr scope-map create --name berlin --registry contoso "
                "--repository edgeferry/nyc_taxi content/read metadata/read",
                "az acr token create --name berlin --registry contoso --scope-map berlin",
            ],
            id="create",
        ),
        pytest.param(["list"], ["az acr token list --registry contoso --output table"], id="list"),
        pytest.param(
            ["regenerate", "berlin"],
            ["az acr token credential generate --name berlin --registry contoso --password1"],
            id="regenerate",
        ),
        pytest.param(
            ["delete", "berlin"],
            [
                "az acr token delete --name berlin --registry contoso",
                "az acr scope-map delete --name berlin --registry contoso",
            ],
            id="delete",
        ),
    ],
)
def test_for_azures_registry_the_commands_are_told_and_nothing_is_done(
    state: Path, azure: Path, words: list[str], commands: list[str]
) -> None:
    before = accounts_file(state).read_bytes()
    code, out, err = run(state, "registry", "tokens", *words, where=azure)
    assert code == 0, err
    assert out.splitlines() == commands
    assert "nothing was done" in err
    code, out, _ = run(state, "registry", "tokens", *words, "--output", "json", where=azure)
    assert json.loads(out) == {"commands": commands}
    assert accounts_file(state).read_bytes() == before


def test_a_wrong_repository_is_refused_before_azures_commands_are_told(state: Path, azure: Path) -> None:
    code, out, err = run(state, "registry", "tokens", "create", "berlin", "-r", "NYC; rm", where=azure)
    assert (code, out) == (2, "")
    assert "is no repository" in err


def test_another_registry_has_its_own_means(state: Path, azure: Path) -> None:
    (azure / "edgeferry.toml").write_text('[registry]\nhost = "registry.example.org"\n')
    code, _, err = run(state, "registry", "tokens", "list", where=azure)
    assert code == 2
    assert "neither" in err


def test_without_up_the_way_out_is_told(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "registry", "tokens", "list", where=ROOT / "examples" / "taxi")
    assert code == 2
    assert "edgeferry up" in err
