"""Clients in one event loop, as many as it takes: device MQTT over TLS by asyncio, and the owner's REST."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from edgeferry.wire import mqtt, topics
from edgeferry.wire.sas import render_sas

PACKET_BYTES = 1024 * 1024
FILTERS = (topics.TWIN_RESPONSES, topics.DESIRED_PATCHES, topics.METHODS)


class LostError(Exception):
    """The connection went before the answer came; nobody knows whether the hub took it in."""


class _Connection(asyncio.Protocol):
    """Packets in and out of one TLS connection."""

    def __init__(self, take: Callable[[mqtt.Packet], None], lost: Callable[[], None]) -> None:
        self.take, self.lost, self.buffer = take, lost, bytearray()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (length := mqtt.packet_length(self.buffer, PACKET_BYTES)) and length <= len(self.buffer):
            packet = bytes(self.buffer[:length])
            del self.buffer[:length]
            self.take(mqtt.parse_packet(packet))

    def connection_lost(self, error) -> None:
        self.lost()


@dataclass(eq=False)
class RawClient:
    """One identity; answers every method with 200 and what it was given."""

    place: tuple[str, int]
    host_name: str
    context: ssl.SSLContext
    device: str
    key: str
    module: str | None = None
    source: tuple[str, int] | None = None
    on_desired: Callable[[int, dict], None] = lambda _version, _patch: None
    connack: mqtt.ConnAck | None = None
    _connection: _Connection | None = None
    _waiting: dict[Any, asyncio.Future] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: count(1))

    async def connect(self) -> mqtt.ConnAck:
        """Connected and subscribed to everything; LostError when it does not come to that."""
        loop = asyncio.get_running_loop()
        resource = topics.resource(self.host_name, self.device, self.module)
        password = render_sas(resource, self.key, int(time.time()) + 3600).encode()
        user = topics.username(self.host_name, self.device, self.module)
        name = topics.client_id(self.device, self.module)
        try:
            _, self._connection = await loop.create_connection(
                lambda: _Connection(self._take, self._lost),
                *self.place,
                ssl=self.context,
                server_hostname=self.place[0],
                local_addr=self.source,
            )
        except OSError as error:
            raise LostError from error
        packet = mqtt.Connect(name, user, password, clean_session=False, keep_alive_s=600)
        connack = await self._ask("connack", packet)
        if connack.return_code == mqtt.ACCEPTED and not connack.session_present:
            number = self._number()
            await self._ask(
                ("subscribed", number), mqtt.Subscribe(number, tuple((one, 1) for one in FILTERS))
            )
        self.connack = connack
        return connack

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def stay(self) -> None:
        """Connects, and again whenever the connection is lost, until cancelled."""
        while True:
            try:
                connack = await self.connect()
                if connack.return_code == mqtt.ACCEPTED:
                    await self._wait("gone")
            except LostError:
                pass
            finally:
                self.close()
            await asyncio.sleep(0.05)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.transport.abort()
        self._lost()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Published with QoS 1 and acknowledged."""
        number = self._number()
        await self._ask(("acknowledged", number), mqtt.Publish(topic, payload, 1, number))

    async def report(self, patch: dict) -> int:
        """The version of the reported properties that the hub acknowledges."""
        rid = str(self._number())
        answer = await self._request(topics.render_reported_patch(rid), rid, json.dumps(patch).encode())
        assert answer[0].status == 204, answer
        return answer[0].version

    async def twin(self) -> dict:
        rid = str(self._number())
        _, body = await self._request(topics.render_twin_get(rid), rid, b" ")
        return json.loads(body)

    async def _request(self, topic: str, rid: str, payload: bytes) -> tuple[topics.TwinResponse, bytes]:
        return await self._ask(("twin", rid), mqtt.Publish(topic, payload, 1, self._number()))

    def _number(self) -> int:
        return next(self._numbers) % 65535 + 1

    async def _ask(self, key: Any, packet: mqtt.Packet) -> Any:
        if self._connection is None:
            raise LostError
        self._connection.transport.write(mqtt.render_packet(packet))
        return await self._wait(key)

    async def _wait(self, key: Any) -> Any:
        if self._connection is None:
            raise LostError
        future = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        return await future

    def _lost(self) -> None:
        self._connection = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LostError())

    def _answer(self, key: Any, value: Any) -> None:
        future = self._waiting.pop(key, None)
        if future is not None and not future.done():
            future.set_result(value)

    def _take(self, packet: mqtt.Packet) -> None:
        match packet:
            case mqtt.ConnAck():
                self._answer("connack", packet)
            case mqtt.SubAck():
                self._answer(("subscribed", packet.packet_id), packet)
            case mqtt.PubAck():
                self._answer(("acknowledged", packet.packet_id), packet)
            case mqtt.Publish(topic, payload):
                self._take_publish(topic, payload)

    def _take_publish(self, topic: str, payload: bytes) -> None:
        if topic.startswith("$iothub/twin/res/"):
            response = topics.parse_twin_response(topic)
            self._answer(("twin", response.rid), (response, payload))
        elif topic.startswith("$iothub/methods/POST/"):
            call = topics.parse_method(topic)
            answer = mqtt.Publish(topics.render_method_response(200, call.rid), payload, 0)
            self._connection.transport.write(mqtt.render_packet(answer))
        else:
            version = topics.parse_desired_patch(topic)
            self.on_desired(version, json.loads(payload))


@dataclass
class RawService:
    """The owner's REST; LostError where the hub went before it answered."""

    host_name: str
    policy_key: str
    http: httpx.AsyncClient

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict | None = None,
        params: dict | None = None,
    ) -> httpx.Response:
        """The response, whatever its status."""
        token = render_sas(self.host_name, self.policy_key, int(time.time()) + 600, "iothubowner")
        try:
            return await self.http.request(
                method,
                f"https://{self.host_name}{path}",
                params={"api-version": "2021-04-12", **(params or {})},
                json=body,
                headers={"Authorization": token, **(headers or {})},
            )
        except httpx.HTTPError as error:
            raise LostError from error

    async def done(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The document of a response that is no error."""
        response = await self.ask(method, path, body, **more)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None
