"""What is wrong with a ledger as a whole: its entries must be one unbroken chain of signed files. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeferry.domain.anchor import AnchorState
from edgeferry.domain.release import Entry

ACCEPT = "edgeferry audit accept"


@dataclass(frozen=True)
class Breach:
    """One thing that is wrong with the ledger."""

    where: str
    """The entry's id, or `anchor`, or `key of NAME`."""
    reason: str


@dataclass(frozen=True)
class Link:
    """One file of the chain, as its name and its content say."""

    id: str
    number: int
    kind: str
    subject: str
    entry: Entry | None
    """None when the content cannot be read."""
    unreadable: str
    """Why not, or ""."""
    previous: str
    digest: str


@dataclass(frozen=True)
class LedgerCheck:
    """What a look at the whole ledger found."""

    head: str
    count: int
    anchor: AnchorState
    breaches: tuple[Breach, ...]


def judge_link(link: Link, before: Link | None) -> str:
    """Why the file cannot stand behind `before` (None: at the beginning), or "". Says nothing of its
    signature."""
    expected = before.number + 1 if before else 1
    if link.entry is None:
        return f"it cannot be read: {link.unreadable}"
    if link.number < expected:
        return f"number {link.number} is there twice"
    if (link.kind, link.subject) != (link.entry.kind, link.entry.subject):
        return "it stands under the name of another entry"
    if link.number > expected:
        missing = f"entry {expected} is" if link.number == expected + 1 else f"entries from {expected} on are"
        return f"it does not follow the entry before it: {missing} missing"
    if link.previous != (before.digest if before else ""):
        return "it does not follow the entry before it: it was moved, copied, or the one before was changed"
    return ""


def find_breaches(links: Sequence[Link], distrust: Callable[[Link], str]) -> tuple[Breach, ...]:
    """What is wrong with each file, in their order; `distrust` says why a signature does not count."""
    found = []
    for before, link in zip((None, *links), links, strict=False):
        reason = judge_link(link, before) or distrust(link)
        if reason:
            found.append(Breach(link.id, reason))
    return tuple(found)


def judge_anchor(state: AnchorState, count: int, *, descends: bool) -> str:
    """Why a ledger of `count` entries is not the one that the hub remembers, grown since; or "".

    `descends`: whether its head is the remembered one, or has it among those before it. A head that the hub
    has not heard of yet is no fault: a writer may end between its push and its word to the hub.
    """
    if not state.head:
        return ""
    remembered = f"the hub remembers {state.count} entries at commit {state.head[:12]}"
    if not descends:
        return f"{remembered}, which the branch no longer has: newest entries were removed or rewritten"
    if count < state.count:
        return f"{remembered}, and the branch has {count}: entries were removed"
    return ""


def find_key_breaches(
    pinned: Mapping[str, Sequence[str]], trusted: Mapping[str, Sequence[str]]
) -> tuple[Breach, ...]:
    """Where the keys `trusted` in this environment are not those `pinned` at the hub, by author."""
    found = []
    for author in sorted(pinned.keys() | trusted.keys()):
        at_hub, here = pinned.get(author), trusted.get(author)
        if at_hub is None:
            reason = "it counts here, and the hub has no fingerprint of it"
        elif here is None:
            reason = "the hub has its fingerprint, and it is not among the trusted keys here"
        elif tuple(at_hub) != tuple(here):
            reason = f"{' and '.join(here)} counts here, and the hub has {' and '.join(at_hub)}"
        else:
            continue
        found.append(Breach(f"key of {author}", reason))
    return tuple(found)
