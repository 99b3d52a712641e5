"""A real OCI registry for tests: the local registry and its token endpoint, as `up` runs them."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from edgeferry.authority import open_authority
from edgeferry.sandbox.accounts import ALL, make_account, save_accounts
from edgeferry.sandbox.registry import prepare, tokens_command
from edgeferry.wire.registry_token import DELETE, PULL, PUSH
from tests.needs import lack

REGISTRY_ADDRESS = "127.43.0.1"


@dataclass
class RegistryServer:
    """A docker-registry process with TLS; `pusher` may do everything there, `puller` may pull. Its state
    folder is `folder`, the registry's own is `folder/registry`."""

    folder: Path
    port: int
    password: str = "right"
    tokens_port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"{REGISTRY_ADDRESS}:{self.port}"

    @property
    def realm(self) -> str:
        return f"https://{REGISTRY_ADDRESS}:{self.tokens_port}/token"

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def start(self) -> None:
        program = shutil.which("docker-registry") or shutil.which("registry")
        if not program:
            lack("no docker-registry is installed")
        self.tokens_port = self.tokens_port or free_port(REGISTRY_ADDRESS)
        own = self.folder / "registry"
        own.mkdir(exist_ok=True)
        prepare(own, REGISTRY_ADDRESS, self.port, self.tokens_port, open_authority(self.folder))
        rights = {"pusher": (PULL, PUSH, DELETE), "puller": (PULL,)}
        logins = {name: make_account(name, self.password, (ALL,), may) for name, may in rights.items()}
        save_accounts(own / "accounts.json", logins)
        for command in (
            [program, "serve", str(own / "config.yml")],
            tokens_command(own, REGISTRY_ADDRESS, self.tokens_port),
        ):
            with (self.folder / "log").open("ab") as log:
                self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        self._await_answer(f"https://{self.host}/v2/", 401)
        self._await_answer(self.realm, 400)

    def _await_answer(self, url: str, status: int) -> None:
        context = ssl.create_default_context(cafile=self.ca_file)
        deadline = time.monotonic() + 60
        with httpx.Client(verify=context, trust_env=False) as client:
            while True:
                ended = [each.args for each in self.processes if each.poll() is not None]
                assert not ended, (self.folder / "log").read_text()
                try:
                    assert client.get(url).status_code == status
                except httpx.TransportError:
                    assert time.monotonic() < deadline, f"{url} did not answer"
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)
        self.processes.clear()

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob."""
        hexes = digest.removeprefix("sha256:")
        return self.folder / "registry/data/docker/registry/v2/blobs/sha256" / hexes[:2] / hexes / "data"


def free_port(address: str) -> int:
    """A port nobody listens on just now."""
    with socket.create_server((address, 0)) as taken:
        return int(taken.getsockname()[1])
