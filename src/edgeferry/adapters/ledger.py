"""The ledger: a branch of a git repository, reached with the `git` program, appended to by push.

A push that is not fast-forward is refused by git; then the branch is fetched again and the entry put
on top, so two writers lose nothing. Who appends much in a row pauses a little: otherwise another would never
get in, for who has just pushed need not fetch and is faster. A local bare clone serves as cache and can be
deleted at any time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeferry.adapters.ledger_git import LedgerGit, has_moved
from edgeferry.adapters.lock import locked
from edgeferry.adapters.signer import KeyFolder
from edgeferry.domain.ledger_chain import Breach, Link, find_breaches, judge_link
from edgeferry.domain.release import Entry
from edgeferry.errors import LedgerError
from edgeferry.wire.ledger import (
    Stored,
    parse_entry,
    parse_name,
    render_entry,
    render_folder,
    render_name,
    render_signed_part,
)

_TRIES = 50
_MANY = 2
"""After so many entries in a row a writer lets others in between."""


@dataclass(frozen=True)
class _File:
    """An entry's file in the branch."""

    path: str
    blob: str
    number: int
    kind: str
    subject: str

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2].removesuffix(".json")


@dataclass(frozen=True)
class _Branch:
    """The branch as it stood at one commit."""

    head: str = ""
    files: tuple[_File, ...] = ()


