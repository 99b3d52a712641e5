"""The anchor on the hub: tags of one reserved identity. A write is bound to the twin that was read.

The identity is disabled and no edge device, so nothing connects with it and no deployment targets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeferry.domain.anchor import DEVICE, AnchorState, Lease, is_free
from edgeferry.errors import HubError
from edgeferry.ports import Hub
from edgeferry.wire.anchor import (
    name_ledger,
    parse_anchor,
    parse_leases,
    render_anchor,
    render_lease,
)

Json = dict[str, Any]

_TRIES = 50


class TwinAnchor:
    """Implements the `Anchor` port for the ledger at `url`, branch `branch`."""

    def __init__(self, hub: Hub, url: str, branch: str) -> None:
        self._hub = hub
        self._ledger, self._place = name_ledger(url, branch)

    def read(self) -> AnchorState:
        """What the hub remembers; nothing when it has no such identity."""
        return self._state(self._fetch())

    def move(self, head: str, count: int, fingerprints: Mapping[str, Sequence[str]]) -> None:
        """The hub knows of at least `count` entries and of those authors' keys."""

        def change(twin: Json) -> Json | None:
            state = self._state(twin)
            new = {author: keys for author, keys in fingerprints.items() if author not in state.fingerprints}
            if state.count < count:
                return render_anchor(self._ledger, self._place, head, count, new)
            return render_anchor(self._ledger, self._place, state.head, state.count, new) if new else None

        self._edit(change)

    def replace(self, head: str, count: int, fingerprints: Mapping[str, Sequence[str]]) -> AnchorState:
        """The hub remembers that and nothing else of this ledger."""

        def change(twin: Json) -> Json:
            gone = dict.fromkeys(self._state(twin).fingerprints)
            return render_anchor(self._ledger, self._place, head, count, gone | dict(fingerprints))

        self._edit(change)
        return self.read()

    def take_lease(self, name: str, holder: str, until_s: float, now_s: float) -> bool:
        """Whether `holder` has the lease: it was free, had run out, or was theirs."""
        return self._lease(name, Lease(holder, until_s), now_s, lambda lease: is_free(lease, holder, now_s))

    def drop(self, name: str, holder: str) -> None:
        """The lease is not `holder`'s."""
        self._lease(name, None, 0, lambda lease: lease is not None and lease.holder == holder)

    def _lease(self, name: str, new: Lease | None, now_s: float, may: Callable[[Lease | None], bool]) -> bool:
        allowed = False

        def change(twin: Json) -> Json | None:
            nonlocal allowed
            leases = parse_leases(twin.get("tags") or {})
            allowed = may(leases.get(name))
            return render_lease(name, new, leases, now_s) if allowed else None

        self._edit(change)
        return allowed

    def _edit(self, change: Callable[[Json], Json | None]) -> None:
        """The tags are changed as `change` says of the twin as it is; nothing when it says None."""
        for _ in range(_TRIES):
            twin = self._fetch()
            if twin is None or twin.get("status") != "disabled":
                twin = self._create()
            patch = change(twin)
            if patch is None:
                return
            try:
                self._hub.patch_twin(DEVICE, "", {"tags": patch}, str(twin["etag"]))
            except HubError as error:
                if error.status not in (404, 412):
                    raise
            else:
                return
        raise HubError(
            f"the twin of {DEVICE} changed {_TRIES} times while we wrote to it",
            fix="try again",
            retryable=True,
        )

    def _fetch(self) -> Json | None:
        try:
            return self._hub.device_twin(DEVICE)
        except HubError as error:
            if error.status != 404:
                raise
            return None

    def _create(self) -> Json:
        """The twin of the identity, made and disabled: by us, or by another who does the same just now."""
        state = self._hub.create_devices([DEVICE], False, {})[DEVICE]
        if state not in ("created", "existed"):
            raise HubError(
                f"the hub did not make {DEVICE}: {state}",
                fix="make room for one more identity at the hub: the ledger's anchor needs it",
            )
        identity = self._hub.device(DEVICE)
        if identity.get("status") != "disabled":
            try:
                self._hub.save_identity({**identity, "status": "disabled"})
            except HubError as error:
                if error.status != 412:
                    raise
        return self._hub.device_twin(DEVICE)

    def _state(self, twin: Json | None) -> AnchorState:
        return parse_anchor((twin or {}).get("tags") or {}, self._ledger)
