"""Direct methods: asked over REST, answered by a connected client, one future per call in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from edgeferry.hub.links import Links
from edgeferry.wire.hub import MethodRequest, RefusalError, parse_json, render_json

PAYLOAD_BYTES = 128 * 1024


@dataclass(frozen=True)
class Methods:
    """Calls methods over the live links."""

    links: Links

    async def call(self, device: str, module: str | None, request: MethodRequest) -> dict[str, Any]:
        """`{"status", "payload"}` as the client answered. RefusalError DeviceNotOnline when it does not
        listen within the connect timeout, DeviceConnectionClosedRemotely when it left while asked,
        GatewayTimeout when it did not answer in time."""
        payload = render_json(request.payload)
        if len(payload) > PAYLOAD_BYTES:
            raise RefusalError(
                "MessageTooLarge",
                f"the payload has {len(payload)} bytes",
                fix=f"send at most {PAYLOAD_BYTES}",
            )
        name = f"{device}/{module}" if module else device
        link = await self.links.wait_for_methods(device, module, request.connect_timeout_s)
        if link is None:
            raise RefusalError(
                "DeviceNotOnline",
                f"{name} is not connected, or does not listen for methods",
                fix="start it, or raise connectTimeoutInSeconds",
            )
        try:
            async with asyncio.timeout(request.response_timeout_s):
                answer = await link.ask(request.name, payload)
        except TimeoutError:
            raise RefusalError(
                "GatewayTimeout",
                f"{name} did not answer {request.name!r} within {request.response_timeout_s} s",
                fix="raise responseTimeoutInSeconds, or see the module's log",
            ) from None
        if answer is None:
            raise RefusalError(
                "DeviceConnectionClosedRemotely",
                f"{name} disconnected before it answered {request.name!r}",
                fix="ask again when it is back",
            )
        return {"status": answer.status, "payload": _parse_payload(answer.body)}


def _parse_payload(body: bytes) -> Any:
    """The answer's JSON; null for an empty body, the text itself when it is not JSON."""
    if not body.strip():
        return None
    try:
        return parse_json(body)
    except ValueError:
        return body.decode("utf-8", "replace")
