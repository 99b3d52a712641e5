"""MQTT control packets: bytes in, packets out, and back.

Follows OASIS "MQTT Version 3.1.1" (29 October 2014), sections 2 and 3. A client that speaks another protocol
level is recognised so that it can be refused in its own words. Malformed bytes raise ValueError; section
4.8 asks for the connection to be closed then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PROTOCOL_LEVEL = 4

ACCEPTED = 0
WRONG_PROTOCOL = 1
NOT_READY = 3
WRONG_IDENTITY = 4
NOT_AUTHORISED = 5

SUBSCRIPTION_FAILED = 0x80


@dataclass(frozen=True)
class Will:
    """What the server publishes when the client goes without a goodbye."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Connect:
    """3.1; of a level other than 4 only the level is read."""

    client_id: str
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    clean_session: bool = True
    keep_alive_s: int = 0
    will: Will | None = None
    level: int = PROTOCOL_LEVEL


@dataclass(frozen=True)
class ConnAck:
    """3.2"""

    return_code: int
    session_present: bool = False


@dataclass(frozen=True)
class Publish:
    """3.3; `packet_id` is 0 for QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    retain: bool = False
    duplicate: bool = False


@dataclass(frozen=True)
class PubAck:
    """3.4"""

    packet_id: int


@dataclass(frozen=True)
class Subscribe:
    """3.8; each filter with the QoS asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SubAck:
    """3.9; a QoS or SUBSCRIPTION_FAILED for each filter."""

    packet_id: int
    return_codes: tuple[int, ...]


@dataclass(frozen=True)
class Unsubscribe:
    """3.10"""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True)
class UnsubAck:
    """3.11"""

    packet_id: int


@dataclass(frozen=True)
class PingReq:
    """3.12"""


@dataclass(frozen=True)
class PingResp:
    """3.13"""


@dataclass(frozen=True)
class Disconnect:
    """3.14"""


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
)

_EMPTY: dict[int, Packet] = {12: PingReq(), 13: PingResp(), 14: Disconnect()}


def packet_length(data: bytes | bytearray, limit_bytes: int) -> int | None:
    """How many bytes the packet that `data` begins with has; None when too few are there to tell.
    ValueError when it is longer than `limit_bytes`, or nothing that a packet can begin with."""
    if data:
        kind, flags = data[0] >> 4, data[0] & 0x0F
        if kind in (0, 15) or (kind != 3 and flags != (2 if kind in (6, 8, 10) else 0)):
            raise ValueError(f"no packet begins with {data[0]:#04x}")
    length = 0
    for index in range(1, 5):
        if index >= len(data):
            return None
        length |= (data[index] & 0x7F) << (7 * (index - 1))
        if not data[index] & 0x80:
            total = 1 + index + length
            if total > limit_bytes:
                raise ValueError(f"packet of {total} bytes, at most {limit_bytes} are accepted")
            return total
    raise ValueError("remaining length takes more than four bytes")


def parse_packet(data: bytes) -> Packet:
    """The packet that exactly these bytes are."""
    length = packet_length(data, len(data))
    if length != len(data):
        raise ValueError("not exactly one packet")
    kind, flags = data[0] >> 4, data[0] & 0x0F
    start = 2
    while data[start - 1] & 0x80:
        start += 1
    reader = _Reader(data, start)
    if kind == 3:
        return _parse_publish(flags, reader)
    packet = _parse_body(kind, reader)
    if not (isinstance(packet, Connect) and packet.level != PROTOCOL_LEVEL) and reader.left():
        raise ValueError(f"{reader.left()} bytes too many in packet type {kind}")
    return packet


def render_packet(packet: Packet) -> bytes:
    """The packet's bytes; ValueError when a text is longer than 65535 bytes."""
    match packet:
        case Connect():
            return _render_connect(packet)
        case ConnAck(code, present):
            return _frame(0x20, bytes((1 if present else 0, code)))
        case Publish():
            identifier = packet.packet_id.to_bytes(2, "big") if packet.qos else b""
            flags = (8 if packet.duplicate else 0) | packet.qos << 1 | (1 if packet.retain else 0)
            return _frame(0x30 | flags, _text(packet.topic) + identifier + packet.payload)
        case PubAck(identifier_):
            return _frame(0x40, identifier_.to_bytes(2, "big"))
        case Subscribe():
            filters_ = b"".join(_text(text) + bytes((qos,)) for text, qos in packet.filters)
            return _frame(0x82, packet.packet_id.to_bytes(2, "big") + filters_)
        case SubAck():
            return _frame(0x90, packet.packet_id.to_bytes(2, "big") + bytes(packet.return_codes))
        case Unsubscribe():
            return _frame(0xA2, packet.packet_id.to_bytes(2, "big") + b"".join(map(_text, packet.filters)))
        case UnsubAck(identifier_):
            return _frame(0xB0, identifier_.to_bytes(2, "big"))
        case PingReq():
            return _frame(0xC0, b"")
        case PingResp():
            return _frame(0xD0, b"")
        case Disconnect():
            return _frame(0xE0, b"")


