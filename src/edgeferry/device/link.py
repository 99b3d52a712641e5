"""A device's or module's link to its hub: MQTT over TLS, with Azure's topics, in a thread of its own.

It connects again by itself with a jittered back-off and a fresh signature, subscribes and asks for its twin
after every connect, and never goes back to an older desired version. Callbacks run in the link's threads:
they must be quick, except methods, which have a thread of their own.
"""

from __future__ import annotations

import json
import logging
import queue
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeferry.domain.twin import merge
from edgeferry.errors import EdgeferryError, HubError
from edgeferry.wire import topics
from edgeferry.wire.connection import ConnectionString
from edgeferry.wire.sas import render_sas

Json = dict[str, Any]

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
STEADY_S = 10.0
"""A connection that ended sooner counts as a failure: another under the same identity may have ended it."""
SHORT_ONES = 5
ANSWER_S = 10.0
"""How long the hub may take to accept a connection or answer a twin request."""
TOKEN_S = 3600
RENEW_S = 3000
"""A connection is renewed this long after its signature was made."""
MQTT_PORT = 8883
CONNECTION_VARIABLE = "EdgeHubConnectionString"
CA_VARIABLE = "EdgeModuleCACertificateFile"
"""The two variables that tell a module its hub: those of IoT Edge's simulator."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handlers:
    """What the link calls."""

    on_desired: Callable[[Json, int], None]
    """With the whole desired section and its version, when it changed."""
    on_reported: Callable[[Json], None]
    """With the reported section as the hub holds it, after every connect."""
    on_connected: Callable[[], None]
    """Once reports can be sent."""
    on_method: Callable[[str, Any], tuple[int, Any]]
    """With a method's name and payload, for (status, answer)."""


@dataclass
class _Waiting:
    """A twin request under way."""

    done: threading.Event = field(default_factory=threading.Event)
    status: int = 0


def sign_with_key(connection: ConnectionString, resource: str, expires_at: int) -> str:
    """The signature made with the key in the credential."""
    return render_sas(resource, connection.key, expires_at)


