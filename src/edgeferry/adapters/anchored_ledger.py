"""The ledger and its anchor joined: nothing is read from, or put on top of, a branch that lost what the hub
remembers, and the hub hears of every new entry.

The anchor may lag behind the branch, for a writer may end between its push and its word to the hub; it never
leads. Without a hub to ask, that is said once, and the work goes on; it is asked again before each write, and
now and then before reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeferry.adapters.ledger import GitLedger
from edgeferry.domain.anchor import AnchorState
from edgeferry.domain.ledger_chain import ACCEPT, Breach, LedgerCheck, find_key_breaches, judge_anchor
from edgeferry.domain.release import Entry
from edgeferry.errors import OutsideError, RefusedError, UsageError
from edgeferry.ports import Anchor

_UNHEARD_S = 10.0
"""How long readers go on without a hub that did not answer, before it is asked again."""


class AnchoredLedger:
    """Implements the `Ledger` port. `environment`: for the commands that it tells people to type."""

    def __init__(
        self,
        ledger: GitLedger,
        anchor: Anchor,
        say: Callable[[str], None],
        *,
        environment: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._anchor = anchor
        self._say = say
        self._accept = f"{ACCEPT} --env {environment}" if environment else ACCEPT
        self._clock = clock
        self._checked: str | None = None
        """The head that was held against the hub's word last."""
        self._unheard_s: float | None = None
        """When the hub did not answer last; None when it did."""

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
        entry = self._ledger.append(kind, subject, body, author, self._check)
        self._tell_new()
        return entry

    def append_unless(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        author: str,
        found: Callable[[Sequence[Entry]], Entry | None],
    ) -> tuple[Entry, bool]:
        """The entry that `found` sees among all, or the new one on top of them; and whether it is new."""
        entry, new = self._ledger.append_unless(kind, subject, body, author, found, self._check)
        if new:
            self._tell_new()
        return entry, new

    def distrust(self, entry: Entry) -> str:
        """Why the entry's signature does not count, or ""."""
        return self._ledger.distrust(entry)

    def trusted(self) -> Mapping[str, Sequence[str]]:
        """Fingerprints of the keys that count here, by author."""
        return self._ledger.trusted()

    def require_keys(self, entries: Sequence[Entry]) -> None:
        """RefusedError when the hub remembers the key of one of them as one that counts, and it is not
        trusted here: whoever passed over that entry would decide on half of the story."""
        here = self._ledger.trusted()
        foreign = [one for one in entries if one.key not in here.get(one.author, ())]
        if not foreign:
            return
        try:
            known = self._anchor.read().fingerprints
        except UsageError:  # there is no hub: nothing is carried out from here
            return
        for entry in foreign:
            if entry.key in known.get(entry.author, ()):
                raise RefusedError(
                    f"entry {entry.id} of the ledger cannot be judged here: the key of {entry.author}, "
                    f"{entry.key}, counts for the hub and is not among the trusted keys of this machine",
                    fix=f"put its public half into {self._ledger.key_file(entry.author)}; "
                    f"if it was taken away on purpose: {self._accept}",
                )

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

    def _check_new(self) -> None:
        """A head that was looked at already needs no second look."""
        if self._ledger.head == self._checked:
            return
        if self._unheard_s is None or self._clock() - self._unheard_s >= _UNHEARD_S:
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
                f"who knows that it is right as it is: {self._accept}",
            )
        self._checked = self._ledger.head

    def _judge(self, state: AnchorState) -> str:
        descends = bool(state.head) and self._ledger.descends(state.head)
        return judge_anchor(state, self._ledger.count, descends=descends)

    def _ask(self) -> AnchorState | None:
        try:
            state = self._anchor.read()
        except (OutsideError, UsageError) as error:
            self._miss(error)
            return None
        self._unheard_s = None
        return state

    def _tell_new(self) -> None:
        """The hub hears of the entry that was put on top."""
        self._checked = self._ledger.head
        try:
            self._anchor.move(self._ledger.head, self._ledger.count, self._ledger.trusted())
        except (OutsideError, UsageError) as error:
            self._miss(error)
        else:
            self._unheard_s = None

    def _miss(self, error: OutsideError | UsageError) -> None:
        """The hub did not answer: said once, until it has."""
        if self._unheard_s is None:
            self._say(f"the ledger goes without its anchor at the hub: {error.problem}")
        self._unheard_s = self._clock()
