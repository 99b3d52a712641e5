"""The door for services: IoT Hub's service REST over TLS, as Azure's SDKs and CLI call it.

Who asks is settled first (401), then whether the request can be understood (400). Success codes are the
ones Microsoft's Python SDK insists on. A device's own credential reaches its own identity and modules.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from edgeferry.hub.access import REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT, Access, Caller
from edgeferry.hub.assigner import Assigner
from edgeferry.hub.configurations import Configurations
from edgeferry.hub.core import Core
from edgeferry.hub.methods import Methods
from edgeferry.hub.queries import Cursor, Queries
from edgeferry.hub.rates import Rates, ThrottledError, operation_of
from edgeferry.hub.registry import Registry
from edgeferry.hub.twins import Twins
from edgeferry.wire.hub import (
    Identity,
    RefusalError,
    parse_if_match,
    parse_json,
    parse_method_request,
    render_error,
    render_etag,
    render_json,
)

BODY_BYTES = 1024 * 1024
_PAGE_ROWS = 100
_MAX_PAGE_ROWS = 1000
_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Call:
    """A request whose sender is known and may ask this."""

    request: Request
    caller: Caller
    body: bytes

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    @property
    def device(self) -> str:
        return self.path("device")

    @property
    def module(self) -> str | None:
        module = self.request.path_params.get("module")
        return None if module is None else str(module)

    @property
    def if_match(self) -> str | None:
        return parse_if_match(self.request.headers.get("if-match"))

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; RefusalError DeserializationError."""
        try:
            value = parse_json(self.body)
        except ValueError as error:
            raise RefusalError(
                "DeserializationError", f"the body is not JSON: {error}", fix="send JSON"
            ) from error
        if not isinstance(value, dict):
            raise RefusalError("DeserializationError", "the body is not a JSON object", fix="send an object")
        return value


