"""Who may come in: a CONNECT judged.

CONNACK 5 makes Microsoft's Python SDK give up for ever, so it is said only when the hub is sure; what cannot
be understood is 4, any doubt is 3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeferry.domain.limits import Operation
from edgeferry.hub.access import CLOCK_SKEW_S, Access
from edgeferry.hub.rates import Rates, ThrottledError
from edgeferry.hub.store import Store
from edgeferry.wire import mqtt as packets
from edgeferry.wire import topics
from edgeferry.wire.hub import RefusalError


@dataclass(frozen=True)
class Admitted:
    """Who came in, and with what."""

    device: str
    module: str | None
    subscriptions: Mapping[str, int]
    expires_at: float
    """When the credential stops counting, Unix seconds, skew included."""


@dataclass(frozen=True)
class Refused:
    """A CONNACK code other than 0, and why, for the log."""

    code: int
    reason: str


@dataclass(frozen=True)
class Admission:
    """Judges against credentials and the store."""

    store: Store
    access: Access
    now: Callable[[], float]
    rates: Rates

    def judge(self, connect: packets.Connect) -> Admitted | Refused:
        """Whether the client may come in; a clean session forgets its subscriptions."""
        try:
            device, module, password = _read(connect)
        except ValueError as error:
            return Refused(packets.WRONG_IDENTITY, str(error))
        try:
            caller = self.access.admit(password, device, module, self.now())
            self.rates.count(Operation.CONNECTIONS)
            _check_will(connect.will, device, module)
            subscriptions = self._subscriptions(device, module, connect.clean_session)
        except ThrottledError as error:
            return Refused(packets.NOT_READY, error.problem)
        except RefusalError as error:
            return Refused(packets.NOT_AUTHORISED, error.problem)
        except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
            return Refused(packets.NOT_READY, f"the store failed: {error}")
        return Admitted(device, module, subscriptions, caller.expires_at + CLOCK_SKEW_S)

    def _subscriptions(self, device: str, module: str | None, clean: bool) -> Mapping[str, int]:
        subscriptions = self.store.subscriptions(device, module)
        if clean and subscriptions:
            with self.store.transaction():
                self.store.save_subscriptions(device, module, {})
        return {} if clean else subscriptions


def _read(connect: packets.Connect) -> tuple[str, str | None, str]:
    """(device, module, password); ValueError when one of them is not readable."""
    device, module = topics.parse_client_id(connect.client_id)
    named = topics.parse_username(connect.username or "")
    if (named.device, named.module) != (device, module):
        raise ValueError("client id and user name name different identities")
    if connect.will is not None and not isinstance(
        topics.parse_publish(connect.will.topic), topics.Telemetry
    ):
        raise ValueError(f"a will goes to a telemetry topic, not to {connect.will.topic[:200]!r}")
    return device, module, (connect.password or b"").decode("utf-8")


def _check_will(will: packets.Will | None, device: str, module: str | None) -> None:
    if will is None:
        return
    topic = topics.parse_publish(will.topic)
    if not isinstance(topic, topics.Telemetry) or (topic.device, topic.module) != (device, module):
        raise RefusalError(
            "IotHubUnauthorizedAccess", "the will is for another identity's topic", fix="name its own topic"
        )