def render_refusal(level: int) -> bytes:
    """The CONNACK for a client of another protocol level, as that level writes it."""
    if level >= 5:
        return b"\x20\x03\x00\x84\x00"
    return render_packet(ConnAck(WRONG_PROTOCOL))


@dataclass
class _Reader:
    """A position in a packet's bytes."""

    data: bytes
    position: int

    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        if count > self.left():
            raise ValueError("packet ends early")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def identifier(self) -> int:
        identifier = self.number(2)
        if not identifier:
            raise ValueError("packet id 0")
        return identifier

    def text(self) -> str:
        text = self.take(self.number(2)).decode("utf-8")
        if "\x00" in text:
            raise ValueError("a text contains U+0000")
        return text


def _parse_body(kind: int, reader: _Reader) -> Packet:
    if kind == 1:
        return _parse_connect(reader)
    if kind == 2:
        present = reader.number(1)
        if present > 1:
            raise ValueError("reserved acknowledge flags")
        return ConnAck(reader.number(1), bool(present))
    if kind == 4:
        return PubAck(reader.identifier())
    if kind == 8:
        identifier, filters = reader.identifier(), []
        while reader.left():
            text, qos = reader.text(), reader.number(1)
            if qos > 2 or not text:
                raise ValueError("a subscription asks for an impossible QoS or has no filter")
            filters.append((text, qos))
        if not filters:
            raise ValueError("SUBSCRIBE without a filter")
        return Subscribe(identifier, tuple(filters))
    if kind == 9:
        return SubAck(reader.identifier(), tuple(reader.take(reader.left())))
    if kind == 10:
        identifier, names = reader.identifier(), []
        while reader.left():
            names.append(reader.text())
        if not names:
            raise ValueError("UNSUBSCRIBE without a filter")
        return Unsubscribe(identifier, tuple(names))
    if kind == 11:
        return UnsubAck(reader.identifier())
    if kind in _EMPTY:
        return _EMPTY[kind]
    raise ValueError(f"packet type {kind} has no place here")


def _parse_connect(reader: _Reader) -> Connect:
    protocol, level = reader.text(), reader.number(1)
    if protocol != "MQTT" or level != PROTOCOL_LEVEL:
        if protocol not in ("MQTT", "MQIsdp"):
            raise ValueError(f"protocol {protocol[:20]!r} is not MQTT")
        return Connect("", level=3 if protocol == "MQIsdp" else level)
    flags = reader.number(1)
    has_will, has_username, has_password = bool(flags & 4), bool(flags & 0x80), bool(flags & 0x40)
    qos, retain = flags >> 3 & 3, bool(flags & 0x20)
    if flags & 1 or qos == 3 or (not has_will and (qos or retain)) or (has_password and not has_username):
        raise ValueError(f"connect flags {flags:#x} contradict each other")
    keep_alive_s = reader.number(2)
    client_id = reader.text()
    will = Will(reader.text(), reader.take(reader.number(2)), qos, retain) if has_will else None
    username = reader.text() if has_username else None
    password = reader.take(reader.number(2)) if has_password else None
    return Connect(client_id, username, password, bool(flags & 2), keep_alive_s, will)


def _parse_publish(flags: int, reader: _Reader) -> Publish:
    qos, duplicate, retain = flags >> 1 & 3, bool(flags & 8), bool(flags & 1)
    if qos == 3 or (duplicate and not qos):
        raise ValueError(f"publish flags {flags:#x} contradict each other")
    topic = reader.text()
    if not topic or "+" in topic or "#" in topic:
        raise ValueError("a topic to publish to is empty or has a wildcard")
    identifier = reader.identifier() if qos else 0
    return Publish(topic, reader.take(reader.left()), qos, identifier, retain, duplicate)


def _render_connect(packet: Connect) -> bytes:
    will, username, password = packet.will, packet.username, packet.password
    flags = 2 if packet.clean_session else 0
    body = _text(packet.client_id)
    if will is not None:
        flags |= 4 | will.qos << 3 | (0x20 if will.retain else 0)
        body += _text(will.topic) + _binary(will.payload)
    if username is not None:
        flags |= 0x80
        body += _text(username)
    if password is not None:
        flags |= 0x40
        body += _binary(password)
    head = _text("MQTT") + bytes((packet.level, flags)) + packet.keep_alive_s.to_bytes(2, "big")
    return _frame(0x10, head + body)


def _frame(first: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((first,)) + bytes(digits) + body


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError("a text is longer than 65535 bytes")
    return len(data).to_bytes(2, "big") + data
