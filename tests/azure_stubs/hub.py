"""Our own hub behind a door that takes Microsoft Entra's tokens, as Azure's takes them: the rest is real."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeferry.wire.entra import parse_claims
from edgeferry.wire.sas import render_sas
from tests.hubs import RunningHub


@dataclass
class EntraHub:
    """Checks audience and expiry of the token, then asks the hub with the owner's key."""

    hub: RunningHub
    owner_key: str
    forbidden: bool = False
    expired: set[str] = field(default_factory=set)
    """Tokens that the hub says have expired, whatever they say themselves."""
    throttled: list[str] = field(default_factory=list)
    """`Retry-After` values of the answers to come."""
    seen: list[str] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        methods = ["GET", "PUT", "POST", "PATCH", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self.forward, methods=methods)])

    async def forward(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        claims = parse_claims(token)
        good = claims.get("aud") == "https://iothubs.azure.net" and claims["exp"] > time.time()
        self.seen.append(token)
        if not good or token in self.expired:
            return JSONResponse({"Message": "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}, 401)
        if self.forbidden:
            return JSONResponse({"Message": "ErrorCode:IotHubUnauthorizedAccess;Access denied"}, 403)
        if self.throttled:
            return JSONResponse({"Message": "throttled"}, 429, {"Retry-After": self.throttled.pop(0)})
        sas = render_sas(self.hub.host_name, self.owner_key, int(time.time()) + 60, "iothubowner")
        kept = {k: v for k, v in request.headers.items() if k in ("content-type", "if-match")}
        kept |= {k: v for k, v in request.headers.items() if k.startswith("x-ms-")}
        context = ssl.create_default_context(cafile=str(self.hub.ca_file))
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            answer = await client.request(
                request.method,
                f"https://{self.hub.host_name}/{request.path_params['path']}",
                params=request.query_params,
                headers={**kept, "authorization": sas},
                content=await request.body(),
            )
        headers = {k: v for k, v in answer.headers.items() if k.startswith("x-ms-") or k == "content-type"}
        return Response(answer.content, answer.status_code, headers)
