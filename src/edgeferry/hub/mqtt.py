"""The door for devices and modules: MQTT 3.1.1 over TLS, one connection per identity.

Subscriptions of a client that connects without CleanSession live in the store, because Microsoft's SDK
never subscribes again after a reconnect. CONNACK 5 makes that SDK give up for ever, so it is said only
when the store is sure; any doubt is 3. Wills are read and dropped; telemetry is counted, not kept.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from edgeferry.hub.access import CLOCK_SKEW_S, Access
from edgeferry.hub.events import AssignmentRefused, DesiredChanged, Event, IdentityGone
from edgeferry.hub.store import Store
from edgeferry.hub.twins import Twins
from edgeferry.wire import mqtt as packets
from edgeferry.wire import topics
from edgeferry.wire.hub import (
    ERROR_CODES,
    Presence,
    RefusalError,
    parse_json,
    render_device_twin,
    render_json,
)

PACKET_BYTES = 300 * 1024
"""Largest packet taken: telemetry of 256 KiB with its topic."""
BACKLOG_BYTES = 1024 * 1024
"""Bytes a client may leave unread before it is dropped, so that it holds nobody up."""
_CONNECT_BYTES = 16 * 1024
_CONNECT_TIMEOUT_S = 10.0
_MAX_KEEP_ALIVE_S = 1767

Log = Callable[..., None]


@dataclass(frozen=True)
class Answer:
    """A client's answer to a method."""

    status: int
    body: bytes


@dataclass(eq=False)
class Link:
    """One live connection of an identity."""

    device: str
    module: str | None
    transport: asyncio.Transport
    subscriptions: dict[str, int]
    durable: bool
    since: str
    expires_at: float
    """When the credential stops counting, Unix seconds, skew included."""
    idle_s: float
    """How long the client may say nothing."""
    waiting: dict[str, asyncio.Future[Answer | None]] = field(default_factory=dict)
    rids: Any = field(default_factory=lambda: count(1))
    telemetry: int = 0
    left: str = ""
    """Why the connection ends, once it does."""

    @property
    def name(self) -> str:
        return topics.client_id(self.device, self.module)

    def send(self, packet: packets.Packet) -> None:
        """Queues the packet; a client that does not read is dropped instead."""
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() > BACKLOG_BYTES:
            self.end("does not read what it is sent")
            self.transport.abort()
            return
        self.transport.write(packets.render_packet(packet))

    def publish(self, topic: str, payload: bytes) -> None:
        self.send(packets.Publish(topic, payload))

    def end(self, reason: str) -> None:
        """Closes the connection and lets go of whoever waits for its answers."""
        self.left = self.left or reason
        for future in self.waiting.values():
            if not future.done():
                future.set_result(None)
        self.transport.close()

    async def ask(self, method: str, payload: bytes) -> Answer | None:
        """The client's answer to the method; None when it left first."""
        rid = format(next(self.rids), "x")
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self.waiting[rid] = future
        try:
            if self.left:
                return None
            self.publish(topics.render_method(method, rid), payload)
            return await future
        finally:
            del self.waiting[rid]


@dataclass(frozen=True)
class Links:
    """Every live connection, and what those not connected were last seen doing."""

    log: Log
    live: dict[tuple[str, str | None], Link] = field(default_factory=dict)
    seen: dict[tuple[str, str | None], Presence] = field(default_factory=dict)
    listening: dict[tuple[str, str | None], list[asyncio.Future[None]]] = field(default_factory=dict)

    def presence(self, device: str, module: str | None) -> Presence:
        """Whether the identity is connected now."""
        return self.seen.get((device, module), Presence())

    def announce(self, events: Sequence[Event]) -> None:
        """Tells connected clients what became of them."""
        for event in events:
            match event:
                case DesiredChanged(device, module, patch, version):
                    link = self.live.get((device, module))
                    if link is not None and topics.DESIRED_PATCHES in link.subscriptions:
                        body = render_json({**patch, "$version": version})
                        link.publish(topics.render_desired_patch(version), body)
                case IdentityGone(device, module):
                    link = self.live.get((device, module))
                    if link is not None:
                        link.durable = False
                        link.end("its identity was deleted, disabled or given other keys")
                case AssignmentRefused(device, reason):
                    self.log("assignment refused", device=device, reason=reason)

    def enter(self, link: Link) -> None:
        """Takes the link in; an older one of the same identity is closed."""
        key = (link.device, link.module)
        older = self.live.get(key)
        if older is not None:
            older.end("the same identity connected anew")
        self.live[key] = link
        self.seen[key] = Presence(True, link.since, link.since)

    def leave(self, link: Link, at: str) -> None:
        """Forgets the link, unless a newer one took its place."""
        key = (link.device, link.module)
        link.end("closed")
        if self.live.get(key) is link:
            del self.live[key]
            self.seen[key] = Presence(False, at, at)

    def listens(self, link: Link) -> None:
        """Wakes whoever waits for this identity to listen for methods."""
        for future in self.listening.get((link.device, link.module), ()):
            if not future.done():
                future.set_result(None)

    async def wait_for_methods(self, device: str, module: str | None, timeout_s: float) -> Link | None:
        """The identity's link once it listens for methods; None when it does not in time."""
        key = (device, module)
        try:
            async with asyncio.timeout(timeout_s or None):
                while True:
                    link = self.live.get(key)
                    if link is not None and topics.METHODS in link.subscriptions:
                        return link
                    if not timeout_s:
                        return None
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    waiters = self.listening.setdefault(key, [])
                    waiters.append(future)
                    try:
                        await future
                    finally:
                        waiters.remove(future)
                        if not waiters:
                            self.listening.pop(key, None)
        except TimeoutError:
            return None


