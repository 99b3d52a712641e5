"""The anchor's tags on the twin of its reserved identity, both directions.

    tags.ledgers.<ledger> = {place, head, count, keys: {<author>: "SHA256:… SHA256:…"}}
    tags.leases.<name>    = {holder, until}

Several ledgers may share a hub, so each has its own place there. A twin's names hold no dot, space or `$`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from edgeferry.domain.anchor import AnchorState, Lease
from edgeferry.domain.fields import members

Json = dict[str, Any]

_PLACE = re.compile(r"^(?:[a-z+]+://)?(?:[^@/]*@)?", re.IGNORECASE)
_PLACE_LETTERS = 80
_KEPT_S = 24 * 3600.0
"""How long a lease that ran out stays, so that a person can see whose it was."""


def name_ledger(url: str, branch: str) -> tuple[str, str]:
    """(the ledger's name among the tags, its place for a person): the same for every way to write the
    address of one repository."""
    place = _PLACE.sub("", url)
    place = re.sub(r"^([^/:]+):(?!\d+/)/*", r"\1/", place)  # host:path is ssh's way to write host/path
    place = place.rstrip("/").removesuffix(".git") + f"#{branch}"
    return hashlib.sha256(place.encode()).hexdigest()[:12], place[-_PLACE_LETTERS:]


def parse_anchor(tags: Mapping[str, Any], ledger: str) -> AnchorState:
    """What the tags say of that ledger; what has another form counts as not there."""
    found = members(members(tags.get("ledgers")).get(ledger))
    count = found.get("count")
    return AnchorState(
        head=str(found.get("head") or ""),
        count=count if isinstance(count, int) else 0,
        fingerprints={
            unquote(author): tuple(str(keys).split()) for author, keys in members(found.get("keys")).items()
        },
    )


def render_anchor(
    ledger: str, place: str, head: str, count: int, fingerprints: Mapping[str, Sequence[str] | None]
) -> Json:
    """The patch that says it; None takes an author's keys away, and authors that are not named stay."""
    keys = {_quote(author): prints and " ".join(prints) for author, prints in fingerprints.items()}
    return {"ledgers": {ledger: {"place": place, "head": head, "count": count, "keys": keys}}}


def parse_leases(tags: Mapping[str, Any]) -> dict[str, Lease]:
    """Every lease, by name."""
    leases = {}
    for name, one in members(tags.get("leases")).items():
        until, holder = members(one).get("until"), members(one).get("holder")
        if isinstance(until, int | float) and isinstance(holder, str):
            leases[unquote(name)] = Lease(holder, float(until))
    return leases


def render_lease(name: str, lease: Lease | None, leases: Mapping[str, Lease], now_s: float) -> Json:
    """The patch that gives the lease to its holder, or takes it away; those that ran out long ago go too."""
    old = {_quote(each): None for each, one in leases.items() if one.until_s < now_s - _KEPT_S}
    one = None if lease is None else {"holder": lease.holder, "until": lease.until_s}
    return {"leases": {**old, _quote(name): one}}


def _quote(name: str) -> str:
    return quote(name, safe="@+").replace(".", "%2E")
