"""Clients that tests speak to a running hub with: service REST by httpx, device MQTT by paho."""

import json
import queue
import ssl
import time
import uuid
from dataclasses import dataclass, field

import httpx
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeferry.wire import topics
from edgeferry.wire.sas import render_sas
from tests.hubs import RunningHub

WAIT_S = 30.0


@dataclass(frozen=True)
class Service:
    """The hub's REST API, as one policy or another credential sees it."""

    hub: RunningHub
    http: httpx.Client

    def policy_key(self, policy: str = "iothubowner") -> str:
        return json.loads((self.hub.state / "connection.json").read_text())["policies"][policy]

    def token(self, policy: str = "iothubowner") -> str:
        return render_sas(self.hub.host_name, self.policy_key(policy), int(time.time()) + 600, policy)

    def ask(self, method, path, body=None, token=None, headers=(), version="2021-04-12"):
        """The response, whatever its status."""
        return self.http.request(
            method,
            f"https://{self.hub.host_name}{path}",
            json=body,
            params={"api-version": version} if version else {},
            headers={"Authorization": self.token() if token is None else token, **dict(headers)},
        )

    def done(self, method, path, body=None, **more):
        """The document of a response that is no error."""
        response = self.ask(method, path, body, **more)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def new_device(self, edge: bool = True, tags=None) -> dict:
        """A device with an id of its own."""
        name = f"d-{uuid.uuid4().hex[:8]}"
        device = self.done("PUT", f"/devices/{name}", {"deviceId": name, "capabilities": {"iotEdge": edge}})
        if tags:
            self.done("PATCH", f"/twins/{name}", {"tags": tags})
        return device

    def new_module(self, device: str, module: str = "m") -> dict:
        return self.done("PUT", f"/devices/{device}/modules/{module}", {})

    def desired(self, device: str, module: str) -> dict:
        return self.done("GET", f"/twins/{device}/modules/{module}")["properties"]["desired"]

    def deploy(self, name, condition, modules, priority=0):
        body = {
            "id": name,
            "targetCondition": condition,
            "priority": priority,
            "content": {"modulesContent": modules},
        }
        return self.done("PUT", f"/configurations/{name}", body)


def key_of(identity: dict) -> str:
    return identity["authentication"]["symmetricKey"]["primaryKey"]


@dataclass
class MqttClient:
    """One identity's MQTT connection."""

    hub: RunningHub
    device: str
    module: str | None
    key: str
    clean: bool = False
    expires_at: int = 0
    user: str | None = None
    token: str | None = None
    keep_alive_s: int = 60
    messages: queue.Queue = field(default_factory=queue.Queue)
    events: queue.Queue = field(default_factory=queue.Queue)
    connack: tuple[int, bool] | None = None

    def __post_init__(self) -> None:
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=topics.client_id(self.device, self.module),
            protocol=paho.MQTTv311,
            clean_session=self.clean,
        )
        host = self.hub.host_name
        expires_at = self.expires_at or int(time.time()) + 3600
        self.paho.username_pw_set(
            self.user or topics.username(host, self.device, self.module),
            self.token or render_sas(topics.resource(host, self.device, self.module), self.key, expires_at),
        )
        self.paho.tls_set_context(ssl.create_default_context(cafile=str(self.hub.ca_file)))
        self.paho.on_message = lambda _c, _u, message: self.messages.put((message.topic, message.payload))
        self.paho.on_connect = lambda _c, _u, flags, code, _p: self.events.put(
            ("connect", code.value, flags.session_present)
        )
        self.paho.on_disconnect = lambda _c, _u, _f, code, _p: self.events.put(("disconnect", code.value))
        self.paho.on_subscribe = lambda _c, _u, mid, codes, _p: self.events.put(
            ("subscribe", mid, [code.value for code in codes])
        )
        self.paho.on_publish = lambda _c, _u, mid, _r, _p: self.events.put(("publish", mid))

    def __enter__(self) -> "MqttClient":
        return self.connect()

    def __exit__(self, *_) -> None:
        self.close()

    def connect(self) -> "MqttClient":
        """Connected, or refused: see `connack` = (code, session present)."""
        self.paho.connect(self.hub.address, self.hub.mqtt_port, keepalive=self.keep_alive_s)
        self.paho.loop_start()
        _, code, session = self.wait_for("connect")
        self.connack = (code, session)
        return self

    def close(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def wait_for(self, kind: str) -> tuple:
        """The next event of that kind."""
        deadline = time.monotonic() + WAIT_S
        while True:
            event = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            if event[0] == kind:
                return event

    def subscribe(self, *filters: str) -> list[int]:
        self.paho.subscribe([(one, 1) for one in filters])
        return self.wait_for("subscribe")[2]

    def publish(self, topic: str, payload: bytes = b"") -> None:
        """Published with QoS 1 and acknowledged."""
        mid = self.paho.publish(topic, payload, qos=1).mid
        while self.wait_for("publish")[1] != mid:
            pass

    def message(self, timeout: float = WAIT_S) -> tuple[str, bytes]:
        return self.messages.get(timeout=timeout)

    def twin(self) -> dict:
        self.publish(topics.render_twin_get("1"), b" ")
        topic, body = self.message()
        assert topics.parse_twin_response(topic) == topics.TwinResponse(200, "1")
        return json.loads(body)

    def report(self, patch) -> topics.TwinResponse:
        body = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
        self.publish(topics.render_reported_patch("2"), body)
        return topics.parse_twin_response(self.message()[0])