class GitLedger:
    """Implements what the `Ledger` port says of the repository alone; `adapters/anchored_ledger.py` joins it
    with what the hub remembers."""

    def __init__(self, url: str, branch: str, cache: Path, keys: KeyFolder, now: Callable[[], float]) -> None:
        self._url = url
        self._name = branch
        self._cache = cache
        self._git = LedgerGit(cache, url)
        self._keys = keys
        self._now = now
        self._lock = threading.RLock()
        """One thread at a time: none moves the head beneath what another decides."""
        self._branch = _Branch()
        self._places: dict[str, int] = {}
        """Where in the branch an entry's file is, by the entry's id."""
        self._in_a_row = 0
        """How many entries on top of the branch are ours, written one after the other."""
        self._append_s = 0.0
        """How long the last append took."""
        self._stored: dict[str, Stored | str] = {}
        """By the id of the file's blob: what it says, or why it cannot be read."""

    @property
    def head(self) -> str:
        """The commit that was read last; "" for none."""
        return self._branch.head

    @property
    def count(self) -> int:
        """How many entries it has there."""
        return len(self._branch.files)

    def refresh(self) -> None:
        """The branch as it is now is what was read last."""
        with self._lock:
            head = self._fetch()
            if head != self._branch.head:
                self._in_a_row = 0
                self._branch = _Branch(head, self._list(head))
                self._places.clear()
                for place, file in enumerate(self._branch.files):
                    self._places.setdefault(file.id, place)

    def check_push(self) -> None:
        """The repository would take a push of ours, as far as git can tell without one; LedgerError when it
        would not."""
        with self._lock:
            self.refresh()
            tree = self._git.ask("mktree").decode().strip()
            head = self.head or self._git.ask("commit-tree", tree, "-m", "try").decode().strip()
            self._git.ask("push", "--quiet", "--dry-run", self._url, f"{head}:refs/heads/edgeferry-doctor")

    def descends(self, ancestor: str) -> bool:
        """Whether the head that was read last is that commit, or has it in its history."""
        if not self.head:
            return False
        done = self._git.run("merge-base", "--is-ancestor", ancestor, self.head)
        return done.returncode == 0  # 1: it has not; 128: there is no such commit

    def trusted(self) -> Mapping[str, tuple[str, ...]]:
        """Fingerprints of the keys that count, by author."""
        return self._keys.trusted()

    def key_file(self, author: str) -> Path:
        """Where the author's trusted keys are, or would be."""
        return self._keys.trusted_file(author)

    def entries(self, kind: str, subject: str = "") -> Sequence[Entry]:
        """Entries of that kind (and subject), oldest first."""
        with self._lock:
            self.refresh()
            files = self._branch.files
            chosen = [
                n for n, file in enumerate(files) if file.kind == kind and subject in ("", file.subject)
            ]
            before = {n - 1 for n in chosen if n}  # who asks whether an entry counts needs the one before too
            self._load([files[n] for n in sorted(before.union(chosen))])
            return [self._entry(files[n]) for n in chosen]

    def all_entries(self) -> Sequence[Entry]:
        """Entries of every kind, oldest first."""
        with self._lock:
            self.refresh()
            return self._read_all()

    def append(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        author: str,
        check: Callable[[], None] = lambda: None,
    ) -> Entry:
        """The signed entry, pushed on top of the branch. `check` looks at each head before anything is put on
        top of it, and may refuse it."""
        with self._lock:
            return self._append(kind, subject, body, author, None, check)[0]

    def append_unless(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        author: str,
        found: Callable[[Sequence[Entry]], Entry | None],
        check: Callable[[], None] = lambda: None,
    ) -> tuple[Entry, bool]:
        """The entry that `found` sees among all, or the new one on top of them; and whether it is new.
        `check` as above."""
        with self._lock:
            return self._append(kind, subject, body, author, found, check)

    def _append(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        author: str,
        found: Callable[[Sequence[Entry]], Entry | None] | None,
        check: Callable[[], None],
    ) -> tuple[Entry, bool]:
        if self._in_a_row >= _MANY:
            time.sleep(random.uniform(0, 2 * self._append_s))
        began_s = time.monotonic()
        for _ in range(_TRIES):
            self.refresh()
            check()
            there = found(self._read_all()) if found else None
            if there is not None:
                return there, False
            last = self._branch.files[-1] if self._branch.files else None
            number = last.number + 1 if last else 1
            previous = self._link(last).digest if last else ""
            at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
            data = self._sign(kind, subject, at, author, body, previous)
            path = f"{render_folder(number)}/{render_name(number, kind, subject)}"
            if self._push(self.head, path, data, f"{kind} {subject}\n\nby {author}"):
                self._in_a_row += 1
                self._append_s = min(time.monotonic() - began_s, 1.0)
                return parse_entry(path, data).entry, True
        raise LedgerError(
            f"the ledger {self._url} moved {_TRIES} times while we appended to it",
            fix="try again; nothing was lost",
            retryable=True,
        )

    def distrust(self, entry: Entry) -> str:
        """Why the entry's signature does not count, or ""."""
        with self._lock:
            if entry.id not in self._places:
                self.refresh()
            place = self._places.get(entry.id)
            if place is None:
                return "it is not in the ledger"
            files = self._branch.files
            before = files[place - 1] if place else None
            self._load([file for file in (before, files[place]) if file])
            link = self._link(files[place])
            if link.entry is not None and link.entry != entry:
                return "the ledger holds another content under its name"
            return judge_link(link, self._link(before) if before else None) or self._distrust(link)

    def find_breaches(self) -> Sequence[Breach]:
        """What is wrong with the files, their order and signatures, and with the branch's history."""
        self.refresh()
        self._load(self._branch.files)
        links = [self._link(file) for file in self._branch.files]
        return (*find_breaches(links, self._distrust), *self._find_rewrites())

    def _find_rewrites(self) -> Sequence[Breach]:
        """Entries that a commit on top of others changed or took away: nothing may, whoever signed it."""
        if not self.head:
            return []
        options = ("--first-parent", "-m", "--no-renames", "--diff-filter=DMT", "--name-status")
        log = self._git.ask("log", *options, "--format=commit %h of %as", self.head).decode(errors="replace")
        found, commit = [], ""
        for line in log.splitlines():
            status, tab, path = line.partition("\t")
            if not tab:
                commit = line or commit
            elif parse_name(path):
                deed = "takes it away" if status == "D" else "changes it"
                found.append(Breach(path.rpartition("/")[2].removesuffix(".json"), f"{commit} {deed}"))
        return found

    def _sign(
        self, kind: str, subject: str, at: str, author: str, body: dict[str, Any], previous: str
    ) -> bytes:
        key = self._keys.fingerprint(author)
        signed = render_signed_part(kind, subject, at, author, body, previous, key)
        signature = self._keys.sign(author, signed)
        return render_entry(kind, subject, at, author, body, previous, key, signature)

    def _distrust(self, link: Link) -> str:
        entry = link.entry
        if entry is None:
            return link.unreadable
        signed = render_signed_part(
            entry.kind, entry.subject, entry.at, entry.author, entry.body, link.previous, entry.key
        )
        return self._keys.distrust(entry.author, entry.key, entry.signature, signed)

    def _read_all(self) -> Sequence[Entry]:
        self._load(self._branch.files)
        return [self._entry(file) for file in self._branch.files]

    def _entry(self, file: _File) -> Entry:
        stored = self._stored[file.blob]
        if isinstance(stored, str):
            raise LedgerError(
                f"ledger entry {file.id} cannot be read: {stored}", fix="see all with: edgeferry audit verify"
            )
        if stored.entry.id != file.id:  # two files of the same content
            return parse_entry(file.path, self._git.ask("cat-file", "blob", file.blob)).entry
        return stored.entry

    def _link(self, file: _File) -> Link:
        self._load([file])
        stored = self._stored[file.blob]
        if isinstance(stored, str):
            return Link(file.id, file.number, file.kind, file.subject, None, stored, "", "")
        entry = self._entry(file)
        return Link(file.id, file.number, file.kind, file.subject, entry, "", stored.previous, stored.digest)

    def _load(self, files: Sequence[_File]) -> None:
        """The files' content is known: all that is missing is read in one go."""
        missing = [file for file in files if file.blob not in self._stored]
        if not missing:
            return
        data = self._git.ask(
            "cat-file", "--batch", stdin="".join(f"{file.blob}\n" for file in missing).encode()
        )
        start = 0
        for file in missing:
            end = data.index(b"\n", start)
            size = int(data[start:end].rpartition(b" ")[2])
            start, end = end + 1, end + 1 + size
            try:
                self._stored[file.blob] = parse_entry(file.path, data[start:end])
            except ValueError as error:
                self._stored[file.blob] = str(error) or type(error).__name__
            start = end + 1

    def _list(self, head: str) -> tuple[_File, ...]:
        if not head:
            return ()
        files = []
        for line in self._git.ask("ls-tree", "-r", "-z", head).decode(errors="replace").split("\0"):
            about, _, path = line.partition("\t")
            if parts := parse_name(path):
                files.append(_File(path, about.split()[2], *parts))
        return tuple(sorted(files, key=lambda file: (file.number, file.path)))

    def _fetch(self) -> str:
        """The commit that the branch stands at, whose objects are here; "" when it has none."""
        with locked(self._cache.with_suffix(".lock")):  # git refuses two fetches into one repository
            if not (self._cache / "HEAD").is_file():
                self._cache.mkdir(parents=True, exist_ok=True)
                self._git.ask("init", "--quiet", "--bare")
            ref = f"refs/remotes/ledger/{self._name}"
            listed = self._git.ask("ls-remote", self._url, f"refs/heads/{self._name}").decode().split()
            if not listed:
                return ""
            if listed[0] != self._branch.head:
                self._git.ask("fetch", "--quiet", "--no-tags", self._url, f"+refs/heads/{self._name}:{ref}")
                return self._git.ask("rev-parse", ref).decode().strip()
            return listed[0]

    def _push(self, head: str, path: str, data: bytes, message: str) -> bool:
        """Whether the branch now has the file on top of `head`; False when it has moved meanwhile."""
        folder, _, name = path.partition("/")
        blob = self._git.ask("hash-object", "-w", "--stdin", stdin=data).decode().strip()
        inner = self._plant(head and f"{head}:{folder}", f"100644 blob {blob}\t{name}")
        outer = self._plant(head, f"040000 tree {inner}\t{folder}")
        parents = ["-p", head] if head else []
        commit = self._git.ask("commit-tree", outer, *parents, "-m", message).decode().strip()
        lease = f"--force-with-lease=refs/heads/{self._name}:{head}"
        pushed = self._git.run("push", "--quiet", lease, self._url, f"{commit}:refs/heads/{self._name}")
        if pushed.returncode == 0:
            file = _File(path, blob, *(parse_name(path) or (0, "", "")))
            self._places[file.id] = self.count
            self._branch = _Branch(commit, (*self._branch.files, file))
            return True
        text = pushed.stderr.decode(errors="replace")
        if has_moved(text):
            return False
        raise self._git.explain("push", text)

    def _plant(self, tree: str, line: str) -> str:
        """The id of `tree` ("" or one that is not there: an empty one) with one more line, which takes the
        place of another of that name."""
        listed = self._git.run("ls-tree", "-z", tree) if tree else None
        name = line.partition("\t")[2]
        kept = [
            one
            for one in (listed.stdout.decode(errors="surrogateescape").split("\0") if listed else [])
            if one and one.partition("\t")[2] != name
        ]
        data = "".join(f"{one}\0" for one in (*kept, line)).encode(errors="surrogateescape")
        return self._git.ask("mktree", "-z", stdin=data).decode().strip()
