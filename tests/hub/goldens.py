"""Replays recorded requests of real clients against a running hub, and says what it answers."""

import base64
import hashlib
import hmac
import json
import queue
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

from edgeferry.wire import topics
from tests.hub.clients import MqttClient, Service, key_of

FOLDER = Path(__file__).with_name("golden")
TELLING = ("allow", "content-type", "etag", "iothub-errorcode", "x-ms-continuation", "x-ms-item-type")
"""The response headers that clients look at."""

CLIENTS = {
    "python": {
        "Accept": "application/json",
        "User-Agent": "python/3.11 msrest/0.7.1 iothub-python/2.7.0",
        "x-ms-client-request-id": "5f0c5b0e-0000-11ee-8000-000000000001",
    },
    "node": {"User-Agent": "azure-iothub/1.16.6", "Request-Id": "5f0c5b0e-0000-11ee-8000-000000000002"},
    "az": {
        "Accept": "application/json",
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "python/3.11 msrest/0.7.1 msrest_azure/0.6.4 iotextension/0.25.0",
        "x-ms-client-request-id": "5f0c5b0e-0000-11ee-8000-000000000003",
    },
    "module": {},
}
"""Headers that each client sends with everything; a body's type is added."""

PLACEHOLDERS = {
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "key": r"[A-Za-z0-9+/]{43}=",
    "cursor": r"[0-9A-Za-z_=-]+",
    "digits": r"\d{10,}",
    "tracking": r"[0-9a-f]{32}(-G:0)?-TimeStamp:\d\d/\d\d/\d{4} \d\d:\d\d:\d\d",
}


def load(name: str) -> list[dict]:
    return json.loads((FOLDER / name).read_text())


@dataclass
class Replay:
    """One hub's conversation; `kept` are values of earlier responses by name."""

    service: Service
    kept: dict[str, str] = field(default_factory=dict)
    listeners: list["Listener"] = field(default_factory=list)

    def ask(self, step: dict) -> dict:
        """The response to the step's request: status, telling headers, body."""
        asked = step["request"]
        if "listen" in step:
            self.listeners.append(Listener(self.service, *step["listen"].split("/")))
        client = step["client"]
        headers = {**CLIENTS[client], **asked.get("headers", {})}
        body = self.filled(asked["body"]) if "body" in asked else None
        if body is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        token = self.token(client, step.get("by", "iothubowner"))
        if token:
            headers["Authorization"] = token
        host = self.service.hub.host_name
        request = self.service.http.build_request(
            asked["method"],
            f"https://{host}{asked['path']}",
            content=None if body is None else json.dumps(body).encode(),
            headers=headers,
        )
        for name in ("accept", "user-agent", "accept-encoding"):
            if name not in {header.lower() for header in headers}:
                del request.headers[name]
        response = self.service.http.send(request)
        document = response.json() if response.content else None
        for name, path in step.get("keep", {}).items():
            value = document
            for member in path.split("/"):
                value = value[member]
            self.kept[name] = value
        shown = {name: value for name, value in response.headers.items() if name in TELLING}
        said = {"status": response.status_code, "headers": shown}
        return said if document is None else {**said, "body": document}

    def filled(self, value):
        """The value with what was kept in its placeholders."""
        if isinstance(value, dict):
            return {name: self.filled(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self.filled(member) for member in value]
        if isinstance(value, str):
            for name, kept in self.kept.items():
                value = value.replace(f"<{name}>", kept)
        return value

    def token(self, client: str, who: str) -> str | None:
        """The signature as this client writes it, of a policy or of `device` or `device/module`."""
        if who == "nobody":
            return None
        host, expires_at = self.service.hub.host_name, int(time.time()) + 600
        if who in ("iothubowner", "service", "device", "registryRead", "registryReadWrite"):
            resource, key, policy = host, self.service.policy_key(who), who
        else:
            device, _, module = who.partition("/")
            path = f"/devices/{device}/modules/{module}" if module else f"/devices/{device}"
            resource, policy = host + path, None
            key = key_of(self.service.done("GET", path))
        return _SIGNERS[client](resource, key, expires_at, policy)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


class Listener:
    """A connected device or module that answers each method with its name and payload."""

    def __init__(self, service: Service, device: str, module: str | None = None) -> None:
        path = f"/devices/{device}/modules/{module}" if module else f"/devices/{device}"
        self.client = MqttClient(service.hub, device, module, key_of(service.done("GET", path))).connect()
        self.client.subscribe("$iothub/methods/POST/#")
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._answer)
        self.thread.start()

    def _answer(self) -> None:
        while not self.closing.is_set():
            try:
                topic, payload = self.client.message(timeout=0.2)
            except queue.Empty:
                continue
            call = topics.parse_method(topic)
            body = json.dumps({"method": call.name, "payload": json.loads(payload)}).encode()
            self.client.paho.publish(topics.render_method_response(200, call.rid), body)

    def close(self) -> None:
        self.closing.set()
        self.thread.join()
        self.client.close()