Answer = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Routes:
    """The REST API over the hub's rooms."""

    access: Access
    core: Core
    registry: Registry
    twins: Twins
    queries: Queries
    configurations: Configurations
    assigner: Assigner
    methods: Methods
    now: Callable[[], float]
    new_id: Callable[[], str]
    healthy: Callable[[], bool]
    rates: Rates

    def app(self) -> Starlette:
        """The API as an ASGI application."""
        device, module = "/devices/{device}", "/devices/{device}/modules/{module}"
        twins = ("/twins/{device}", "/twins/{device}/modules/{module}")
        routes = [
            Route("/health", self._health, methods=["GET"]),
            self._route("POST", "/devices/query", SERVICE_CONNECT, self._query),
            *(self._route("GET", path, REGISTRY_READ, self._devices) for path in ("/devices", "/devices/")),
            self._route("GET", device, REGISTRY_READ, self._show, own=True),
            self._route("PUT", device, REGISTRY_WRITE, self._put_device),
            self._route("DELETE", device, REGISTRY_WRITE, self._delete),
            self._route("GET", f"{device}/modules", REGISTRY_READ, self._modules, own=True),
            self._route("GET", module, REGISTRY_READ, self._show, own=True),
            self._route("PUT", module, REGISTRY_WRITE, self._put_module, own=True),
            self._route("DELETE", module, REGISTRY_WRITE, self._delete, own=True),
            *(self._route("GET", path, SERVICE_CONNECT, self._twin) for path in twins),
            *(self._route("PATCH", path, SERVICE_CONNECT, self._patch_twin) for path in twins),
            *(self._route("PUT", path, SERVICE_CONNECT, self._put_twin) for path in twins),
            *(self._route("POST", f"{path}/methods", SERVICE_CONNECT, self._method) for path in twins),
            self._route("GET", "/configurations", REGISTRY_READ, self._configurations),
            self._route("GET", "/configurations/{name}", REGISTRY_READ, self._configuration),
            self._route("PUT", "/configurations/{name}", REGISTRY_WRITE, self._put_configuration),
            self._route("DELETE", "/configurations/{name}", REGISTRY_WRITE, self._delete_configuration),
            self._route("GET", "/statistics/devices", REGISTRY_READ, self._registry_statistics),
            self._route("GET", "/statistics/service", REGISTRY_READ, self._service_statistics),
        ]
        handlers = {HTTPException: self._no_route, Exception: self._bug}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return app

    def _route(self, method: str, path: str, right: str, answer: Answer, own: bool = False) -> Route:
        operation = operation_of(method, path)

        async def endpoint(request: Request) -> Response:
            began = time.monotonic()
            who = ""
            try:
                caller = self._authorise(request, right, own)
                who = caller.name()
                self.rates.count(operation)
                if not request.query_params.get("api-version"):
                    raise RefusalError(
                        "ArgumentInvalid", "api-version is missing", fix="add ?api-version=2021-04-12"
                    )
                response = await answer(Call(request, caller, await _read(request)))
            except RefusalError as refusal:
                response = self._refuse(refusal)
            except ClientDisconnect:
                response = Response(status_code=400)
            self.core.log(
                "request",
                method=method,
                path=request.url.path,
                status=response.status_code,
                who=who,
                ms=round((time.monotonic() - began) * 1000, 1),
                error=response.headers.get("iothub-errorcode"),
            )
            return response

        # HEAD must not answer where GET would, so the endpoint lists its one method.
        route = Route(path, endpoint, methods=[method])
        route.methods = {method}
        return route

    def _authorise(self, request: Request, right: str, own: bool) -> Caller:
        text = request.headers.get("authorization", "")
        path = request.url.path.strip("/")
        caller = self.access.identify(text, path, self.now())
        if right in caller.rights:
            return caller
        device = str(request.path_params.get("device", ""))
        if own and caller.device == device and caller.module is None:
            return caller
        raise RefusalError(
            "IotHubUnauthorizedAccess",
            f"{caller.name()} may not {request.method} /{path}",
            fix=f"use a policy with {right}",
        )

    # identities

    async def _devices(self, call: Call) -> Response:
        top = call.request.query_params.get("top", str(_MAX_PAGE_ROWS))
        rows = min(int(top), _MAX_PAGE_ROWS) if top.isdigit() else _MAX_PAGE_ROWS
        return _ok([self.registry.show(device) for device in islice(self.core.store.devices(), rows)])

    async def _modules(self, call: Call) -> Response:
        self.core.identity(call.device)
        return _ok([self.registry.show(module) for module in self.core.store.modules(call.device)])

    async def _show(self, call: Call) -> Response:
        return self._shown(self.core.identity(call.device, call.module))

    async def _put_device(self, call: Call) -> Response:
        return self._shown(self.registry.put_device(call.device, call.json(), call.if_match))

    async def _put_module(self, call: Call) -> Response:
        return self._shown(
            self.registry.put_module(call.device, call.path("module"), call.json(), call.if_match)
        )

    async def _delete(self, call: Call) -> Response:
        self.registry.delete(call.device, call.module, call.if_match)
        return Response(status_code=204)

    def _shown(self, identity: Identity) -> Response:
        return _ok(self.registry.show(identity), etag=render_etag(identity.etag))

    # twins

    async def _twin(self, call: Call) -> Response:
        return self._shown_twin(self.core.identity(call.device, call.module))

    async def _patch_twin(self, call: Call) -> Response:
        return self._written(call, whole=False)

    async def _put_twin(self, call: Call) -> Response:
        return self._written(call, whole=True)

    def _written(self, call: Call, whole: bool) -> Response:
        return self._shown_twin(self.twins.write(call.device, call.module, call.json(), call.if_match, whole))

    def _shown_twin(self, identity: Identity) -> Response:
        return _ok(self.twins.show(identity), etag=render_etag(identity.twin.version))

    async def _method(self, call: Call) -> Response:
        self.core.identity(call.device, call.module)
        request = parse_method_request(call.json())
        return _ok(await self.methods.call(call.device, call.module, request))

    async def _query(self, call: Call) -> Response:
        headers = call.request.headers
        text = call.json().get("query")
        if not isinstance(text, str):
            raise RefusalError("ArgumentInvalid", "query is missing", fix="send {'query': 'SELECT …'}")
        wished = headers.get("x-ms-max-item-count", "")
        rows = min(max(int(wished), 1), _MAX_PAGE_ROWS) if wished.isdigit() else _PAGE_ROWS
        page = self.queries.query(text, _parse_continuation(headers.get("x-ms-continuation", "")), rows)
        response = _ok(page.rows)
        response.headers["x-ms-item-type"] = page.item_type
        if page.next_after is not None:
            response.headers["x-ms-continuation"] = _render_continuation(page.next_after)
        return response

    # configurations

    async def _configurations(self, _call: Call) -> Response:
        return _ok([self.configurations.show(one) for one in self.core.store.configurations()])

    async def _configuration(self, call: Call) -> Response:
        return self._shown_configuration(call.path("name"))

    async def _put_configuration(self, call: Call) -> Response:
        self.configurations.put(call.path("name"), call.json(), call.if_match)
        await self.assigner.settled()
        return self._shown_configuration(call.path("name"))

    async def _delete_configuration(self, call: Call) -> Response:
        self.configurations.delete(call.path("name"), call.if_match)
        await self.assigner.settled()
        return Response(status_code=204)

    def _shown_configuration(self, name: str) -> Response:
        configuration = self.configurations.configuration(name)
        return _ok(self.configurations.show(configuration), etag=render_etag(configuration.etag))

    # statistics, health

    async def _registry_statistics(self, _call: Call) -> Response:
        total, enabled, _ = self.queries.statistics()
        return _ok(
            {
                "totalDeviceCount": total,
                "enabledDeviceCount": enabled,
                "disabledDeviceCount": total - enabled,
            }
        )

    async def _service_statistics(self, _call: Call) -> Response:
        return _ok({"connectedDeviceCount": self.queries.statistics()[2]})

    async def _health(self, _request: Request) -> Response:
        if self.healthy():
            return _ok({"status": "ok", "live": True, "ready": True})
        not_ready = {"status": "not ready", "live": True, "ready": False}
        return Response(render_json(not_ready), 503, media_type=_JSON)

    # refusals

    def _refuse(self, refusal: RefusalError) -> Response:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now()))
        wait = {"retry-after": str(refusal.retry_after_s)} if isinstance(refusal, ThrottledError) else {}
        return Response(
            render_error(refusal, self.new_id(), at),
            status_code=refusal.status,
            headers={"iothub-errorcode": refusal.name, **wait},
            media_type=_JSON,
        )

    async def _no_route(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        message = f"ErrorCode:InvalidProtocolVersion;this hub has no {request.method} {request.url.path}"
        self.core.log("request", method=request.method, path=request.url.path, status=status, who="")
        return Response(
            render_json({"Message": message, "ExceptionMessage": ""}), status_code=status, media_type=_JSON
        )

    async def _bug(self, request: Request, error: Exception) -> Response:
        self.core.log("failure", path=request.url.path, error=f"{type(error).__name__}: {error}")
        return self._refuse(RefusalError("ServerError", "the hub failed", fix="see the hub's log"))


async def _read(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES:
            raise RefusalError(
                "MessageTooLarge", f"the body has more than {BODY_BYTES} bytes", fix="send less at once"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _ok(document: Any, etag: str | None = None) -> Response:
    headers = {"ETag": f'"{etag}"'} if etag else None
    return Response(render_json(document), headers=headers, media_type=_JSON)


def _render_continuation(after: Cursor) -> str:
    return base64.urlsafe_b64encode(render_json([after.device, after.module, after.left])).decode()


def _parse_continuation(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        device, module, left = parse_json(base64.urlsafe_b64decode(text))
        if isinstance(device, str) and isinstance(module, str) and isinstance(left, int | None):
            return Cursor(device, module, left)
    except (ValueError, TypeError):
        pass
    raise RefusalError(
        "ArgumentInvalid", "x-ms-continuation is not one of ours", fix="send the last page's, or none"
    )
