"""MQTT names and topics between a hub and its devices and modules.

Follows Microsoft's "Communicate with IoT Hub using the MQTT protocol" (MQTT 3.1.1, api-version 2021-04-12)
as azure-iot-device 2.14 and azure-iot-device for Node 1.18 really speak it. Each topic has its renderer and
its parser side by side; `parse_` functions raise ValueError for a topic that is not theirs. A `rid` is
echoed as it came, never decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

API_VERSION = "2021-04-12"

TWIN_RESPONSES = "$iothub/twin/res/#"
DESIRED_PATCHES = "$iothub/twin/PATCH/properties/desired/#"
METHODS = "$iothub/methods/POST/#"

_TWIN_GET = "$iothub/twin/GET/"
_REPORTED = "$iothub/twin/PATCH/properties/reported/"
_DESIRED = "$iothub/twin/PATCH/properties/desired/"
_TWIN_RESPONSE = "$iothub/twin/res/"
_METHOD = "$iothub/methods/POST/"
_METHOD_RESPONSE = "$iothub/methods/res/"


Properties = Mapping[str, str | None]
"""What a topic's bag holds; a name without `=` has no value."""


# --- who connects


@dataclass(frozen=True)
class Username:
    """The MQTT user name's parts."""

    host_name: str
    device: str
    module: str | None
    api_version: str


def client_id(device: str, module: str | None = None) -> str:
    """The MQTT client id: `device` or `device/module`, ids as they are."""
    return f"{device}/{module}" if module else device


def parse_client_id(text: str) -> tuple[str, str | None]:
    """(device, module or None) of a client id."""
    device, slash, module = text.partition("/")
    if not device or (slash and not module) or "/" in module:
        raise ValueError(f"client id {text!r} is neither device nor device/module")
    return device, module or None


def username(host_name: str, device: str, module: str | None = None) -> str:
    """The MQTT user name; `host_name` is the hub's identity, with its port if it has one."""
    return f"{host_name}/{client_id(device, module)}/?api-version={API_VERSION}"


def parse_username(text: str) -> Username:
    """The parts of a user name, with or without `?` before `api-version`."""
    head, separator, query = text.partition("/?")
    if not separator:
        head, separator, query = text.partition("/api-version=")
        query = f"api-version={query}"
    fields = dict(part.partition("=")[::2] for part in query.split("&"))
    host_name, slash, client = head.partition("/")
    if not separator or not slash or not host_name or not fields.get("api-version"):
        raise ValueError("user name is not {hub}/{device}[/{module}]/?api-version=…")
    device, module = parse_client_id(client)
    return Username(host_name, device, module, fields["api-version"])


def resource(host_name: str, device: str, module: str | None = None) -> str:
    """The audience that a device's or module's shared access signature names, not yet encoded."""
    path = f"{host_name}/devices/{device}"
    return f"{path}/modules/{module}" if module else path


# --- twins


@dataclass(frozen=True)
class TwinResponse:
    """The hub's answer to a twin request; `version` is the new reported version after a patch."""

    status: int
    rid: str
    version: int | None = None


def render_twin_get(rid: str) -> str:
    """Where a client asks for its twin."""
    return f"{_TWIN_GET}?$rid={rid}"


def render_reported_patch(rid: str) -> str:
    """Where a client sends a patch of its reported properties."""
    return f"{_REPORTED}?$rid={rid}"


def render_twin_response(status: int, rid: str, version: int | None = None) -> str:
    """Where the hub answers a twin request."""
    text = f"{_TWIN_RESPONSE}{status}/?$rid={rid}"
    return text if version is None else f"{text}&$version={version}"


def parse_twin_response(topic: str) -> TwinResponse:
    """The answer's status, request id and version."""
    status, fields = _status_and_fields(topic, _TWIN_RESPONSE)
    version = _whole(fields["$version"], topic) if "$version" in fields else None
    return TwinResponse(status, _rid(fields, topic), version)


def render_desired_patch(version: int) -> str:
    """Where the hub tells a client of new desired properties."""
    return f"{_DESIRED}?$version={version}"


def parse_desired_patch(topic: str) -> int:
    """The version that the desired properties have after this patch."""
    fields = _fields(_after(topic, _DESIRED))
    return _whole(fields.get("$version", ""), topic)


# --- direct methods


@dataclass(frozen=True)
class MethodCall:
    """A direct method asked of a client."""

    name: str
    rid: str


