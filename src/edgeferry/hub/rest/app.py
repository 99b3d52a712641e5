"""The service REST as an ASGI application: who asks is settled first (401), then what is asked (400).

Success codes are the ones Microsoft's Python SDK insists on. A device's own credential reaches its own
identity and modules; a module's own may call methods on its device, its modules and its children.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as AsgiRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeferry.hub.access import Access, Caller
from edgeferry.hub.core import Core, invalid
from edgeferry.hub.rates import Rates, ThrottledError, operation_of
from edgeferry.hub.rest.call import JSON_TYPE, Call, Handler, Route
from edgeferry.hub.rest.table import ABSENT
from edgeferry.wire.hub import ERROR_CODES, RefusalError, render_error
from edgeferry.wire.openapi import Operation
from edgeferry.wire.openapi_parameters import API_VERSION

BODY_BYTES = 1024 * 1024
_EDGE_MODULE = "x-ms-edge-moduleid"
_ABSENT = [
    (re.compile(re.escape(path).replace(r"\{device\}", "[^/]+") + "(/.*)?"), what) for path, what in ABSENT
]


@dataclass(frozen=True)
class Api:
    """Serves routes. `now` gives Unix seconds, `new_id` a tracking id."""

    access: Access
    core: Core
    routes: Sequence[Route]
    now: Callable[[], float]
    new_id: Callable[[], str]
    rates: Rates
    more: Sequence[AsgiRoute] = ()
    """Routes that are not IoT Hub's and answer for themselves."""

    def app(self) -> ASGIApp:
        """The application."""
        paths: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            paths.setdefault(route.operation.path, {})[route.operation.method] = route
        # Fixed words go before names, whatever the order of the table: /devices/query is no device.
        ordered = sorted(paths, key=lambda path: path.replace("{", "\x7f"))
        app = Starlette(
            routes=[*(self._bind(path, paths[path]) for path in ordered), *self.more],
            exception_handlers={HTTPException: self._no_route, Exception: self._bug},
        )
        app.router.redirect_slashes = False
        return _WithoutTrailingSlash(app)

    def _bind(self, path: str, routes: Mapping[str, Route]) -> AsgiRoute:
        async def endpoint(request: Request) -> Response:
            route = routes.get(request.method)
            if route is None:
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(routes))})
            return await self._serve(request, route.operation, route.handler)

        bound = AsgiRoute(path, endpoint)
        bound.methods = None  # every method comes here, so that a 405 can name all that there are
        return bound

    async def _serve(self, request: Request, operation: Operation, handler: Handler) -> Response:
        began = time.monotonic()
        caller = Caller()
        try:
            if operation.right is not None:
                caller = self._authorise(request, operation, operation.right)
                self.rates.count(operation_of(operation.method, operation.path))
                _check_address(request, operation, caller)
            response = await handler(Call(request, caller, await _read(request)))
        except RefusalError as refusal:
            response = self._refuse(refusal)
        except ClientDisconnect:
            response = Response(status_code=400)
        self.core.log(
            "request",
            method=request.method,
            path=request.url.path,
            route=operation.path,
            status=response.status_code,
            who=caller.name(),
            ms=round((time.monotonic() - began) * 1000, 1),
            error=response.headers.get("iothub-errorcode"),
        )
        return response

    def _authorise(self, request: Request, operation: Operation, right: str) -> Caller:
        text = request.headers.get("authorization", "")
        path = request.scope["path"].strip("/")
        device = str(request.path_params.get("device", ""))
        claimed = request.headers.get(_EDGE_MODULE) if operation.own == "module" else None
        named = path if claimed is None else "devices/" + claimed.replace("/", "/modules/", 1)
        caller = self.access.identify(text, named, self.now())
        if claimed is not None and caller.policy:  # what a policy signed is for the address
            caller = self.access.identify(text, path, self.now())
        if right in caller.rights:
            return caller
        is_own = caller.device == device and caller.module is None
        if operation.own == "device" and is_own:
            return caller
        if claimed is not None and caller.module is not None and self._reaches(caller.device or "", device):
            return caller
        raise RefusalError(
            "IotHubUnauthorizedAccess",
            f"{caller.name()} may not {request.method} {request.scope['path']}",
            fix=f"use a policy with {right}",
        )

    def _reaches(self, device: str, target: str) -> bool:
        """Whether modules of the device may call the target: the device itself, or a child of it."""
        if device == target:
            return True
        owner, child = self.core.store.identity(device), self.core.store.identity(target)
        return (
            owner is not None and owner.is_edge and child is not None and owner.scope in child.parent_scopes
        )

    def _refuse(self, refusal: RefusalError, headers: Mapping[str, str] | None = None) -> Response:
        if isinstance(refusal, ThrottledError):
            headers = {"retry-after": str(refusal.retry_after_s)}
        return Response(
            render_error(refusal, self.new_id(), self.core.now()),
            status_code=refusal.status,
            headers={**(headers or {}), "iothub-errorcode": refusal.name},
            media_type=JSON_TYPE,
        )

    async def _no_route(self, request: Request, error: Exception) -> Response:
        path = request.scope["path"]
        absent = next((what for pattern, what in _ABSENT if pattern.fullmatch(path)), None)
        asked = f"{request.method} {path}"
        headers: Mapping[str, str] | None = None
        if absent is not None:
            refusal = RefusalError("FeatureNotSupported", f"this hub has no {absent}: {asked}", fix="")
        elif isinstance(error, HTTPException) and error.status_code == 405:
            headers = error.headers
            refusal = RefusalError(
                "GenericMethodNotAllowed", f"this hub has no {asked}", fix="see /openapi.json"
            )
        else:
            refusal = RefusalError("GenericNotFound", f"this hub has no {asked}", fix="see /openapi.json")
        status = ERROR_CODES[refusal.name] // 1000
        self.core.log("request", method=request.method, path=path, status=status, who="")
        return self._refuse(refusal, headers)

    async def _bug(self, request: Request, error: Exception) -> Response:
        path = request.url.path
        self.core.log("failure", path=path, error=f"{type(error).__name__}: {error}")
        route = getattr(request.scope.get("route"), "path", None)
        facts = {} if route is None else {"route": route}
        self.core.log("request", method=request.method, path=path, status=500, error="ServerError", **facts)
        return self._refuse(RefusalError("ServerError", "the hub failed", fix="see the hub's log"))


@dataclass(frozen=True)
class _WithoutTrailingSlash:
    """`/devices/` is `/devices`: Node's SDK asks so, and follows no redirect."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"][:-1]}
        await self.app(scope, receive, send)


def _check_address(request: Request, operation: Operation, caller: Caller) -> None:
    """RefusalError when the api-version or an id in the path cannot be understood."""
    versions = request.query_params.getlist("api-version")
    is_own_call = operation.own == "module" and caller.policy is None  # Node's sends no query string at all
    if not versions and not is_own_call:
        raise invalid("api-version is missing", "add ?api-version=2021-04-12")
    if versions and not re.fullmatch(API_VERSION.strip("^$"), versions[-1]):
        raise invalid(f"api-version {versions[-1]!r} is not one", "give a date, e.g. 2021-04-12")
    if b"%2f" in request.scope.get("raw_path", b"").lower():
        raise invalid("an id in the address contains '/'", "no id can")


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
