"""Microsoft Entra's token endpoint, Key Vault's secrets and its keys, as far as clients ask.

Entra: OAuth 2.0 client credentials (v2.0 endpoint), by secret, by certificate, by federated token; the
managed identity endpoint of App Service. Key Vault: REST API 7.x `GET /secrets/NAME`, `GET /keys/NAME` and
`POST /keys/NAME/VERSION/sign` (ES256), with its challenge.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
OBJECT = "33333333-3333-3333-3333-333333333333"
VERSION = "0123456789abcdef0123456789abcdef"
SECRET = "entra-client-secret-canary"


def make_token(scope: str, lasts_s: float, number: int) -> str:
    """A token of Entra's form, unsigned; `number` tells one from the next."""
    claims = {
        "aud": scope.removesuffix("/.default"),
        "appid": CLIENT,
        "oid": OBJECT,
        "exp": int(time.time() + lasts_s),
        "jti": number,
    }
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c3R1Yg"])


@dataclass
class Entra:
    """The directory: who may sign in, and every request seen."""

    secret: str = SECRET
    lasts_s: float = 3600
    issued: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{tenant}/v2.0/.well-known/openid-configuration", self.configuration),
                Route("/{tenant}/oauth2/v2.0/token", self.token, methods=["POST"]),
                Route("/msi/token", self.managed_identity),
            ]
        )

    def configuration(self, request: Request) -> Response:
        host = f"https://{request.headers['host']}/{request.path_params['tenant']}"
        return JSONResponse(
            {
                "issuer": f"{host}/v2.0",
                "authorization_endpoint": f"{host}/oauth2/v2.0/authorize",
                "token_endpoint": f"{host}/oauth2/v2.0/token",
            }
        )

    async def token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        self.asked.append(form)
        assert form["grant_type"] == "client_credentials"
        by_secret = form.get("client_secret") == self.secret
        if not by_secret and not form.get("client_assertion"):
            said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."}
            return JSONResponse(said, 401)
        return JSONResponse(self.issue(form["scope"]))

    def managed_identity(self, request: Request) -> Response:
        assert request.headers["x-identity-header"] == "msi-canary"
        said = self.issue(request.query_params["resource"])
        return JSONResponse({**said, "expires_on": str(int(time.time() + self.lasts_s))})

    def issue(self, scope: str) -> dict[str, object]:
        token = make_token(scope, self.lasts_s, len(self.issued))
        self.issued.append(token)
        lasts = int(self.lasts_s)
        return {"token_type": "Bearer", "access_token": token, "expires_in": lasts, "ext_expires_in": lasts}


@dataclass
class Vault:
    """A Key Vault: its secrets and keys, whether the caller may use them, and how often it was asked."""

    authority: str
    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    signed: list[str] = field(default_factory=list)
    forbidden: bool = False
    reads: list[str] = field(default_factory=list)
    challenges: int = 0

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/secrets/{name}{rest:path}", self.secret),
                Route("/keys/{name}/", self.key),
                Route("/keys/{name}/{version}/sign", self.sign, methods=["POST"]),
            ]
        )

    def refuse(self, request: Request) -> Response | None:
        """The challenge for who brings no token, or the word that they may not."""
        sent = request.headers.get("authorization", "")
        if not sent.startswith("Bearer "):
            self.challenges += 1
            # Clients check that the vault's host lies below the challenge's resource.
            resource = "https://" + request.headers["host"].partition(".")[2]
            challenge = f'Bearer authorization="{self.authority}/{TENANT}", resource="{resource}"'
            return JSONResponse({}, 401, headers={"WWW-Authenticate": challenge})
        if self.forbidden:
            return _fault(403, "Forbidden", "Caller is not authorized to perform action on resource.")
        return None

    def secret(self, request: Request) -> Response:
        if refused := self.refuse(request):
            return refused
        name = request.path_params["name"]
        if name not in self.secrets:
            return _fault(404, "SecretNotFound", f"A secret with (name/id) {name} was not found.")
        self.reads.append(name)
        place = f"https://{request.headers['host']}/secrets/{name}/{len(self.reads):032x}"
        return JSONResponse({"value": self.secrets[name], "id": place, "attributes": {"enabled": True}})

    def key(self, request: Request) -> Response:
        if refused := self.refuse(request):
            return refused
        assert request.query_params["api-version"] == "7.4"
        name = request.path_params["name"]
        if name not in self.keys:
            return _fault(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")
        public = self.keys[name].public_key()
        size = (public.key_size + 7) // 8
        numbers = public.public_numbers()
        key = {
            "kid": f"https://{request.headers['host']}/keys/{name}/{VERSION}",
            "kty": "EC",
            "crv": {"secp256r1": "P-256", "secp384r1": "P-384"}[public.curve.name],
            "x": _encode(numbers.x.to_bytes(size)),
            "y": _encode(numbers.y.to_bytes(size)),
            "key_ops": ["sign", "verify"],
        }
        return JSONResponse({"key": key, "attributes": {"enabled": True}})

    async def sign(self, request: Request) -> Response:
        if refused := self.refuse(request):
            return refused
        asked = json.loads(await request.body())
        assert asked["alg"] == "ES256"
        assert request.path_params["version"] == VERSION
        digest = base64.urlsafe_b64decode(asked["value"] + "=" * (-len(asked["value"]) % 4))
        name = request.path_params["name"]
        signature = self.keys[name].sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        raw = b"".join(number.to_bytes(32) for number in decode_dss_signature(signature))
        self.signed.append(name)
        place = f"https://{request.headers['host']}/keys/{name}/{VERSION}"
        return JSONResponse({"kid": place, "value": _encode(raw)})


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _fault(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
