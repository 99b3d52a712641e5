"""Who may do what at the local registry: accounts, each with the repositories and actions it may use.

Pull-only tokens for some repositories are accounts too, like the tokens with scope maps of Azure Container
Registry. `registry/accounts.json` (0600) holds salted hashes; a password is told once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeferry.errors import OutsideError, UsageError
from edgeferry.sandbox.private import write_private
from edgeferry.sandbox.process import locked
from edgeferry.wire.registry_token import DELETE, PULL, PUSH, REPOSITORY, Scope, is_repository

PUSHER = "edgeferry"
PULLER = "device"
ALL = "*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{4,49}")
_UP = "run 'edgeferry up' first"


@dataclass(frozen=True)
class Account:
    """One login; it may do `actions` with `repositories` (names, `path/*` for all below, `*` for all)."""

    name: str
    repositories: tuple[str, ...]
    actions: tuple[str, ...]
    salt: str
    password_hash: str
    generation: str
    """Another one with each password, so that what was issued for the old one counts no longer."""


def accounts_file(state: Path) -> Path:
    """Where the accounts of that sandbox stand."""
    return state / "registry" / "accounts.json"


def make_account(name: str, password: str, repositories: Sequence[str], actions: Sequence[str]) -> Account:
    """The account with a fresh salt."""
    salt = secrets.token_hex(16)
    return Account(
        name, tuple(repositories), tuple(actions), salt, _hash(password, salt), secrets.token_hex(8)
    )


def is_password(account: Account, password: str) -> bool:
    """Whether that is the account's password; compared in constant time."""
    return hmac.compare_digest(_hash(password, account.salt), account.password_hash)


def grant(account: Account, wanted: Sequence[Scope]) -> tuple[Scope, ...]:
    """What the account gets of what is wanted: fewer actions where it may do less, nothing where nothing."""
    granted = []
    for scope in wanted:
        may = scope.type == REPOSITORY and any(_covers(each, scope.name) for each in account.repositories)
        actions = tuple(action for action in scope.actions if may and action in account.actions)
        if actions:
            granted.append(replace(scope, actions=actions))
    return tuple(granted)


def load_accounts(file: Path) -> Mapping[str, Account]:
    """The accounts by name; UsageError where there are none."""
    try:
        return {each["name"]: _parse(each) for each in json.loads(file.read_text())["accounts"]}
    except FileNotFoundError as error:
        raise UsageError("there is no local registry here", fix=_UP) from error
    except (ValueError, KeyError, TypeError) as error:
        raise OutsideError(f"{file} is damaged", fix="remove it, then run 'edgeferry up'") from error


def save_accounts(file: Path, accounts: Mapping[str, Account]) -> None:
    """The file holds these accounts, in one step; only its owner can read it."""
    write_private(file, {"accounts": [asdict(each) for each in accounts.values()]})


def ensure_logins(file: Path, passwords: Mapping[str, str]) -> None:
    """The two logins of `up` are accounts with these passwords: one may do everything, devices may pull.
    Other accounts stay."""
    with _changing(file, new=True) as accounts:
        for name, actions in ((PUSHER, (PULL, PUSH, DELETE)), (PULLER, (PULL,))):
            known = accounts.get(name)
            if known is None or not is_password(known, passwords[name]):
                accounts[name] = make_account(name, passwords[name], (ALL,), actions)


def create_pull_token(state: Path, name: str, repositories: Sequence[str]) -> tuple[str, str]:
    """(user name, password) of a new login that may pull from these repositories only; UsageError when the
    name is taken."""
    check_pull_token(name, repositories)
    with _changing(accounts_file(state)) as accounts:
        if name in accounts:
            raise UsageError(
                f"the local registry has a login {name} already",
                fix="give another name, or delete or regenerate that token",
            )
        password = secrets.token_urlsafe(32)
        accounts[name] = make_account(name, password, repositories, (PULL,))
    return name, password


def list_pull_tokens(state: Path) -> Sequence[Account]:
    """The pull-only tokens, by name."""
    accounts = load_accounts(accounts_file(state))
    return [accounts[name] for name in sorted(accounts) if name not in (PUSHER, PULLER)]


def delete_pull_token(state: Path, name: str) -> None:
    """Nobody can log in with that token; what was issued for it ends within minutes."""
    with _changing(accounts_file(state)) as accounts:
        del accounts[_pull_token(accounts, name).name]


def regenerate_pull_token(state: Path, name: str) -> tuple[str, str]:
    """(user name, new password); the old password is worth nothing from now on."""
    with _changing(accounts_file(state)) as accounts:
        token, password = _pull_token(accounts, name), secrets.token_urlsafe(32)
        accounts[name] = make_account(name, password, token.repositories, token.actions)
    return name, password


def _pull_token(accounts: Mapping[str, Account], name: str) -> Account:
    tokens = sorted(set(accounts) - {PUSHER, PULLER})
    if name not in tokens:
        raise UsageError(
            f"the local registry has no token {name}",
            fix=f"name one of: {', '.join(tokens)}" if tokens else "there is none yet; create one",
        )
    return accounts[name]


def check_pull_token(name: str, repositories: Sequence[str]) -> None:
    """UsageError when the name is none for a token, or a repository's name is none."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a token",
            fix="take 5 to 50 letters, digits, '-' and '_', the first a letter or digit, as at Azure",
        )
    if not repositories:
        raise UsageError("a token needs a repository", fix="name one, e.g. --repository edgeferry/nyc_taxi")
    for each in repositories:
        if not is_repository(each.removesuffix("/*")):
            raise UsageError(
                f"{each!r} is no repository",
                fix="give its path in small letters, e.g. edgeferry/nyc_taxi; edgeferry/* for all below",
            )


def _covers(pattern: str, repository: str) -> bool:
    if pattern.endswith("/*"):
        return repository.startswith(pattern.removesuffix("*"))
    return pattern in (ALL, repository)


def _hash(password: str, salt: str) -> str:
    # Cheap as such functions go: our passwords are 192 random bits and more, and every pull asks.
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=1 << 12, r=8, p=1).hex()


def _parse(document: Mapping[str, Any]) -> Account:
    lists = {key: tuple(document[key]) for key in ("repositories", "actions")}
    return Account(**{**document, **lists})


@contextlib.contextmanager
def _changing(file: Path, *, new: bool = False) -> Iterator[dict[str, Account]]:
    """The accounts, saved afterwards; nobody else changes them meanwhile."""
    if not new and not file.is_file():
        raise UsageError("there is no local registry here", fix=_UP)
    with locked(file.with_suffix(".lock")):
        accounts = dict(load_accounts(file)) if file.is_file() else {}
        yield accounts
        save_accounts(file, accounts)
