"""What devices said, from Azure: the Event Hub-compatible endpoint of a hub.

After Microsoft's "Read device-to-cloud messages from the built-in endpoint": the sender stands in annotations
(`iothub-connection-device-id`, `-module-id`), what MQTT calls `$.mid`, `$.ct` … in AMQP's own properties.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edgeferry.adapters.entra import missing_extra
from edgeferry.domain.message import Message, MessagePage
from edgeferry.errors import HubError, UsageError

_GROUP = "$Default"
_CONNECT_S = 30.0
_IDLE_S = 1.0
_START = -1
_CURSOR = re.compile(r"\d{1,6}:-?\d{1,18}(,\d{1,6}:-?\d{1,18})*")
_SYSTEM = {
    "message-id": "messageId",
    "correlation-id": "correlationId",
    "user-id": "userId",
    "to": "to",
    "content-type": "contentType",
    "content-encoding": "contentEncoding",
    "iothub-interface-id": "interfaceId",
    "dt-subject": "componentName",
}
_FIX = "az iot hub connection-string show --hub-name NAME --default-eventhub"


class EventHubMessages:
    """Implements the `Messages` port; `fetch(afresh)` gives the endpoint's connection string."""

    def __init__(self, fetch: Callable[[bool], str]) -> None:
        self._fetch = fetch

    def read(self, after: str = "", limit: int = 100, wait_s: float = 0, device: str = "") -> MessagePage:
        """One page; HubError when the endpoint does not answer or refuses, UsageError for a cursor or a
        connection string that is none."""
        reading = Reading(parse_cursor(after), limit, device)
        try:
            from azure.eventhub import EventHubConsumerClient
            from azure.eventhub.exceptions import AuthenticationError, EventHubError
        except ImportError as error:
            raise missing_extra("azure-eventhub") from error
        for afresh in (False, True):
            try:
                client = EventHubConsumerClient.from_connection_string(
                    self._fetch(afresh), _GROUP, retry_total=1, retry_backoff_factor=0.2
                )
            except ValueError as error:
                raise UsageError(f"hub.events_connection_string cannot be used: {error}", fix=_FIX) from error
            try:
                return _receive(client, reading, after, wait_s)
            except AuthenticationError as error:
                if afresh:
                    raise HubError(f"the events endpoint refused the login: {error}", fix=_FIX) from error
            except EventHubError as error:
                raise HubError(
                    f"the events endpoint did not answer: {error}",
                    fix="check hub.events_connection_string and the network (AMQP over TLS, port 5671)",
                    retryable=True,
                ) from error
            finally:
                client.close()
        raise AssertionError("unreachable")


class Reading:
    """One page being gathered from partitions that answer in any order."""

    def __init__(self, positions: Mapping[str, int], limit: int, device: str) -> None:
        self._positions = dict(positions)
        self._limit = limit
        self._device = device
        self._idle: set[str] = set()
        self._messages: list[Message] = []
        self._lost = 0

    def begin(self, partitions: Sequence[str], last: Callable[[str], int] | None) -> Mapping[str, int | str]:
        """Where each partition starts, as the SDK wants it said; behind its `last` event if that is given."""
        for one in partitions:
            self._positions.setdefault(one, last(one) if last else _START)
        starts: dict[str, int | str] = {}
        for one, position in self._positions.items():
            starts[one] = "-1" if position == _START else position
        return starts

    def take(self, partition: str, events: Sequence[Any]) -> None:
        """Takes what a partition brought; none means that it has no more at the moment."""
        if not events:
            self._idle.add(partition)
        for event in events:
            if self.is_full:
                return
            sequence = int(event.sequence_number)
            position = self._positions.get(partition, _START)
            if sequence <= position:
                continue
            if position != _START:
                self._lost += sequence - position - 1
            self._positions[partition] = sequence
            message = parse_event(event)
            if message is not None and self._device in ("", message.device):
                self._messages.append(message)

    @property
    def is_full(self) -> bool:
        return len(self._messages) >= self._limit

    @property
    def is_complete(self) -> bool:
        """Whether every partition has given what it had."""
        return self.is_full or self._idle >= set(self._positions)

    @property
    def has_any(self) -> bool:
        return bool(self._messages)

    def page(self) -> MessagePage:
        """What there is so far."""
        cursor = ",".join(f"{name}:{self._positions[name]}" for name in sorted(self._positions, key=int))
        return MessagePage(list(self._messages), cursor, self._lost)


def parse_cursor(text: str) -> Mapping[str, int]:
    """Last sequence number read by partition; none for the beginning or the end. UsageError for anything that
    no page had as its `next`."""
    if text in ("", "end"):
        return {}
    if not _CURSOR.fullmatch(text):
        raise UsageError(
            f"{text[:60]!r} is no cursor of an events endpoint", fix="give the last page's, or none"
        )
    return {name: int(number) for name, _, number in (one.partition(":") for one in text.split(","))}


def parse_event(event: Any) -> Message | None:
    """The message in an `azure.eventhub.EventData`; None when no device sent it as telemetry."""
    known = {_text(name): value for name, value in event.system_properties.items()}
    device = _text(known.get("iothub-connection-device-id"))
    if not device or _text(known.get("iothub-message-source") or "Telemetry") != "Telemetry":
        return None
    enqueued_at = event.enqueued_time or datetime.fromtimestamp(0, UTC)
    return Message(
        device=device,
        module=_text(known.get("iothub-connection-module-id")) or None,
        enqueued_at=enqueued_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        system={ours: _text(known[name]) for name, ours in _SYSTEM.items() if known.get(name) is not None},
        properties={_text(name): _text(value) for name, value in (event.properties or {}).items()},
        body=_body(event.body),
        sequence=int(event.sequence_number),
    )


def _receive(client: Any, reading: Reading, after: str, wait_s: float) -> MessagePage:
    def last(partition: str) -> int:
        return int(client.get_partition_properties(partition)["last_enqueued_sequence_number"])

    starts = reading.begin(client.get_partition_ids(), last if after == "end" else None)
    done, waited = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def take(context: Any, events: Sequence[Any]) -> None:
        if done.is_set():
            return
        reading.take(context.partition_id, events)
        if reading.is_full or (reading.is_complete and (reading.has_any or waited.is_set())):
            done.set()

    def fail(_context: Any, error: Exception) -> None:
        failures.append(error)
        done.set()

    def receive() -> None:
        try:
            client.receive_batch(take, starting_position=starts, max_wait_time=_IDLE_S, on_error=fail)
        except Exception as error:  # noqa: BLE001 - the thread's failure is raised by who waits for it
            fail(None, error)

    thread = threading.Thread(target=receive, name="events", daemon=True)
    thread.start()
    if not done.wait(wait_s):
        waited.set()
        done.wait(_CONNECT_S)
    done.set()
    client.close()
    thread.join(_CONNECT_S)
    if failures:
        raise failures[0]
    return reading.page()


def _text(value: Any) -> str:
    return (
        value.decode("utf-8", "replace") if isinstance(value, bytes) else "" if value is None else str(value)
    )


def _body(body: Any) -> bytes:
    """The bytes, in however many pieces the SDK hands them out."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, Mapping) or not hasattr(body, "__iter__"):
        return str(body).encode()
    return b"".join(piece if isinstance(piece, bytes) else str(piece).encode() for piece in body)