def find_difference(golden, actual, where: str = "") -> str | None:
    """Where the actual value is not the golden one, whose strings may hold placeholders; None if nowhere."""
    if isinstance(golden, dict) and isinstance(actual, dict):
        if golden.keys() != actual.keys():
            return f"{where}: members {sorted(golden.keys() ^ actual.keys())} are on one side only"
        pairs = [(golden[name], actual[name], f"{where}/{name}") for name in golden]
    elif isinstance(golden, list) and isinstance(actual, list) and len(golden) == len(actual):
        pairs = [(one, two, f"{where}/{n}") for n, (one, two) in enumerate(zip(golden, actual, strict=True))]
    elif isinstance(golden, str) and isinstance(actual, str):
        return None if _pattern(golden).fullmatch(actual) else f"{where}: {actual!r} is not {golden!r}"
    else:
        same = type(golden) is type(actual) and golden == actual
        return None if same else f"{where}: {actual!r} is not {golden!r}"
    return next((found for pair in pairs if (found := find_difference(*pair))), None)


def _pattern(golden: str) -> re.Pattern:
    parts = re.split("<(" + "|".join(PLACEHOLDERS) + ")>", golden)
    text = "".join(PLACEHOLDERS[part] if index % 2 else re.escape(part) for index, part in enumerate(parts))
    return re.compile(text, re.DOTALL)


def _signature(signed: str, key: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(key), signed.encode(), hashlib.sha256)).decode()


def _sign_python(resource, key, expires_at, policy):
    encoded = quote_plus(resource)
    signature = quote(_signature(f"{encoded}\n{expires_at}", key))
    text = f"SharedAccessSignature sr={encoded}&sig={signature}&se={expires_at}"
    return f"{text}&skn={policy}" if policy else text


def _sign_node(resource, key, expires_at, policy):
    signature = quote(_signature(f"{resource}\n{expires_at}", key), safe="")
    skn = f"&skn={policy}" if policy else ""
    return f"SharedAccessSignature sr={resource}&sig={signature}{skn}&se={expires_at}"


def _sign_az(resource, key, expires_at, policy):
    signature = _signature(f"{quote_plus(resource)}\n{expires_at}", key)
    parts = {"sr": resource, "sig": signature, "se": str(expires_at), **({"skn": policy} if policy else {})}
    return "SharedAccessSignature " + urlencode(parts)


def _sign_module(resource, key, expires_at, _policy):
    encoded = quote(resource, safe="")
    signature = quote(_signature(f"{encoded}\n{expires_at}", key), safe="")
    return f"SharedAccessSignature sr={encoded}&sig={signature}&se={expires_at}"


_SIGNERS = {"python": _sign_python, "node": _sign_node, "az": _sign_az, "module": _sign_module}
