"""The local registry's accounts: what they may, how they are kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edgeferry.errors import OutsideError, UsageError
from edgeferry.sandbox.accounts import (
    accounts_file,
    create_pull_token,
    delete_pull_token,
    ensure_logins,
    grant,
    is_password,
    list_pull_tokens,
    load_accounts,
    make_account,
    regenerate_pull_token,
)
from edgeferry.wire.registry_token import Scope, parse_scopes, render_scope


@pytest.fixture
def state(tmp_path: Path) -> Path:
    accounts_file(tmp_path).parent.mkdir()
    ensure_logins(accounts_file(tmp_path), {"edgeferry": "one", "device": "two"})
    return tmp_path


@pytest.mark.parametrize(
    ("repositories", "actions", "wanted", "granted"),
    [
        pytest.param(
            "*", "pull,push,delete", "repository:a/b:pull,push", "repository:a/b:pull,push", id="all"
        ),
        pytest.param("*", "pull", "repository:a/b:pull,push", "repository:a/b:pull", id="less"),
        pytest.param("*", "pull", "repository:a/b:delete", "", id="nothing"),
        pytest.param("a/b", "pull", "repository:a/b:pull", "repository:a/b:pull", id="its repository"),
        pytest.param("a/b", "pull", "repository:a/c:pull", "", id="another repository"),
        pytest.param("a/b", "pull", "repository:a/b/c:pull", "", id="one below"),
        pytest.param("a/*", "pull", "repository:a/b/c:pull", "repository:a/b/c:pull", id="all below"),
        pytest.param("a/*", "pull", "repository:ab:pull", "", id="beside, not below"),
        pytest.param("a/*", "pull", "repository:a:pull", "", id="above"),
        pytest.param("*", "pull", "registry:catalog:*", "", id="the catalogue"),
        pytest.param("*", "pull", "repository(plugin):a:pull", "", id="another kind"),
        pytest.param(
            "a", "pull", "repository:a:pull repository:b:pull", "repository:a:pull", id="one of two"
        ),
    ],
)
def test_an_account_gets_what_it_may_and_nothing_else(
    repositories: str, actions: str, wanted: str, granted: str
) -> None:
    account = make_account("x", "y", [repositories], actions.split(","))
    assert " ".join(map(render_scope, grant(account, parse_scopes([wanted])))) == granted


def test_devices_may_only_pull(state: Path) -> None:
    accounts = load_accounts(accounts_file(state))
    everything = [Scope("repository", "a", ("pull", "push", "delete"))]
    assert grant(accounts["edgeferry"], everything) == tuple(everything)
    assert grant(accounts["device"], everything) == (Scope("repository", "a", ("pull",)),)


def test_a_password_is_told_once_and_kept_as_a_hash_that_only_its_owner_reads(state: Path) -> None:
    name, password = create_pull_token(state, "berlin", ["edgeferry/nyc_taxi"])
    file = accounts_file(state)
    assert name == "berlin"
    assert file.stat().st_mode & 0o777 == 0o600
    assert password not in file.read_text()
    account = load_accounts(file)["berlin"]
    assert is_password(account, password)
    assert not is_password(account, password + "x")
    assert (account.repositories, account.actions) == (("edgeferry/nyc_taxi",), ("pull",))


def test_tokens_are_listed_and_deleted_but_not_the_logins_of_up(state: Path) -> None:
    create_pull_token(state, "tokyo", ["a/*"])
    create_pull_token(state, "berlin", ["a"])
    assert [token.name for token in list_pull_tokens(state)] == ["berlin", "tokyo"]
    delete_pull_token(state, "berlin")
    assert [token.name for token in list_pull_tokens(state)] == ["tokyo"]
    with pytest.raises(UsageError, match="no token device"):
        delete_pull_token(state, "device")


def test_another_password_makes_the_old_one_worthless_and_keeps_the_rights(state: Path) -> None:
    _, old = create_pull_token(state, "berlin", ["a"])
    before = load_accounts(accounts_file(state))["berlin"]
    _, new = regenerate_pull_token(state, "berlin")
    account = load_accounts(accounts_file(state))["berlin"]
    assert is_password(account, new)
    assert not is_password(account, old)
    assert account.repositories == ("a",)
    assert account.generation != before.generation


def test_up_again_keeps_tokens_and_takes_a_changed_password(state: Path) -> None:
    create_pull_token(state, "berlin", ["a"])
    before = load_accounts(accounts_file(state))
    ensure_logins(accounts_file(state), {"edgeferry": "one", "device": "other"})
    after = load_accounts(accounts_file(state))
    assert after["berlin"] == before["berlin"]
    assert after["edgeferry"] == before["edgeferry"]
    assert is_password(after["device"], "other")


@pytest.mark.parametrize(
    ("name", "repositories", "problem"),
    [
        pytest.param("berlin", [], "needs a repository", id="no repository"),
        pytest.param("berlin", ["A"], "is no repository", id="capitals"),
        pytest.param("berlin", ["*"], "is no repository", id="everything"),
        pytest.param("berlin", ["a/*/b"], "is no repository", id="a star inside"),
        pytest.param("a b c d", ["a"], "is no name", id="spaces"),
        pytest.param("-berlin", ["a"], "is no name", id="like an option"),
        pytest.param("abcd", ["a"], "is no name", id="short"),
        pytest.param("device", ["a"], "has a login device already", id="a login of up"),
        pytest.param("tokyo", ["a"], "has a login tokyo already", id="twice"),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    state: Path, name: str, repositories: list[str], problem: str
) -> None:
    create_pull_token(state, "tokyo", ["a"])
    with pytest.raises(UsageError, match=problem):
        create_pull_token(state, name, repositories)


def test_where_nothing_was_started_there_is_nothing_to_make_a_token_at(tmp_path: Path) -> None:
    for use in (lambda: create_pull_token(tmp_path, "berlin", ["a"]), lambda: list_pull_tokens(tmp_path)):
        with pytest.raises(UsageError, match="no local registry"):
            use()


def test_a_damaged_file_is_said_so(state: Path) -> None:
    accounts_file(state).write_text('{"accounts": [{"name": "x"}]}')
    with pytest.raises(OutsideError, match="damaged"):
        list_pull_tokens(state)


def test_tokens_made_at_the_same_time_are_all_kept(state: Path) -> None:
    makers = [
        threading.Thread(target=create_pull_token, args=(state, f"token-{number}", ["a"]))
        for number in range(8)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(list_pull_tokens(state)) == 8