class Link:
    """The link; `connect_as(refused)` gives the credential before each attempt, `refused` telling that the
    hub did not accept the last one. `sign` gives the signature for a resource until a time (Unix seconds),
    where the key is not in the credential."""

    def __init__(
        self,
        connect_as: Callable[[bool], ConnectionString],
        ca_file: Path | None,
        handlers: Handlers,
        *,
        seen_version: int = 0,
        sign: Callable[[ConnectionString, str, int], str] = sign_with_key,
    ) -> None:
        self._connect_as = connect_as
        self._sign = sign
        self._ca_file = ca_file
        self._handlers = handlers
        self._version = seen_version
        self._desired: Json | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._rid = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._ended = threading.Event()
        self._refused = False
        self._came_up = False
        self._client: Client | None = None
        self._calls: queue.Queue[tuple[Client, topics.MethodCall, bytes] | None] = queue.Queue(100)
        self._threads = (
            threading.Thread(target=self._stay_connected, name="hub-link", daemon=True),
            threading.Thread(target=self._answer_methods, name="hub-methods", daemon=True),
        )

    @property
    def connected(self) -> bool:
        """Whether the hub has accepted the link and sent the twin."""
        return self._connected.is_set()

    def start(self) -> None:
        """The link begins to connect."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """The link is closed and its threads have ended; methods under way are answered before."""
        connection, methods = self._threads
        self._stopping.set()
        self._calls.put(None)
        methods.join(timeout=ANSWER_S)
        self._ended.set()
        connection.join(timeout=ANSWER_S)

    def report(self, patch: Mapping[str, Any]) -> None:
        """The hub holds this patch of the reported properties; HubError when it does not say so in time."""
        client = self._client
        if client is None or not self.connected:
            raise HubError("no connection to the hub", fix="it is tried again", retryable=True)
        rid, waiting = self._new_request()
        client.publish(topics.render_reported_patch(rid), json.dumps(patch), qos=1)
        answered = waiting.done.wait(ANSWER_S)
        with self._lock:
            self._waiting.pop(rid, None)
        if not answered or waiting.status == 0:
            raise HubError("the hub did not confirm a report", fix="it is tried again", retryable=True)
        if waiting.status >= 300:
            raise HubError(
                f"the hub refused a report with status {waiting.status}",
                fix="look at the hub's log; reports are limited to 32 KiB",
                retryable=waiting.status == 429 or waiting.status >= 500,
                status=waiting.status,
            )

    # the connection

    def _stay_connected(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                came_up = self._connect_once()
            except (EdgeferryError, OSError, ValueError) as error:
                _log.warning("hub connection failed: %s", str(error))
                came_up = False
            self._close_requests()
            lasted = came_up and time.monotonic() - began >= STEADY_S
            failures = 0 if lasted else failures + 1
            if came_up and failures == SHORT_ONES:
                _log.warning(
                    "the hub ended %d connections within seconds: does another agent use this identity?",
                    failures,
                )
            longest = min(FIRST_WAIT_S * float(2 ** min(failures, 10)), LONGEST_WAIT_S)
            if not self._stopping.is_set():
                self._stopping.wait(random.uniform(FIRST_WAIT_S / 2, longest))

    def _connect_once(self) -> bool:
        """Whether the connection came up; returns once it has ended."""
        cs = self._connect_as(self._refused)
        host, port = place(cs)
        client = self._make_client(cs)
        self._refused = self._came_up = False
        self._ended.clear()
        if self._stopping.is_set():
            return False
        client.connect(host, port, keepalive=60)
        self._client = client
        client.loop_start()
        try:
            ended = self._ended.wait(ANSWER_S)
            if not ended and self._came_up:
                self._ended.wait(RENEW_S)
        finally:
            self._connected.clear()
            self._client = None
            client.disconnect()
            client.loop_stop()
        _log.info("hub connection ended host=%s port=%d", host, port)
        return self._came_up

    def _make_client(self, cs: ConnectionString) -> Client:
        device, module = cs.device_id or "", cs.module_id
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=topics.client_id(device, module),
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=False,
            reconnect_on_failure=False,
        )
        audience = topics.resource(cs.host_name, device, module)
        client.username_pw_set(
            topics.username(cs.host_name, device, module),
            self._sign(cs, audience, int(time.time()) + TOKEN_S),
        )
        context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        client.tls_set_context(context)
        client.connect_timeout = ANSWER_S
        client.suppress_exceptions = True  # a callback's bug is logged and must not end the link
        client.enable_logger(_log)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused = True
            _log.warning("hub refused the connection: %s", code)
            self._ended.set()
            return
        filters = (topics.TWIN_RESPONSES, topics.DESIRED_PATCHES, topics.METHODS)
        client.subscribe([(topic, 1) for topic in filters])
        self._ask_for_twin(client)

    def _on_disconnect(
        self, client: Client, _: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._connected.clear()
        self._ended.set()

    def _ask_for_twin(self, client: Client) -> None:
        client.publish(topics.render_twin_get(f"twin-{time.monotonic_ns()}"), b" ", qos=1)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        try:
            self._take(client, message.topic, bytes(message.payload))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("hub message not understood topic=%s: %r", message.topic, error)

    def _take(self, client: Client, topic: str, payload: bytes) -> None:
        if topic.startswith(topics.TWIN_RESPONSES[:-1]):
            self._take_response(client, topics.parse_twin_response(topic), payload)
        elif topic.startswith(topics.DESIRED_PATCHES[:-1]):
            self._take_patch(client, topics.parse_desired_patch(topic), json.loads(payload))
        elif topic.startswith(topics.METHODS[:-1]):
            call = topics.parse_method(topic)
            try:
                self._calls.put_nowait((client, call, payload))
            except queue.Full:
                client.publish(topics.render_method_response(429, call.rid), b"null", qos=1)

    def _take_response(self, client: Client, response: topics.TwinResponse, payload: bytes) -> None:
        if response.rid.startswith("twin-"):
            if response.status != 200:
                _log.warning("hub did not send the twin: status %d", response.status)
                client.disconnect()
                return
            twin = json.loads(payload)
            self._handlers.on_reported(merge({}, twin.get("reported", {})))
            self._take_desired(twin["desired"], int(twin["desired"]["$version"]))
            if not self._connected.is_set():
                _log.info("hub connected desired version=%d", self._version)
                self._came_up = True
                self._connected.set()
                self._handlers.on_connected()
            return
        with self._lock:
            waiting = self._waiting.get(response.rid)
        if waiting is not None:
            waiting.status = response.status
            waiting.done.set()

    def _take_patch(self, client: Client, version: int, patch: Mapping[str, Any]) -> None:
        if version <= self._version and self._desired is not None:
            return
        if self._desired is None or version != self._version + 1:
            self._ask_for_twin(client)
            return
        self._take_desired(merge(self._desired, patch), version)

    def _take_desired(self, desired: Mapping[str, Any], version: int) -> None:
        if version < self._version:
            _log.warning("hub sent an older desired version=%d, already seen=%d", version, self._version)
            return
        known, self._desired, self._version = self._desired, merge({}, desired), version
        if known != self._desired:
            self._handlers.on_desired(self._desired, version)

    # requests and methods

    def _new_request(self) -> tuple[str, _Waiting]:
        waiting = _Waiting()
        with self._lock:
            self._rid += 1
            rid = f"report-{self._rid}"
            self._waiting[rid] = waiting
        return rid, waiting

    def _close_requests(self) -> None:
        with self._lock:
            for waiting in self._waiting.values():
                waiting.done.set()

    def _answer_methods(self) -> None:
        while (call := self._calls.get()) is not None:
            client, method, payload = call
            status, answer = self._call(method.name, payload)
            if client is self._client:
                body = json.dumps(answer).encode()
                client.publish(topics.render_method_response(status, method.rid), body, qos=1)

    def _call(self, name: str, payload: bytes) -> tuple[int, Any]:
        try:
            status, answer = self._handlers.on_method(name, json.loads(payload or b"null"))
        except EdgeferryError as error:
            status, answer = 500, {"message": str(error)}
        except (ValueError, TypeError, KeyError) as error:
            status, answer = 400, {"message": f"the payload cannot be read: {error}"}
        except Exception as error:  # noqa: BLE001 - the thread that answers methods must outlive any of them
            _log.exception("method name=%s", name)
            status, answer = 500, {"message": repr(error)}
        _log.info("method name=%s status=%d", name, status)
        return status, answer


def place(cs: ConnectionString) -> tuple[str, int]:
    """Host and port to speak MQTT to: the gateway's where one is named, else the hub's; 8883 unless the
    gateway names another."""
    if cs.gateway_host_name:
        host, colon, port = cs.gateway_host_name.rpartition(":")
        return (host, int(port)) if colon and port.isdigit() else (cs.gateway_host_name, MQTT_PORT)
    return cs.host_name.partition(":")[0], MQTT_PORT
