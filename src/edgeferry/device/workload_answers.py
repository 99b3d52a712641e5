"""What IoT Edge's workload API answers a module, which may speak for itself only.

Follows `edgelet/api/workload` of Azure/iotedge, versions 2018-06-28 to 2020-07-07: `/modules`,
`/trust-bundle`, and below `/modules/{module}/genid/{generation}`: `sign`, `encrypt`, `decrypt`,
`certificate/server`. An error's body is `{"message": …}`.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509

from edgeferry.authority import open_authority
from edgeferry.device.module_keys import ModuleKeys
from edgeferry.device.sealing import seal, unseal
from edgeferry.device.trust import only_certificates
from edgeferry.errors import EdgeferryError, HubError

FIRST_VERSION, LAST_VERSION = "2018-06-28", "2020-07-07"
_OF_A_MODULE = re.compile(
    r"/modules/([^/]+)/genid/([^/]+)/(sign|encrypt|decrypt|certificate/server)", re.ASCII
)
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A status and the JSON object of the body."""

    status: int
    body: Mapping[str, Any]


class Answers:
    """Answers to requests. `folder` is the API's own; `modules` names those that have a socket."""

    def __init__(
        self,
        folder: Path,
        secret: bytes,
        keys: ModuleKeys,
        trust_bundle: Callable[[], str],
        modules: Callable[[], list[str]],
    ) -> None:
        self._folder = folder
        self._secret = secret
        self._keys = keys
        self._trust_bundle = trust_bundle
        self._modules = modules
        self._issuing = threading.Lock()

    def answer(self, caller: str, method: str, address: str, body: bytes) -> Answer:
        """The answer to the module `caller`; `address` is the request's path and query as received."""
        try:
            return self._answer(caller, method, address, body)
        except HubError as error:
            return refuse(503, str(error))
        except (EdgeferryError, OSError) as error:
            _log.warning("workload request failed module=%s address=%s: %s", caller, address, error)
            return refuse(500, str(error))

    def _answer(self, caller: str, method: str, address: str, body: bytes) -> Answer:
        parts = urlsplit(address)
        version = parse_qs(parts.query).get("api-version", [""])[0]
        if not _VERSION.fullmatch(version) or not FIRST_VERSION <= version <= LAST_VERSION:
            return refuse(400, f"api-version {version!r} is not from {FIRST_VERSION} to {LAST_VERSION}")
        if (method, parts.path) == ("GET", "/modules"):
            return Answer(200, {"modules": [_render_module(module) for module in self._modules()]})
        if (method, parts.path) == ("GET", "/trust-bundle"):
            return Answer(200, {"certificate": self._trust_bundle() + self._own_authority()})
        found = _OF_A_MODULE.fullmatch(parts.path)
        if method != "POST" or found is None:
            return refuse(404, f"the workload API has no {method} {parts.path}")
        module, generation, what = unquote(found[1]), unquote(found[2]), found[3]
        if module != caller:
            return refuse(403, f"this is the socket of module {caller}, which cannot act for {module}")
        try:
            said = json.loads(body)
            if not isinstance(said, dict):
                raise ValueError("it is no object")
            match what:
                case "sign":
                    return self._sign(caller, said)
                case "encrypt":
                    return self._encrypt(caller, generation, said)
                case "decrypt":
                    return self._decrypt(caller, generation, said)
                case _:
                    return self._certify(caller, said)
        except (KeyError, ValueError) as error:
            why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            return refuse(400, f"the body cannot be read: {why}")

    def _sign(self, caller: str, said: Mapping[str, Any]) -> Answer:
        if said.get("algo", "HMACSHA256") != "HMACSHA256":
            return refuse(400, f"algo {said['algo']!r} is not HMACSHA256, the only one")
        data = _bytes(said, "data")
        key = base64.b64decode(self._keys.key(caller))
        return Answer(200, {"digest": _text(hmac.new(key, data, hashlib.sha256).digest())})

    def _encrypt(self, caller: str, generation: str, said: Mapping[str, Any]) -> Answer:
        whose = (caller, generation, _text(_bytes(said, "initializationVector")))
        return Answer(200, {"ciphertext": _text(seal(self._secret, whose, _bytes(said, "plaintext")))})

    def _decrypt(self, caller: str, generation: str, said: Mapping[str, Any]) -> Answer:
        whose = (caller, generation, _text(_bytes(said, "initializationVector")))
        text = unseal(self._secret, whose, _bytes(said, "ciphertext"))
        if text is None:
            return refuse(400, "the ciphertext was not made here for this module, generation and vector")
        return Answer(200, {"plaintext": _text(text)})

    def _certify(self, caller: str, said: Mapping[str, Any]) -> Answer:
        """A certificate for the module's own name only: siblings trust it, and must not take it for the
        hub's."""
        name = said["commonName"]
        if not isinstance(name, str) or name.lower() != caller.lower():
            return refuse(403, f"module {caller} gets a certificate for its own name, not for {name!r}")
        with self._issuing:
            self._authority_folder.mkdir(mode=0o700, exist_ok=True)
            authority = open_authority(self._authority_folder, "edgeferry device authority")
            chain_file, key_file = authority.issue(self._authority_folder, f"module.{caller}", [caller], [])
            chain, key = chain_file.read_text(), key_file.read_text()
        ends_at = x509.load_pem_x509_certificate(chain.encode()).not_valid_after_utc
        return Answer(
            201,
            {
                "privateKey": {"type": "key", "bytes": key},
                "certificate": chain,
                "expiration": ends_at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        )

    @property
    def _authority_folder(self) -> Path:
        return self._folder / "authority.d"

    def _own_authority(self) -> str:
        """The authority of the modules' own certificates, once one was issued."""
        path = self._authority_folder / "ca.pem"
        return only_certificates(path.read_text()) if path.is_file() else ""


def refuse(status: int, message: str) -> Answer:
    """An answer that says why not."""
    return Answer(status, {"message": message})


def _render_module(module: str) -> dict[str, Any]:
    """A module as IoT Edge lists it; of its state, ask the agent's reported properties."""
    return {
        "id": module,
        "name": module,
        "type": "docker",
        "config": {"settings": {}, "env": []},
        "status": {"runtimeStatus": {"status": "unknown"}},
    }


def _bytes(said: Mapping[str, Any], member: str) -> bytes:
    try:
        return base64.b64decode(said[member], validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"{member} is not base64") from error


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode()
