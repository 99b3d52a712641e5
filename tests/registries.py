"""A real OCI registry for tests: a docker-registry process with TLS and a login."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import httpx

from edgeferry.authority import open_authority
from tests.needs import lack

REGISTRY_ADDRESS = "127.43.0.1"


@dataclass
class RegistryServer:
    """A docker-registry process with TLS and one login."""

    folder: Path
    port: int
    password: str = "right"
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"{REGISTRY_ADDRESS}:{self.port}"

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def start(self) -> None:
        program = shutil.which("docker-registry") or shutil.which("registry")
        if not program:
            lack("no docker-registry is installed")
        authority = open_authority(self.folder)
        certificate, key = authority.issue(self.folder, "registry", (), (REGISTRY_ADDRESS,))
        line = f"pusher:{bcrypt.hashpw(self.password.encode(), bcrypt.gensalt(4)).decode()}\n"
        (self.folder / "htpasswd").write_text(line)
        config = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.host, "tls": {"certificate": str(certificate), "key": str(key)}},
            "auth": {"htpasswd": {"realm": "tests", "path": str(self.folder / "htpasswd")}},
        }
        (self.folder / "config.yml").write_text(json.dumps(config))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "serve", str(self.folder / "config.yml")], stdout=log, stderr=log
            )
        self._await_answer()

    def _await_answer(self) -> None:
        context = ssl.create_default_context(cafile=self.ca_file)
        deadline = time.monotonic() + 20
        with httpx.Client(verify=context, trust_env=False) as client:
            while True:
                assert self.process is not None
                assert self.process.poll() is None, (self.folder / "log").read_text()
                try:
                    assert client.get(f"https://{self.host}/v2/").status_code == 401
                except httpx.TransportError:
                    assert time.monotonic() < deadline, "the registry did not start"
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob."""
        hexes = digest.removeprefix("sha256:")
        return self.folder / "data/docker/registry/v2/blobs/sha256" / hexes[:2] / hexes / "data"


def free_port(address: str) -> int:
    """A port nobody listens on just now."""
    with socket.create_server((address, 0)) as taken:
        return int(taken.getsockname()[1])
