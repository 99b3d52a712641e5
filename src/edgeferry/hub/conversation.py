"""What connected clients say, and what the hub does about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeferry.domain.message import Message
from edgeferry.hub.journal import Journal
from edgeferry.hub.links import Answer, Link, Links
from edgeferry.hub.messages import stamp
from edgeferry.hub.store import Store
from edgeferry.hub.twins import Twins
from edgeferry.wire import mqtt as packets
from edgeferry.wire import topics
from edgeferry.wire.hub import ERROR_CODES, RefusalError, parse_json, render_device_twin, render_json
from edgeferry.wire.telemetry import MESSAGE_TYPE, RETAINED, sort_properties

MESSAGE_BYTES = 256 * 1024
"""The longest message, properties included."""
MAX_SUBSCRIPTIONS = 50


@dataclass(frozen=True)
class Conversation:
    """Carries what clients say to twins and journal."""

    store: Store
    twins: Twins
    links: Links
    journal: Journal
    now: Callable[[], float]

    def take(self, packet: packets.Packet, link: Link) -> None:
        """Does what the packet asks; ValueError when clients may not ask this."""
        match packet:
            case packets.Publish():
                self._take_publish(packet, link)
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
            case packets.Disconnect():
                link.will = None
                link.end("disconnected by the client")
            case _:
                raise ValueError(f"clients may not send {type(packet).__name__}")

    def take_will(self, link: Link) -> None:
        """The will of a client that went without a goodbye becomes telemetry."""
        will, link.will = link.will, None
        if will is None:
            return
        topic = topics.parse_publish(will.topic)
        if isinstance(topic, topics.Telemetry):
            bag = {**topic.properties, MESSAGE_TYPE: "Will"}
            self.journal.append(self._message(link, bag, will.payload, will.retain))

    # subscriptions

    def _subscribe(self, packet: packets.Subscribe, link: Link) -> None:
        if len(packet.filters) > MAX_SUBSCRIPTIONS:
            raise ValueError(f"may not subscribe more than {MAX_SUBSCRIPTIONS} times")
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

    # publishing

    def _take_publish(self, packet: packets.Publish, link: Link) -> None:
        if packet.qos == 2:
            raise ValueError("QoS 2 is not offered")
        match topics.parse_publish(packet.topic):
            case topics.Telemetry() as topic:
                self._take_telemetry(packet, topic, link)
                return
            case topics.TwinGet(rid):
                twin = self.twins.twin(link.device, link.module)
                link.publish(topics.render_twin_response(200, rid), render_device_twin(twin))
            case topics.ReportedPatch(rid):
                self._report(rid, packet.payload, link)
            case topics.MethodResponse(status, rid):
                future = link.waiting.get(rid)
                if future is not None and not future.done():
                    future.set_result(Answer(status, packet.payload))
        if packet.qos:
            link.settle(link.owe(packet.packet_id))

    def _take_telemetry(self, packet: packets.Publish, topic: topics.Telemetry, link: Link) -> None:
        if (topic.device, topic.module) != link.key:
            raise ValueError("may not send telemetry as another identity")
        message = self._message(link, topic.properties, packet.payload, packet.retain)
        size = message.size_bytes
        if size > MESSAGE_BYTES:
            raise ValueError(f"a message of {size} bytes, at most {MESSAGE_BYTES} are accepted")
        owed = link.owe(packet.packet_id) if packet.qos else None
        link.telemetry += 1
        link.unkept_bytes += size

        def settled(kept: bool) -> None:
            link.unkept_bytes -= size
            if not kept:
                link.end("its message could not be kept")
            elif owed is not None:
                link.settle(owed)

        self.journal.append(message, settled)

    def _message(self, link: Link, bag: topics.Properties, payload: bytes, retain: bool) -> Message:
        system, properties = sort_properties(bag)
        if retain:
            properties[RETAINED] = "true"
        return Message(link.device, link.module, stamp(self.now()), system, properties, payload)

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
