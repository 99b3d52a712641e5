"""Messages from devices as documents: what our hub answers to `GET /messages/events`.

Names and the rule for bodies follow Azure's routed messages ("IoT Hub message routing query syntax", "Use IoT
Hub message routing to send device-to-cloud messages"): a body stands as JSON when content type and encoding
say JSON in UTF-8, else as base64. Names on the topic are those of "Communicate with your IoT hub using the
MQTT protocol".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgeferry.domain.message import Message, MessagePage
from edgeferry.wire.hub import parse_json, render_json

Json = dict[str, Any]

SYSTEM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "$.mid": "messageId",
        "$.cid": "correlationId",
        "$.uid": "userId",
        "$.to": "to",
        "$.on": "outputName",
        "$.ct": "contentType",
        "$.ce": "contentEncoding",
        "$.exp": "expiryTimeUtc",
        "$.ctime": "creationTimeUtc",
        "$.ifid": "interfaceId",
        "$.sub": "componentName",
        "$.cdid": "connectionDeviceId",
        "$.cmid": "connectionModuleId",
    }
)
"""What a system property on the topic is called everywhere else."""
MESSAGE_TYPE = "iothub-MessageType"
RETAINED = "x-opt-retain"


def sort_properties(bag: Mapping[str, str | None]) -> tuple[dict[str, str], dict[str, str | None]]:
    """(system properties by their long names, application properties) of a topic's bag."""
    system = {SYSTEM_NAMES.get(name, name): text or "" for name, text in bag.items() if name[:2] == "$."}
    return system, {name: text for name, text in bag.items() if name[:2] != "$."}


def render_page(page: MessagePage) -> Json:
    """The page's document."""
    return {"messages": [_render(one) for one in page.messages], "next": page.next, "lost": page.lost}


def parse_page(document: Any) -> MessagePage:
    """The page in the document; ValueError when it is none."""
    try:
        messages = [_parse(one) for one in document["messages"]]
        return MessagePage(messages, str(document["next"]), int(document["lost"]))
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ValueError(f"not a page of messages: {type(error).__name__}: {error}") from error


def _render(message: Message) -> Json:
    document: Json = {
        "sequence": message.sequence,
        "enqueuedTime": message.enqueued_at,
        "deviceId": message.device,
    }
    if message.module is not None:
        document["moduleId"] = message.module
    encoding, body = _render_body(message)
    return {
        **document,
        "systemProperties": dict(message.system),
        "properties": dict(message.properties),
        "encoding": encoding,
        "body": body,
    }


def _render_body(message: Message) -> tuple[str, Any]:
    if message.is_json:
        try:
            return "json", parse_json(message.body)
        except ValueError:
            pass
    return "base64", base64.b64encode(message.body).decode()


def _parse(document: Mapping[str, Any]) -> Message:
    return Message(
        device=document["deviceId"],
        module=document.get("moduleId"),
        enqueued_at=document["enqueuedTime"],
        system=dict(document["systemProperties"]),
        properties=dict(document["properties"]),
        body=_parse_body(document["encoding"], document["body"]),
        sequence=int(document["sequence"]),
    )


def _parse_body(encoding: str, body: Any) -> bytes:
    return render_json(body) if encoding == "json" else base64.b64decode(body, validate=True)
