"""One identity's connection to its hub in an event loop that it shares with thousands: MQTT over TLS.

What `device.link` is to one device with threads of its own, on `wire.mqtt` instead of a client library.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from edgeferry.domain.twin import merge
from edgeferry.errors import HubError
from edgeferry.wire import mqtt, topics
from edgeferry.wire.sas import render_sas

Json = dict[str, Any]

PACKET_BYTES = 1024 * 1024
FILTERS = (topics.TWIN_RESPONSES, topics.DESIRED_PATCHES, topics.METHODS)
TOKEN_S = 24 * 3600
KEEP_ALIVE_S = 600
ANSWER_S = 60.0
"""How long the hub may take to answer, when thousands ask it at once."""


@dataclass(frozen=True)
class HubPlace:
    """Where the hub is."""

    host_name: str
    """As it stands in connection strings, with a port where it is not 443."""
    address: str
    port: int
    context: ssl.SSLContext


class Session:
    """The connection of `device`, or of its `module`. `on_desired` is told the whole desired section and its
    version when it changed, `on_method` answers methods, `on_lost` is told when the connection ended."""

    def __init__(
        self,
        place: HubPlace,
        device: str,
        module: str,
        key: str,
        *,
        on_desired: Callable[[Json, int], None],
        on_method: Callable[[str, Any], tuple[int, Any]],
        on_lost: Callable[[], None],
    ) -> None:
        self._place = place
        self._device = device
        self._module = module
        self._key = key
        self._on_desired = on_desired
        self._on_method = on_method
        self._on_lost = on_lost
        self._line: _Line | None = None
        self._waiting: dict[Any, asyncio.Future[Any]] = {}
        self._numbers = count(1)
        self._desired: Json | None = None
        self._version = 0
        self._pulse: asyncio.TimerHandle | None = None
        self.reported: Json = {}
        """The reported section as the hub holds it."""

    @property
    def connected(self) -> bool:
        """Whether the connection is there."""
        return self._line is not None

    async def connect(self) -> None:
        """The hub has accepted the connection and sent the twin; HubError when it does not come to that."""
        place, loop = self._place, asyncio.get_running_loop()
        resource = topics.resource(place.host_name, self._device, self._module)
        user = topics.username(place.host_name, self._device, self._module)
        password = render_sas(resource, self._key, int(time.time()) + TOKEN_S).encode()
        client = topics.client_id(self._device, self._module)
        try:
            async with asyncio.timeout(ANSWER_S):
                _, self._line = await loop.create_connection(
                    lambda: _Line(self._take, self._lose),
                    place.address,
                    place.port,
                    ssl=place.context,
                    server_hostname=place.address,
                )
                packet = mqtt.Connect(client, user, password, clean_session=False, keep_alive_s=KEEP_ALIVE_S)
                connack = await self._ask("connack", packet)
                if connack.return_code != mqtt.ACCEPTED:
                    raise _lost(f"it refused the connection of {client} with code {connack.return_code}")
                number = self._number()
                filters = tuple((one, 1) for one in FILTERS)
                await self._ask(("subscribed", number), mqtt.Subscribe(number, filters))
                await self._fetch_twin()
        except (OSError, TimeoutError) as error:
            self.close()
            raise _lost(f"it does not answer {client}: {error}") from error
        except HubError:
            self.close()
            raise
        self._beat()

    async def report(self, patch: Mapping[str, Any]) -> None:
        """The hub holds this patch of the reported properties; HubError when it does not say so."""
        rid = f"r{self._number()}"
        topic = topics.render_reported_patch(rid)
        packet = mqtt.Publish(topic, json.dumps(patch).encode(), 1, self._number())
        try:
            async with asyncio.timeout(ANSWER_S):
                response, _ = await self._ask(("twin", rid), packet)
        except TimeoutError as error:
            raise _lost("it did not confirm a report in time") from error
        if response.status >= 300:
            raise HubError(
                f"the hub refused a report of {self._device} with status {response.status}",
                fix="look at the hub's log",
                retryable=response.status == 429 or response.status >= 500,
                status=response.status,
            )
        self.reported = merge(self.reported, patch)

    def close(self) -> None:
        """The connection is gone, without a goodbye."""
        line = self._line
        if line is not None and line.transport is not None:
            line.transport.abort()
        self._lose()

    async def _fetch_twin(self) -> None:
        rid = f"t{self._number()}"
        packet = mqtt.Publish(topics.render_twin_get(rid), b" ", 1, self._number())
        response, body = await self._ask(("twin", rid), packet)
        if response.status != 200:
            raise _lost(f"it did not send the twin of {self._device}: status {response.status}")
        twin = json.loads(body)
        self.reported = merge({}, twin.get("reported", {}))
        self._take_desired(twin["desired"], int(twin["desired"]["$version"]))

    def _take_desired(self, desired: Mapping[str, Any], version: int) -> None:
        if version < self._version:
            return
        known, self._desired, self._version = self._desired, merge({}, desired), version
        if known != self._desired:
            self._on_desired(self._desired, version)

    def _take_patch(self, version: int, patch: Mapping[str, Any]) -> None:
        if self._desired is not None and version <= self._version:
            return
        if self._desired is not None and version == self._version + 1:
            self._take_desired(merge(self._desired, patch), version)
            return
        # the twin that was asked for may be older than this patch
        asking = asyncio.get_running_loop().create_task(self._fetch_twin())
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _number(self) -> int:
        return next(self._numbers) % 65535 + 1

    async def _ask(self, key: Any, packet: mqtt.Packet) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            self._send(packet)
            return await future
        finally:
            self._waiting.pop(key, None)

    def _send(self, packet: mqtt.Packet) -> None:
        if self._line is None or self._line.transport is None:
            raise _lost("the connection is gone")
        self._line.transport.write(mqtt.render_packet(packet))

    def _beat(self) -> None:
        if self._line is not None:
            self._send(mqtt.PingReq())
            self._pulse = asyncio.get_running_loop().call_later(KEEP_ALIVE_S / 2, self._beat)

    def _lose(self) -> None:
        if self._line is None:
            return
        self._line = None
        if self._pulse is not None:
            self._pulse.cancel()
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(_lost("the connection is gone"))
        self._on_lost()

    def _answer(self, key: Any, value: Any) -> None:
        future = self._waiting.get(key)
        if future is not None and not future.done():
            future.set_result(value)

    def _take(self, packet: mqtt.Packet) -> None:
        match packet:
            case mqtt.ConnAck():
                self._answer("connack", packet)
            case mqtt.SubAck():
                self._answer(("subscribed", packet.packet_id), packet)
            case mqtt.Publish(topic, payload, qos, number):
                if qos:
                    self._send(mqtt.PubAck(number))
                self._take_publish(topic, payload)

    def _take_publish(self, topic: str, payload: bytes) -> None:
        if topic.startswith(topics.TWIN_RESPONSES[:-1]):
            response = topics.parse_twin_response(topic)
            self._answer(("twin", response.rid), (response, payload))
        elif topic.startswith(topics.METHODS[:-1]):
            call = topics.parse_method(topic)
            status, said = self._on_method(call.name, json.loads(payload or b"null"))
            answer = topics.render_method_response(status, call.rid)
            self._send(mqtt.Publish(answer, json.dumps(said).encode()))
        elif topic.startswith(topics.DESIRED_PATCHES[:-1]):
            self._take_patch(topics.parse_desired_patch(topic), json.loads(payload))


class _Line(asyncio.Protocol):
    """Packets in and out of one TLS connection."""

    def __init__(self, take: Callable[[mqtt.Packet], None], lost: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._take = take
        self._lost = lost
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (length := mqtt.packet_length(self._buffer, PACKET_BYTES)) and length <= len(self._buffer):
            packet = bytes(self._buffer[:length])
            del self._buffer[:length]
            self._take(mqtt.parse_packet(packet))

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()


def _lost(why: str) -> HubError:
    return HubError(f"no connection to the hub: {why}", fix="it is tried again", retryable=True)
