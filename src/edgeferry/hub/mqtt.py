"""The door for devices and modules: MQTT 3.1.1 over TLS, connections cut into packets.

A client that says nothing, too much, or what is no MQTT is closed; one that floods takes turns with the
others and waits for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeferry.hub.admission import Admission, Refused
from edgeferry.hub.conversation import Conversation
from edgeferry.hub.links import Link, Links, Log
from edgeferry.hub.messages import stamp
from edgeferry.hub.presence import ACTIVE_S
from edgeferry.hub.tls import shrink_read_buffer
from edgeferry.wire import mqtt as packets
from edgeferry.wire.hub import RefusalError

PACKET_BYTES = 300 * 1024
"""Largest packet taken: telemetry of 256 KiB with its topic."""
CONNECT_BYTES = 16 * 1024
"""Largest first packet taken, from whoever it is."""
CONNECT_S = 10.0
UNKEPT_BYTES = 1024 * 1024
"""Telemetry of one client that may wait for the disk before it is read no further."""
_TURN = 16
_MAX_KEEP_ALIVE_S = 1767
_CHECK_S = 60.0


@dataclass(frozen=True)
class Door:
    """Takes connections in and carries what they say to the conversation."""

    admission: Admission
    conversation: Conversation
    links: Links
    log: Log
    now: Callable[[], float]
    open: set[asyncio.Transport] = field(default_factory=set)
    """Connections that may not have said who they are yet."""

    def connection(self) -> asyncio.Protocol:
        """Serves one connection to its end."""
        return _Connection(self)

    async def close(self, timeout_s: float) -> None:
        """Every connection is closed, or has been given `timeout_s`."""
        for transport in list(self.open):
            transport.close()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)


class _Connection(asyncio.Protocol):
    def __init__(self, door: Door) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._limit_bytes = CONNECT_BYTES
        self._link: Link | None = None
        self._heard_at = self._noted_at = self._loop.time()
        self._held = False
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        shrink_read_buffer(transport)
        self._transport = transport
        self._door.open.add(transport)
        self._timer = self._loop.call_later(CONNECT_S, self._close, "said nothing in time")

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._held:
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        door, link = self._door, self._link
        door.open.discard(self._transport)
        if link is not None:
            if exc is not None:
                link.left = link.left or f"connection lost: {type(exc).__name__}"
            link.left = link.left or "closed by the client"
            door.links.leave(link, stamp(door.now()))
            door.conversation.take_will(link)
            door.log("disconnected", client=link.name, reason=link.left, telemetry=link.telemetry)

    def _work(self) -> None:
        """Takes what has come, a turn of packets at most."""
        try:
            for _ in range(_TURN):
                packet = None if self._is_ending() else self._cut()
                if packet is None:
                    return
                self._take(packet)
                if self._must_wait():
                    self._hold()
                    self._door.conversation.journal.when_written(self._go_on)
                    return
        except ValueError as error:
            self._close(f"protocol error: {error}")
        except RefusalError as error:
            self._close(error.problem)
        except sqlite3.Error as error:
            self._close(f"the store failed: {error}")
        except BaseException:
            self._transport.abort()
            raise
        else:
            self._hold()
            self._loop.call_soon(self._go_on)

    def _cut(self) -> packets.Packet | None:
        """The next packet; None when it is not all there yet."""
        length = packets.packet_length(self._data, self._limit_bytes)
        if length is None or len(self._data) < length:
            return None
        packet = packets.parse_packet(bytes(self._data[:length]))
        del self._data[:length]
        return packet

    def _take(self, packet: packets.Packet) -> None:
        link = self._link
        if link is None:
            self._come_in(packet)
            return
        self._heard_at = self._loop.time()
        if self._heard_at - self._noted_at >= ACTIVE_S:
            self._noted_at = self._heard_at
            self._door.links.presences.heard(link.key, stamp(self._door.now()))
        self._door.conversation.take(packet, link)

    def _come_in(self, connect: packets.Packet) -> None:
        door = self._door
        if not isinstance(connect, packets.Connect):
            raise ValueError("the first packet is not CONNECT")
        if connect.level != packets.PROTOCOL_LEVEL:
            self._transport.write(packets.render_refusal(connect.level))
            self._close(f"MQTT protocol level {connect.level}")
            return
        judged = door.admission.judge(connect)
        if isinstance(judged, Refused):
            self._transport.write(packets.render_packet(packets.ConnAck(judged.code)))
            self._transport.close()
            client = connect.client_id[:300]
            door.log("connection refused", client=client, code=judged.code, reason=judged.reason)
            return
        link = Link(
            device=judged.device,
            module=judged.module,
            transport=self._transport,
            subscriptions=dict(judged.subscriptions),
            durable=not connect.clean_session,
            since=stamp(door.now()),
            expires_at=judged.expires_at,
            idle_s=_idle_s(connect.keep_alive_s),
            will=connect.will,
        )
        self._link, self._limit_bytes = link, PACKET_BYTES
        session = bool(link.subscriptions)
        door.links.enter(link)
        link.send(packets.ConnAck(packets.ACCEPTED, session))
        door.links.listens(link)
        door.log("connected", client=link.name, session=session, keep_alive_s=connect.keep_alive_s)
        self._watch(link)

    # waiting

    def _must_wait(self) -> bool:
        unkept = self._link.unkept_bytes if self._link else 0
        return unkept > UNKEPT_BYTES or (unkept > 0 and self._door.conversation.journal.full)

    def _hold(self) -> None:
        if not self._held and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._is_ending():
            return
        if self._must_wait():
            self._door.conversation.journal.when_written(self._go_on)
            return
        self._held = False
        self._transport.resume_reading()
        self._work()

    # ending

    def _watch(self, link: Link) -> None:
        """Ends the connection when its credential does or when the client is silent for too long."""
        self._timer.cancel()
        if self._held:
            self._heard_at = self._loop.time()
        valid_s = link.expires_at - self._door.now()
        quiet_s = self._heard_at + link.idle_s - self._loop.time()
        if valid_s <= 0:
            self._close("its shared access signature expired")
        elif quiet_s <= 0:
            self._close("said nothing in time")
        else:
            self._timer = self._loop.call_later(min(valid_s, quiet_s, _CHECK_S) + 0.001, self._watch, link)

    def _close(self, reason: str) -> None:
        if self._link is not None:
            self._link.end(reason)
        else:
            self._door.log("connection closed", reason=reason)
            self._transport.close()

    def _is_ending(self) -> bool:
        return self._transport.is_closing() or bool(self._link and self._link.left)


def _idle_s(keep_alive_s: int) -> float:
    return min(1.5 * keep_alive_s, _MAX_KEEP_ALIVE_S) if keep_alive_s else _MAX_KEEP_ALIVE_S
