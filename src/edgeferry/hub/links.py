"""Live connections of devices and modules: one per identity, and what is on its way to each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from edgeferry.hub.events import AssignmentRefused, DesiredChanged, Event, IdentityGone
from edgeferry.hub.messages import Key
from edgeferry.hub.presence import Presences
from edgeferry.wire import mqtt as packets
from edgeferry.wire import topics
from edgeferry.wire.hub import render_json

BACKLOG_BYTES = 1024 * 1024
"""Bytes a client may leave unread before it is dropped, so that it holds nobody up."""

Log = Callable[..., None]


@dataclass(frozen=True)
class Answer:
    """A client's answer to a method."""

    status: int
    body: bytes


@dataclass(eq=False)
class Owed:
    """A PUBACK that the client is owed once what it published is safe."""

    packet_id: int
    due: bool = False


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
    will: packets.Will | None = None
    waiting: dict[str, asyncio.Future[Answer | None]] = field(default_factory=dict)
    rids: Any = field(default_factory=lambda: count(1))
    telemetry: int = 0
    unkept_bytes: int = 0
    """Telemetry of this client that waits for the disk."""
    left: str = ""
    """Why the connection ends, once it does."""
    owed: deque[Owed] = field(default_factory=deque)
    outgoing: bytearray = field(default_factory=bytearray)

    @property
    def key(self) -> Key:
        return self.device, self.module

    @property
    def name(self) -> str:
        return topics.client_id(self.device, self.module)

    def send(self, packet: packets.Packet) -> None:
        """Queues the packet; a client that does not read is dropped instead."""
        if self.left or self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size() + len(self.outgoing) > BACKLOG_BYTES:
            self.end("does not read what it is sent")
            self.transport.abort()
            return
        if not self.outgoing:  # what is sent in one turn of the loop goes out together
            asyncio.get_running_loop().call_soon(self._flush)
        self.outgoing += packets.render_packet(packet)

    def publish(self, topic: str, payload: bytes) -> None:
        self.send(packets.Publish(topic, payload))

    def owe(self, packet_id: int) -> Owed:
        """A PUBACK for later; they go out in the order of the PUBLISHes (MQTT 3.1.1, 4.6)."""
        owed = Owed(packet_id)
        self.owed.append(owed)
        return owed

    def settle(self, owed: Owed) -> None:
        """What was published is safe."""
        owed.due = True
        while self.owed and self.owed[0].due:
            self.send(packets.PubAck(self.owed.popleft().packet_id))

    def end(self, reason: str) -> None:
        """Closes the connection and lets go of whoever waits for its answers."""
        self._flush()
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

    def _flush(self) -> None:
        if self.outgoing and not self.transport.is_closing():
            self.transport.write(bytes(self.outgoing))
        self.outgoing.clear()


@dataclass(frozen=True)
class Links:
    """Every live connection."""

    presences: Presences
    exists: Callable[[str, str | None], bool]
    """Whether there still is such an identity."""
    log: Log
    live: dict[Key, Link] = field(default_factory=dict)
    listening: dict[Key, list[asyncio.Future[None]]] = field(default_factory=dict)

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
                    self._cut_off((device, module))
                case AssignmentRefused(device, reason):
                    self.log("assignment refused", device=device, reason=reason)

    def enter(self, link: Link) -> None:
        """Takes the link in; an older one of the same identity is closed."""
        older = self.live.get(link.key)
        if older is not None:
            older.end("the same identity connected anew")
        self.live[link.key] = link
        self.presences.enter(link.key, link.since)

    def leave(self, link: Link, at: str) -> None:
        """Forgets the link, unless a newer one took its place."""
        link.end("closed")
        if self.live.get(link.key) is link:
            del self.live[link.key]
            self.presences.leave(link.key, at)

    def listens(self, link: Link) -> None:
        """Wakes whoever waits for this identity to listen for methods."""
        for future in self.listening.get(link.key, ()):
            if not future.done():
                future.set_result(None)

    async def wait_for_methods(self, device: str, module: str | None, timeout_s: float) -> Link | None:
        """The identity's link once it listens for methods; None when it does not in time."""
        key = (device, module)
        try:
            async with asyncio.timeout(timeout_s or None):
                while True:
                    link = self.live.get(key)
                    if link is not None and not link.left and topics.METHODS in link.subscriptions:
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

    def _cut_off(self, key: Key) -> None:
        link = self.live.get(key)
        if link is not None:
            link.durable = False
            link.end("its identity was deleted, disabled or given other keys")
        if not self.exists(*key):
            self.presences.forget(key)
