"""A local OCI registry: CNCF Distribution (Debian's `docker-registry`) with TLS and a login."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from edgeferry.authority import Authority
from edgeferry.errors import OutsideError
from edgeferry.sandbox.process import Process
from edgeferry.settings import child_environment

PORT = 5443
PUSHER = "edgeferry"
PULLER = "device"


@dataclass(frozen=True)
class Logins:
    """The registry's two logins: one pushes, one is for devices. Distribution's htpasswd knows no rights."""

    pusher_password: str
    puller_password: str


def start_registry(state: Path, address: str, authority: Authority) -> Logins:
    """The registry is being started at `https://ADDRESS:5443`; its logins."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if not program:
        raise OutsideError(
            "no OCI registry is installed", fix="install one: sudo apt-get install docker-registry"
        )
    folder = state / "registry"
    folder.mkdir(parents=True, exist_ok=True)
    logins = _open_logins(folder)
    certificate, key = authority.issue(folder, "registry", ("localhost",), (address, "127.0.0.1"))
    config = folder / "config.yml"
    config.write_text(_render_config(folder, address, certificate, key))
    process = Process(state, "registry")
    if not process.is_running():
        process.start([program, "serve", str(config)], child_environment())
    return logins


def _open_logins(folder: Path) -> Logins:
    path = folder / "logins.json"
    if not path.is_file():
        fresh = {PUSHER: secrets.token_urlsafe(24), PULLER: secrets.token_urlsafe(24)}
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(fresh, file)
    passwords = json.loads(path.read_text())
    lines = [
        f"{name}:{bcrypt.hashpw(text.encode(), bcrypt.gensalt(6)).decode()}\n"
        for name, text in passwords.items()
    ]
    (folder / "htpasswd").write_text("".join(lines))
    return Logins(passwords[PUSHER], passwords[PULLER])


def _render_config(folder: Path, address: str, certificate: Path, key: Path) -> str:
    # JSON is YAML. No blob cache in memory: with one, garbage collection beside a running registry would
    # break images.
    return json.dumps(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"{address}:{PORT}", "tls": {"certificate": str(certificate), "key": str(key)}},
            "auth": {"htpasswd": {"realm": "edgeferry", "path": str(folder / "htpasswd")}},
        },
        indent=2,
    )
