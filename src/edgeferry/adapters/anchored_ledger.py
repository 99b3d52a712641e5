"""The ledger and its anchor joined: nothing is read from, or put on top of, a branch that lost what the hub
remembers, and the hub hears of every new entry.

The anchor may lag behind the branch, for a writer may end between its push and its word to the hub; it never
leads. Without a hub to ask, that is said once, and the work goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeferry.adapters.ledger import GitLedger
from edgeferry.domain.anchor import AnchorState
from edgeferry.domain.ledger_chain import ACCEPT, Breach, LedgerCheck, find_key_breaches, judge_anchor
from edgeferry.domain.release import Entry
from edgeferry.errors import OutsideError, RefusedError, UsageError
from edgeferry.ports import Anchor


class AnchoredLedger:
    """Implements the `Ledger` port."""

    def __init__(self, ledger: GitLedger, anchor: Anchor, say: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._anchor = anchor
        self._say = say
        self._checked: str | None = None
        """The head that was held against the hub's word last."""
        self._unheard = False

    def entries(self, kind: str, subject: str = "") -> Sequence[Entry]:
        """Entries of that kind (and subject), oldest first."""
        found = self._ledger.entries(kind, subject)
        self._check_new()
        return found

    def all_entries(self) -> Sequence[Entry]:
        """Entries of every kind, oldest first."""
        found = self._ledger.all_entries()
        self._check_new()
        return found

    def append(self, kind: str, subject: str, body: dict[str, Any], author: str) -> Entry:
        """The signed entry, pushed on top of the branch, and the hub told."""
        return self._append(kind, subject, body, author, None)[0]

    def append_unless(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        author: str,
        found: Callable[[Sequence[Entry]], Entry | None],
    ) -> tuple[Entry, bool]:
        """The entry that `found` sees among all, or the new one on top of them; and whether it is new."""
        return self._append(kind, subject, body, author, found)

    def distrust(self, entry: Entry) -> str:
        """Why the entry's signature does not count, or ""."""
        return self._ledger.distrust(entry)

    def verify(self) -> LedgerCheck:
        """The branch, and what is wrong with it, with what the hub remembers of it, and with the keys."""
        state = self._anchor.read()  # before the branch: what the hub knew of was pushed by then
        found = list(self._ledger.find_breaches())
        reason = self._judge(state)
        if not state.head and self._ledger.count:
            reason = "the hub remembers nothing of this ledger, so its newest entries may be missing"
        if reason:
            found.append(Breach("anchor", reason))
        if state.head:
            found += find_key_breaches(state.fingerprints, self._ledger.trusted())
        return LedgerCheck(self._ledger.head, self._ledger.count, state, tuple(found))

    def check_push(self) -> None:
        """The repository would take a push of ours."""
        self._ledger.check_push()

    def accept(self) -> AnchorState:
        """The hub remembers the branch as it is, and the keys that count here."""
        self._ledger.refresh()
        return self._anchor.replace(self._ledger.head, self._ledger.count, self._ledger.trusted())

    def _append(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        author: str,
        found: Callable[[Sequence[Entry]], Entry | None] | None,
    ) -> tuple[Entry, bool]:
        entry, new = self._ledger.append_unless(kind, subject, body, author, found, self._check)
        if new:
            self._checked = self._ledger.head
            self._tell()
        return entry, new

    def _check_new(self) -> None:
        """A head that was looked at already needs no second look, nor does anybody without a hub."""
        if self._ledger.head != self._checked and not self._unheard:
            self._check()

    def _check(self) -> None:
        """RefusedError when the hub remembers what the branch no longer has."""
        state = self._ask()
        if state is None:
            return
        reason = self._judge(state)
        if reason:  # or others appended and told the hub after we had read the branch
            self._ledger.refresh()
            reason = self._judge(state)
        if reason:
            raise RefusedError(
                f"the ledger was tampered with: {reason}",
                fix="see all with 'edgeferry audit verify', then restore the branch from a clone; "
                f"who knows that it is right as it is: {ACCEPT}",
            )
        self._checked = self._ledger.head

    def _judge(self, state: AnchorState) -> str:
        descends = bool(state.head) and self._ledger.descends(state.head)
        return judge_anchor(state, self._ledger.count, descends=descends)

    def _ask(self) -> AnchorState | None:
        try:
            return self._anchor.read()
        except (OutsideError, UsageError) as error:
            self._say_once(error)
            return None

    def _tell(self) -> None:
        try:
            self._anchor.move(self._ledger.head, self._ledger.count, self._ledger.trusted())
        except (OutsideError, UsageError) as error:
            self._say_once(error)

    def _say_once(self, error: OutsideError | UsageError) -> None:
        if not self._unheard:
            self._unheard = True
            self._say(f"the ledger goes without its anchor at the hub: {error.problem}")