@dataclass(frozen=True)
class Door:
    """Takes connections in and carries what they say to the fleet."""

    store: Store
    access: Access
    twins: Twins
    links: Links
    log: Log
    now: Callable[[], float]
    open: set[asyncio.Transport] = field(default_factory=set)
    """Connections that may not have said who they are yet."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection to its end; never raises."""
        transport = writer.transport
        if not isinstance(transport, asyncio.Transport):  # streams always come with one
            return
        self.open.add(transport)
        link: Link | None = None
        try:
            buffer = _Buffer(reader, _CONNECT_BYTES)
            link = await self._admit(buffer, transport)
            if link is not None:
                buffer.limit_bytes = PACKET_BYTES
                await self._converse(buffer, link)
        except ValueError as error:
            self._note(link, f"protocol error: {error}")
        except RefusalError as error:
            self._note(link, error.problem)
        except TimeoutError:
            self._note(link, "said nothing in time")
        except OSError as error:
            self._note(link, f"connection lost: {type(error).__name__}")
        except sqlite3.Error as error:
            self._note(link, f"the store failed: {error}")
        finally:
            if link is not None:
                self.links.leave(link, _stamp(self.now()))
                self.log("disconnected", client=link.name, reason=link.left, telemetry=link.telemetry)
            self.open.discard(transport)
            transport.close()

    def _note(self, link: Link | None, reason: str) -> None:
        if link is None:
            self.log("connection closed", reason=reason)
        else:
            link.left = link.left or reason

    # coming in

    async def _admit(self, buffer: _Buffer, transport: asyncio.Transport) -> Link | None:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connect = await buffer.next()
        if connect is None:
            return None
        if not isinstance(connect, packets.Connect):
            raise ValueError("the first packet is not CONNECT")
        if connect.level != packets.PROTOCOL_LEVEL:
            transport.write(packets.render_refusal(connect.level))
            self.log("connection refused", reason=f"MQTT protocol level {connect.level}")
            return None
        code, reason = packets.ACCEPTED, ""
        device, module, deadline = "", None, 0.0
        subscriptions: dict[str, int] = {}
        try:
            device, module = topics.parse_client_id(connect.client_id)
            named = topics.parse_username(connect.username or "")
            if (named.device, named.module) != (device, module):
                raise ValueError("client id and user name name different identities")
            password = (connect.password or b"").decode("utf-8")
            caller = self.access.admit(password, device, module, self.now())
            deadline = caller.expires_at + CLOCK_SKEW_S
            if connect.clean_session:
                if self.store.subscriptions(device, module):
                    with self.store.transaction():
                        self.store.save_subscriptions(device, module, {})
            else:
                subscriptions = dict(self.store.subscriptions(device, module))
        except ValueError as error:
            code, reason = packets.WRONG_IDENTITY, str(error)
        except RefusalError as error:
            code, reason = packets.NOT_AUTHORISED, error.problem
        except sqlite3.Error as error:
            code, reason = packets.NOT_READY, f"the store failed: {error}"
        if code != packets.ACCEPTED:
            transport.write(packets.render_packet(packets.ConnAck(code)))
            self.log("connection refused", client=connect.client_id[:300], code=code, reason=reason)
            return None
        link = Link(
            device=device,
            module=module,
            transport=transport,
            subscriptions=subscriptions,
            durable=not connect.clean_session,
            since=_stamp(self.now()),
            expires_at=deadline,
            idle_s=_idle_s(connect.keep_alive_s),
        )
        self.links.enter(link)
        link.send(packets.ConnAck(packets.ACCEPTED, bool(subscriptions)))
        self.links.listens(link)
        self.log(
            "connected", client=link.name, session=bool(subscriptions), keep_alive_s=connect.keep_alive_s
        )
        return link

    # being in

    async def _converse(self, buffer: _Buffer, link: Link) -> None:
        while not link.left:
            left_s = link.expires_at - self.now()
            if left_s <= 0:
                link.left = "its shared access signature expired"
                return
            try:
                async with asyncio.timeout(min(link.idle_s, left_s)):
                    packet = await buffer.next()
            except TimeoutError:
                if link.expires_at <= self.now():
                    continue
                raise
            if packet is None:
                link.left = link.left or "closed by the client"
                return
            if isinstance(packet, packets.Disconnect):
                link.left = "disconnected by the client"
                return
            self._take(packet, link)

    def _take(self, packet: packets.Packet, link: Link) -> None:
        match packet:
            case packets.Publish():
                if packet.qos == 2:
                    raise ValueError("QoS 2 is not offered")
                self._take_publish(packet, link)
                if packet.qos:
                    link.send(packets.PubAck(packet.packet_id))
            case packets.PubAck():
                pass
            case packets.Subscribe():
                self._subscribe(packet, link)
            case packets.Unsubscribe():
                remaining = {
                    name: qos for name, qos in link.subscriptions.items() if name not in packet.filters
                }
                self._keep(remaining, link)
                link.send(packets.UnsubAck(packet.packet_id))
            case packets.PingReq():
                link.send(packets.PingResp())
            case _:
                raise ValueError(f"clients may not send {type(packet).__name__}")

    def _subscribe(self, packet: packets.Subscribe, link: Link) -> None:
        allowed = topics.allowed_filters(link.device, link.module)
        forbidden = [name for name, _ in packet.filters if name not in allowed]
        if forbidden:  # closing says it even to clients that overlook a refusal in SUBACK
            raise ValueError(f"may not subscribe to {forbidden[0][:200]!r}")
        granted = [(name, min(qos, 1)) for name, qos in packet.filters]
        self._keep({**link.subscriptions, **dict(granted)}, link)
        link.send(packets.SubAck(packet.packet_id, tuple(qos for _, qos in granted)))
        self.links.listens(link)

    def _keep(self, subscriptions: dict[str, int], link: Link) -> None:
        if link.durable and subscriptions != link.subscriptions:
            with self.store.transaction():
                self.store.save_subscriptions(link.device, link.module, subscriptions)
        link.subscriptions = subscriptions

    def _take_publish(self, packet: packets.Publish, link: Link) -> None:
        match topics.parse_publish(packet.topic):
            case topics.TwinGet(rid):
                twin = self.twins.twin(link.device, link.module)
                link.publish(topics.render_twin_response(200, rid), render_device_twin(twin))
            case topics.ReportedPatch(rid):
                self._report(rid, packet.payload, link)
            case topics.MethodResponse(status, rid):
                future = link.waiting.get(rid)
                if future is not None and not future.done():
                    future.set_result(Answer(status, packet.payload))
            case topics.Telemetry(device, module, _):
                if (device, module) != (link.device, link.module):
                    raise ValueError("may not send telemetry as another identity")
                link.telemetry += 1

    def _report(self, rid: str, payload: bytes, link: Link) -> None:
        try:
            try:
                patch = parse_json(payload)
            except ValueError as error:
                raise RefusalError("DeserializationError", f"not JSON: {error}", fix="send JSON") from error
            version = self.twins.report(link.device, link.module, patch)
        except RefusalError as error:
            # Node's SDK looks only at the body, Python's only at the status.
            body = render_json({"errorCode": ERROR_CODES[error.name], "message": str(error)})
            link.publish(topics.render_twin_response(error.status, rid), body)
            return
        link.publish(topics.render_twin_response(204, rid, version), b"")


@dataclass
class _Buffer:
    """Cuts a stream into packets of at most `limit_bytes`."""

    reader: asyncio.StreamReader
    limit_bytes: int
    data: bytearray = field(default_factory=bytearray)

    async def next(self) -> packets.Packet | None:
        """The next packet; None at the end of the stream."""
        while True:
            length = packets.packet_length(self.data, self.limit_bytes)
            if length is not None and len(self.data) >= length:
                packet = packets.parse_packet(bytes(self.data[:length]))
                del self.data[:length]
                return packet
            chunk = await self.reader.read(64 * 1024)
            if not chunk:
                return None
            self.data += chunk


def _idle_s(keep_alive_s: int) -> float:
    return min(1.5 * keep_alive_s, _MAX_KEEP_ALIVE_S) if keep_alive_s else _MAX_KEEP_ALIVE_S


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