def render_method(name: str, rid: str) -> str:
    """Where the hub calls a client's method; the name is percent-encoded."""
    return f"{_METHOD}{quote(name, safe='')}/?$rid={rid}"


def parse_method(topic: str) -> MethodCall:
    """The method's name, decoded, and the request id to answer with."""
    name, slash, query = _after(topic, _METHOD).partition("/")
    if not name or not slash:
        raise ValueError(f"topic {topic!r} names no method")
    return MethodCall(unquote(name), _rid(_fields(query), topic))


def render_method_response(status: int, rid: str) -> str:
    """Where a client answers a method."""
    return f"{_METHOD_RESPONSE}{status}/?$rid={rid}"


# --- what clients publish


@dataclass(frozen=True)
class TwinGet:
    """A client asks for its twin."""

    rid: str


@dataclass(frozen=True)
class ReportedPatch:
    """A client sends a patch of its reported properties."""

    rid: str


@dataclass(frozen=True)
class MethodResponse:
    """A client's answer to a method; the status is the client's own."""

    status: int
    rid: str


@dataclass(frozen=True)
class Telemetry:
    """A message from a device or module; system properties have names that begin with `$.`."""

    device: str
    module: str | None
    properties: Properties


def render_telemetry(device: str, module: str | None, properties: Mapping[str, str]) -> str:
    """Where a client publishes a message with these properties."""
    bag = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in properties.items())
    path = f"devices/{device}/modules/{module}" if module else f"devices/{device}"
    return f"{path}/messages/events/{bag}"


def parse_publish(topic: str) -> TwinGet | ReportedPatch | MethodResponse | Telemetry:
    """What a client means by publishing to `topic`; ValueError for a topic clients may not publish to."""
    if topic.startswith(_TWIN_GET):
        return TwinGet(_rid(_fields(topic[len(_TWIN_GET) :]), topic))
    if topic.startswith(_REPORTED):
        return ReportedPatch(_rid(_fields(topic[len(_REPORTED) :]), topic))
    if topic.startswith(_METHOD_RESPONSE):
        status, fields = _status_and_fields(topic, _METHOD_RESPONSE)
        return MethodResponse(status, _rid(fields, topic))
    return _parse_telemetry(topic)


def _parse_telemetry(topic: str) -> Telemetry:
    parts = topic.split("/")
    module: str | None = None
    if len(parts) >= 6 and parts[0] == "devices" and parts[2] == "modules":
        module, rest = parts[3], parts[4:]
    elif len(parts) >= 4 and parts[0] == "devices":
        rest = parts[2:]
    else:
        rest = []
    if rest[:2] != ["messages", "events"] or not parts[1] or module == "":
        raise ValueError(f"clients may not publish to {topic!r}")
    bag = "/".join(rest[2:]).removesuffix("/")
    properties: dict[str, str | None] = {}
    for part in bag.removeprefix("?").split("&") if bag else ():
        name, equals, value = part.partition("=")
        properties[unquote(name)] = unquote(value) if equals else None
    return Telemetry(parts[1], module, properties)


# --- what clients may subscribe to


def allowed_filters(device: str, module: str | None = None) -> frozenset[str]:
    """Every topic filter that this identity may subscribe to; all others are refused."""
    own = (
        f"devices/{device}/modules/{module}/inputs/#"
        if module
        else f"devices/{device}/messages/devicebound/#"
    )
    return frozenset((TWIN_RESPONSES, DESIRED_PATCHES, METHODS, own))


def _after(topic: str, prefix: str) -> str:
    if not topic.startswith(prefix):
        raise ValueError(f"topic {topic!r} does not begin with {prefix}")
    return topic[len(prefix) :]


def _status_and_fields(topic: str, prefix: str) -> tuple[int, Mapping[str, str]]:
    status, slash, query = _after(topic, prefix).partition("/")
    if not slash:
        raise ValueError(f"topic {topic!r} has no request id")
    return _whole(status, topic), _fields(query)


def _fields(query: str) -> Mapping[str, str]:
    return dict(part.partition("=")[::2] for part in query.removeprefix("?").split("&"))


def _rid(fields: Mapping[str, str], topic: str) -> str:
    if not fields.get("$rid"):
        raise ValueError(f"topic {topic!r} has no $rid")
    return fields["$rid"]


def _whole(text: str, topic: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"topic {topic!r} has {text!r} where a whole number must stand")
    return int(text)
