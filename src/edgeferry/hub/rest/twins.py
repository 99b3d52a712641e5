"""Twins and direct methods over REST, of devices and modules alike."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from edgeferry.hub.core import Core
from edgeferry.hub.methods import Methods
from edgeferry.hub.rest.call import Call, ok
from edgeferry.hub.twins import Twins
from edgeferry.wire.hub import Identity, parse_method_request, render_etag


@dataclass(frozen=True)
class TwinHandlers:
    """Answers about twins; calls of methods."""

    core: Core
    twins: Twins
    methods: Methods

    async def show(self, call: Call) -> Response:
        return self._shown(self.core.identity(call.device, call.module))

    async def patch(self, call: Call) -> Response:
        return self._written(call, whole=False)

    async def replace(self, call: Call) -> Response:
        return self._written(call, whole=True)

    async def invoke(self, call: Call) -> Response:
        self.core.identity(call.device, call.module)
        request = parse_method_request(call.json())
        return ok(await self.methods.call(call.device, call.module, request))

    def _written(self, call: Call, whole: bool) -> Response:
        return self._shown(self.twins.write(call.device, call.module, call.json(), call.if_match, whole))

    def _shown(self, identity: Identity) -> Response:
        return ok(self.twins.show(identity), etag=render_etag(identity.twin.version))
