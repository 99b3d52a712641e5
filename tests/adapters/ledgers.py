"""Ledgers for tests, and what somebody with write access to the branch, and no key, can do to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder

NOW = 1_800_000_000.0


def make_remote(folder: Path) -> Path:
    """An empty repository."""
    path = folder / "ledger.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True)
    return path


def open_ledger(
    folder: Path, remote: Path | str, machine: str = "one", *, may_trust: bool = True
) -> GitLedger:
    """The ledger as one machine sees it: its own keys and cache, and the trusted keys of all."""
    keys = KeyFolder(folder / machine / "keys", folder / "trust", may_trust=may_trust)
    return GitLedger(str(remote), "ledger", folder / machine / "cache", keys, lambda: NOW)


def tamper(remote: Path, change: Callable[[Path], None], *, back: int = 0) -> None:
    """Somebody with write access clones the branch, goes back some commits, and pushes what `change` makes of
    its files."""
    work = remote.parent / "work"
    git = ["git", "-C", str(work), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "clone", "--quiet", "-b", "ledger", str(remote), str(work)], check=True)
    subprocess.run([*git, "reset", "--quiet", "--hard", f"HEAD~{back}"], check=True)
    change(work)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "tidy up"], check=True)
    subprocess.run([*git, "push", "--quiet", "--force"], check=True)


def find(work: Path, number: int) -> Path:
    """The file of the entry of that number."""
    return next(work.rglob(f"{number:06d}-*.json"))


def edit(path: Path, **change: Any) -> None:
    """The entry says something else, under its old signature."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
