"""The ledger: a branch of a git repository, reached with the `git` program, appended to by push.

A push that is not fast-forward is refused by git; then the branch is fetched again and the entry put
on top, so two writers lose nothing. A local bare clone serves as cache and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeferry.adapters.lock import locked
from edgeferry.adapters.signer import KeyFolder
from edgeferry.domain.release import Entry
from edgeferry.errors import LedgerError
from edgeferry.settings import child_environment
from edgeferry.wire.ledger import parse_entry, parse_name, render_entry, render_name, render_signed_part

_TRIES = 20


class GitLedger:
    """Implements the `Ledger` port."""

    def __init__(self, url: str, branch: str, cache: Path, keys: KeyFolder, now: Callable[[], float]) -> None:
        self._url = url
        self._branch = branch
        self._cache = cache
        self._keys = keys
        self._now = now

    def entries(self, kind: str, subject: str = "") -> Sequence[Entry]:
        """Entries of that kind (and subject), oldest first."""
        head = self._fetch()
        found = []
        for name in self._names(head):
            parts = parse_name(name)
            if parts and parts[1] == kind and subject in ("", parts[2]):
                found.append(self._read(head, name)[0])
        return found

    def append(self, kind: str, subject: str, body: dict[str, Any], author: str) -> Entry:
        """The signed entry, pushed on top of the branch."""
        for _ in range(_TRIES):
            head = self._fetch()
            names = self._names(head)
            last = names[-1] if names else ""
            number = parse_name(last)[0] + 1 if last else 1  # type: ignore[index]  # _names keeps entries only
            previous = self._digest(head, last)
            at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
            name = render_name(number, kind, subject)
            data = self._sign(kind, subject, at, author, body, previous)
            if self._push(head, name, data, f"{kind} {subject}\n\nby {author}"):
                return parse_entry(name, data)[0]
        raise LedgerError(
            f"the ledger {self._url} moved {_TRIES} times while we appended to it",
            fix="try again; nothing was lost",
            retryable=True,
        )

    def distrust(self, entry: Entry) -> str:
        """Why the entry's signature does not count, or ""."""
        name = f"{entry.id}.json"
        head = self._fetch()
        names = self._names(head)
        if name not in names:
            return "it is not in the ledger"
        stored, signed = self._read(head, name)
        if stored != entry:
            return "the ledger holds another content under its name"
        before = names[names.index(name) - 1] if names.index(name) else ""
        _, kind, subject = parse_name(name) or (0, "", "")
        if (kind, subject) != (entry.kind, entry.subject):
            return "it stands under the name of another entry"
        if json.loads(signed)["previous"] != self._digest(head, before):
            return (
                "it does not follow the entry before it: it was moved, copied, or the one before was changed"
            )
        return self._keys.distrust(entry.author, entry.key, entry.signature, signed)

    def _sign(
        self, kind: str, subject: str, at: str, author: str, body: dict[str, Any], previous: str
    ) -> bytes:
        key = self._keys.fingerprint(author)
        signed = render_signed_part(kind, subject, at, author, body, previous, key)
        signature = self._keys.sign(author, signed)
        return render_entry(kind, subject, at, author, body, previous, key, signature)

    def _digest(self, head: str, name: str) -> str:
        """The sha256 of the entry's file; "" for no entry."""
        return hashlib.sha256(self._git("cat-file", "blob", f"{head}:{name}")).hexdigest() if name else ""

    def _read(self, head: str, name: str) -> tuple[Entry, bytes]:
        data = self._git("cat-file", "blob", f"{head}:{name}")
        try:
            return parse_entry(name, data)
        except ValueError as error:
            raise LedgerError(
                f"ledger entry {name} cannot be read: {error}", fix="look at it with git log"
            ) from error

    def _names(self, head: str) -> list[str]:
        if not head:
            return []
        listed = self._git("ls-tree", "--name-only", "-z", head).decode().split("\0")
        return sorted(name for name in listed if parse_name(name))

    def _fetch(self) -> str:
        with locked(self._cache.with_suffix(".lock")):  # git refuses two fetches into one repository
            return self._fetch_alone()

    def _fetch_alone(self) -> str:
        if not (self._cache / "HEAD").is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare")
        ref = f"refs/remotes/ledger/{self._branch}"
        listed = self._git("ls-remote", self._url, f"refs/heads/{self._branch}").decode()
        if not listed.strip():
            return ""
        self._git("fetch", "--quiet", "--no-tags", self._url, f"+refs/heads/{self._branch}:{ref}")
        return self._git("rev-parse", ref).decode().strip()

    def _push(self, head: str, name: str, data: bytes, message: str) -> bool:
        blob = self._git("hash-object", "-w", "--stdin", stdin=data).decode().strip()
        tree = self._git("ls-tree", "-z", head) if head else b""
        tree += f"100644 blob {blob}\t{name}\0".encode()
        tree_id = self._git("mktree", "-z", stdin=tree).decode().strip()
        parents = ["-p", head] if head else []
        commit = self._git("commit-tree", tree_id, *parents, "-m", message).decode().strip()
        lease = f"--force-with-lease=refs/heads/{self._branch}:{head}"
        pushed = self._run("push", "--quiet", lease, self._url, f"{commit}:refs/heads/{self._branch}")
        if pushed.returncode == 0:
            return True
        text = pushed.stderr.decode(errors="replace")
        if any(
            word in text for word in ("stale info", "rejected", "cannot lock ref", "failed to update ref")
        ):
            return False
        raise self._failed("push", text)

    def _git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = self._run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise self._failed(arguments[0], done.stderr.decode(errors="replace"))
        return done.stdout

    def _run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        identity = ["-c", "user.name=edgeferry", "-c", "user.email=edgeferry@localhost"]
        command = ["git", "-C", str(self._cache), *identity, *arguments]
        try:
            return subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=60,
                env={**child_environment(), "GIT_TERMINAL_PROMPT": "0"},
            )
        except FileNotFoundError as error:
            raise LedgerError(
                "the program git is missing", fix="install git, e.g. apt-get install git"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise LedgerError(
                f"the ledger {self._url} did not answer in 60 s", fix="is it reachable?", retryable=True
            ) from error

    def _failed(self, verb: str, text: str) -> LedgerError:
        last = (text.strip().splitlines() or ["no word from git"])[-1]
        return LedgerError(
            f"git {verb} on the ledger {self._url} failed: {last}",
            fix="check ledger.url and your access to it; 'edgeferry up' makes a local one",
        )
