"""Devices and modules over REST: one by one, in bulk, their keys."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from starlette.responses import Response

from edgeferry.hub.bulk import Bulk
from edgeferry.hub.core import Core
from edgeferry.hub.registry import Registry
from edgeferry.hub.rest.call import Call, done, ok
from edgeferry.wire.hub import Identity, render_etag

MAX_LISTED = 1000


@dataclass(frozen=True)
class IdentityHandlers:
    """Answers about identities."""

    core: Core
    registry: Registry
    bulk: Bulk

    async def list_devices(self, call: Call) -> Response:
        devices = islice(self.core.store.devices(), call.top(MAX_LISTED))
        return ok([self.registry.show(device) for device in devices])

    async def list_modules(self, call: Call) -> Response:
        self.core.identity(call.device)
        return ok([self.registry.show(module) for module in self.core.store.modules(call.device)])

    async def show(self, call: Call) -> Response:
        return self._shown(self.core.identity(call.device, call.module))

    async def put_device(self, call: Call) -> Response:
        return self._shown(self.registry.put_device(call.device, call.json(), call.if_match))

    async def put_module(self, call: Call) -> Response:
        module = self.registry.put_module(call.device, call.path("module"), call.json(), call.if_match)
        return self._shown(module)

    async def delete(self, call: Call) -> Response:
        self.registry.delete(call.device, call.module, call.if_match)
        return done()

    async def change_many(self, call: Call) -> Response:
        result = self.bulk.change(call.json_list())
        return ok(result, status=200 if result["isSuccessful"] else 400)

    async def regenerate_keys(self, call: Call) -> Response:
        return ok(self.bulk.regenerate_keys(call.json()))

    async def purge_commands(self, call: Call) -> Response:
        """Cloud-to-device messages are not here, so there is none to purge."""
        self.core.identity(call.device)
        return ok({"totalMessagesPurged": 0, "deviceId": call.device, "moduleId": None})

    def _shown(self, identity: Identity) -> Response:
        return ok(self.registry.show(identity), etag=render_etag(identity.etag))
