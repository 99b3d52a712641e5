"""A local OCI registry: CNCF Distribution (Debian's `docker-registry`) with TLS, and the endpoint whose
tokens it checks. Each is a process; both listen on one address and show one certificate."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeferry.authority import Authority
from edgeferry.errors import OutsideError
from edgeferry.sandbox.accounts import PULLER, PUSHER, ensure_logins
from edgeferry.sandbox.issuer import ISSUER, SERVICE, open_issuer
from edgeferry.sandbox.private import write_private
from edgeferry.sandbox.process import Process
from edgeferry.surroundings import child_environment

PORT = 5443
TOKENS_PORT = 5444


@dataclass(frozen=True)
class Logins:
    """The registry's own two logins: one does everything, one is for devices and only pulls."""

    pusher_password: str
    puller_password: str


def start_registry(state: Path, address: str, authority: Authority) -> Logins:
    """The registry is being started at `https://ADDRESS:5443`, its tokens at port 5444; its logins."""
    program = find_program()
    folder = state / "registry"
    folder.mkdir(parents=True, exist_ok=True)
    logins = _open_logins(folder)
    prepare(folder, address, PORT, TOKENS_PORT, authority)
    tokens = Process(state, "tokens")
    if not tokens.is_running():
        tokens.start(tokens_command(folder, address, TOKENS_PORT), child_environment())
    registry = Process(state, "registry")
    if not registry.is_running():
        registry.start([program, "serve", str(folder / "config.yml")], child_environment())
    return logins


def find_program() -> str:
    """The registry's program; OutsideError when none is installed."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if not program:
        raise OutsideError(
            "no OCI registry is installed", fix="install one: sudo apt-get install docker-registry"
        )
    return program


def prepare(folder: Path, address: str, port: int, tokens_port: int, authority: Authority) -> None:
    """`folder` holds what both processes read: the certificate, the issuer's key, `config.yml`."""
    certificate, key = authority.issue(folder, "registry", ("localhost",), (address, "127.0.0.1"))
    open_issuer(folder / "issuer")
    # JSON is YAML. No blob cache in memory: with one, garbage collection beside a running registry would
    # break images.
    config = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"{address}:{port}", "tls": {"certificate": str(certificate), "key": str(key)}},
        "auth": {
            "token": {
                "realm": f"https://{address}:{tokens_port}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(folder / "issuer" / "ca.pem"),
            }
        },
    }
    (folder / "config.yml").write_text(json.dumps(config, indent=2))


def tokens_command(folder: Path, address: str, port: int) -> list[str]:
    """The command line of the token endpoint."""
    command = [sys.executable, "-m", "edgeferry.sandbox.tokens", "--folder", str(folder)]
    return [*command, "--address", address, "--port", str(port)]


def _open_logins(folder: Path) -> Logins:
    path = folder / "logins.json"
    if not path.is_file():
        write_private(path, {PUSHER: secrets.token_urlsafe(24), PULLER: secrets.token_urlsafe(24)})
    passwords = json.loads(path.read_text())
    ensure_logins(folder / "accounts.json", passwords)
    return Logins(passwords[PUSHER], passwords[PULLER])
