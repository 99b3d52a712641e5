"""Secrets are planted, a model is shipped, and nothing that is left over holds one of them.

A sandbox of its own, whose device is rolled out to as one with IoT Edge is: a pull-only login in a layer.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeferry.adapters.registry import RegistryClient
from edgeferry.domain.image import Image
from edgeferry.errors import RegistryError
from edgeferry.settings import load_settings
from edgeferry.wire.oci import Run, digest_of, render_config, render_manifest
from edgeferry.wiring import open_hub
from tests.azure_stubs.entra import CLIENT, SECRET, TENANT, Entra, Vault
from tests.azure_stubs.server import serve
from tests.e2e.conftest import ROOT, CommandLine, Ran, link_caches
from tests.typed import clean_environment

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

_LOOKS = 50
PULLED = ("taxi/nyc_taxi", "taxi/companion")


@dataclass
class Shipped:
    """What is left of the whole way: secrets by name, and everything in which they are looked for."""

    command: CommandLine
    secrets: dict[str, str]
    said: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        ran = self.command(*arguments, **(environment or {}))
        self.said += [ran.out, ran.err]
        return ran

    def run_afresh(self, *arguments: str, environment: Mapping[str, str]) -> Ran:
        """The same by an interpreter of its own, whose command line a process list shows."""
        done = subprocess.run(
            [sys.executable, "-m", "edgeferry", "--project", str(self.command.project), *arguments],
            env=clean_environment(EDGEFERRY_STATE=str(self.command.state), **environment),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        self.said += [done.stdout, done.stderr]
        return Ran(done.returncode, done.stdout, done.stderr)

    def leaked(self, text: str | bytes) -> list[str]:
        """The names of the secrets that stand in `text`: as they are, in JSON, or one line of them."""
        content = text if isinstance(text, bytes) else text.encode()
        return sorted(
            name for name, secret in self.secrets.items() if any(mark in content for mark in _marks(secret))
        )


def _marks(secret: str) -> set[bytes]:
    """How the secret would look: as it is, in JSON, in an address, a line of it, in base64."""
    line = _longest_line(secret)
    encoded = (base64.b64encode(bytes(shift) + line.encode())[4:-4] for shift in range(3))
    texts = (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), line)
    return {text.encode() for text in texts} | set(encoded)


def _longest_line(secret: str) -> str:
    return max(secret.splitlines(), key=len)


def watch_processes(shipped: Shipped, stop: threading.Event) -> None:
    """Notes the command line of every process on the machine, some times in its first second: it changes
    once, when the program starts."""
    looks: Counter[str] = Counter()
    while not stop.wait(0.02):
        for name in os.listdir("/proc"):
            if not name.isdecimal() or looks[name] == _LOOKS:
                continue
            looks[name] += 1
            with contextlib.suppress(OSError):
                line = Path("/proc", name, "cmdline").read_bytes()
                shipped.processes.add(line.replace(b"\0", b" ").decode(errors="replace"))


def make_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def shipped(caches: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """A model shipped with every secret that a team has around it."""
    home = tmp_path_factory.mktemp("secrets")
    project, state = home / "taxi", home / "state"
    shutil.copytree(
        ROOT / "examples" / "taxi", project, ignore=shutil.ignore_patterns(".edgeferry", "__pycache__")
    )
    link_caches(state, caches)
    shipped = Shipped(CommandLine(project, state), {})
    entra, stubs = Entra(), home / "stubs"
    with serve(entra.app, stubs) as authority:
        vault = Vault(authority)
        with serve(vault.app, stubs) as url:
            try:
                assert shipped.run("up", "--devices", "1").code == 0
                environment = plant(shipped, vault, url.removeprefix("https://"), authority, stubs)
                stop = threading.Event()
                watcher = threading.Thread(target=watch_processes, args=(shipped, stop))
                watcher.start()
                try:
                    travel(shipped, environment)
                finally:
                    stop.set()
                    watcher.join()
                shipped.secrets |= {
                    f"a token of Entra {number}": token for number, token in enumerate(entra.issued)
                }
                yield shipped
            finally:
                shipped.command("down", "--wipe")


def plant(shipped: Shipped, vault: Vault, host: str, authority: str, stubs: Path) -> dict[str, str]:
    """The environment of a person or a pipeline that ships; all that is secret in and around it is known."""
    project, state = shipped.command.project, shipped.command.state
    sandbox = json.loads((state / "sandbox.json").read_text())
    device = json.loads((state / "devices" / "device-1" / "device.json").read_text())
    token = shipped.command("registry", "tokens", "create", "edge-devices", "-o", "json", *repositories())
    pull = token.facts["password"]
    signing_key = make_key()
    code = project / "models" / "nyc_taxi" / "src" / "nyc_taxi"
    (code / ".env").write_text("DB_PASSWORD=database-password-canary\n")
    (code / "deploy.pem").write_text(make_key())
    shipped.secrets |= {
        "the hub's owner key": key_of(sandbox["settings"]["hub.connection_string"]),
        "the registry's password": sandbox["settings"]["registry.password"],
        "the devices' registry password": device["registries"][0]["password"],
        "the device's key": key_of(device["connection_string"]),
        "the authority's key": (state / "hub" / "ca.key").read_text(),
        "the pull-only password": pull,
        "the service principal's secret": SECRET,
        "the pipeline's access token": "system-access-token-canary",
        "the ledger's signing key": signing_key,
        "a password in the code folder": "database-password-canary",
        "a private key in the code folder": (code / "deploy.pem").read_text(),
        "a variable of the person's own": "my-api-token-canary",
    }
    vault.secrets = {"registry-password": shipped.secrets["the registry's password"], "pull-password": pull}
    return {
        "EDGEFERRY_REGISTRY__PASSWORD": f"keyvault://{host}/registry-password",
        "EDGEFERRY_REGISTRY__PULL_USERNAME": token.facts["username"],
        "EDGEFERRY_REGISTRY__PULL_PASSWORD": f"keyvault://{host}/pull-password",
        "EDGEFERRY_LEDGER__SIGNING_KEY": signing_key,
        "EDGEFERRY_DEVICE__RUNTIME": "iotedge",
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": SECRET,
        "AZURE_AUTHORITY_HOST": authority,
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "REQUESTS_CA_BUNDLE": str(stubs / "ca.pem"),
        "SYSTEM_ACCESSTOKEN": "system-access-token-canary",
        "MY_API_TOKEN": "my-api-token-canary",
    }


def repositories() -> list[str]:
    return [word for name in PULLED for word in ("--repository", name)]


def key_of(connection_string: str) -> str:
    match = re.search(r"SharedAccessKey=([^;]+)", connection_string)
    assert match
    return match[1]


def travel(shipped: Shipped, environment: Mapping[str, str]) -> None:
    """Everything that a team does with a model, once."""
    project = shipped.command.project
    shipped.run("devices", "tag", "device-1", "models.nyc_taxi=true")
    ran = shipped.run_afresh("ship", "nyc_taxi", "--approve-as", "ann", environment=environment)
    assert ran.code == 0, ran.err
    for arguments in (
        ("validate",),
        ("config", "show"),
        ("status",),
        ("captures", "nyc_taxi"),
        ("logs", "nyc_taxi", "--device", "device-1"),
        ("logs", "companion", "--device", "device-1"),
        ("deployments", "render", "nyc_taxi", "--folder", str(project / "rendered")),
        ("ci", "azure-devops"),
        ("ci", "github"),
    ):
        shipped.run(*arguments, environment=environment)


def test_every_secret_was_really_there(shipped: Shipped) -> None:
    assert len(shipped.secrets) >= 12
    assert all(len(secret) >= 16 for secret in shipped.secrets.values())
    assert len(set(shipped.secrets.values())) == len(shipped.secrets)
    assert shipped.leaked(" ".join(shipped.secrets.values())) == sorted(shipped.secrets)
    for name, secret in shipped.secrets.items():
        for user in ("", "u", "us", "use"):
            assert name in shipped.leaked(base64.b64encode(f"{user}:{secret}".encode()))


def test_no_secret_is_in_what_commands_say(shipped: Shipped) -> None:
    assert any("Rollout" in text or "rollout" in text for text in shipped.said)
    assert shipped.leaked("\n".join(shipped.said)) == []


def test_no_secret_is_in_a_process_list(shipped: Shipped) -> None:
    assert any("edgeferry" in line and "ship" in line for line in shipped.processes)
    assert shipped.leaked("\n".join(shipped.processes)) == []


def test_no_secret_is_in_the_project_or_in_what_was_rendered(shipped: Shipped) -> None:
    files = [path for path in shipped.command.project.rglob("*") if path.is_file()]
    written = [path for path in files if path.name not in (".env", "deploy.pem")]
    assert {"rendered", ".azure-pipelines", ".github"} <= {part for path in written for part in path.parts}
    assert {path: found for path in written if (found := shipped.leaked(path.read_bytes()))} == {}


def test_on_this_machine_secrets_are_in_private_files_only(shipped: Shipped) -> None:
    open_to_others = {}
    for path in shipped.command.state.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        if (found := shipped.leaked(path.read_bytes())) and not is_private(path, shipped.command.state):
            open_to_others[str(path.relative_to(shipped.command.state))] = found
    assert open_to_others == {}


def is_private(path: Path, state: Path) -> bool:
    """Whether only its owner can read the file, by its own mode or a folder's above it."""
    return any(
        not stat.S_IMODE(each.stat().st_mode) & 0o077
        for each in (path, *path.parents)
        if each == state or state in each.parents
    )


def test_no_secret_is_in_an_image_or_in_evidence(shipped: Shipped) -> None:
    blobs = list((shipped.command.state / "registry" / "data").rglob("blobs/sha256/*/*/data"))
    assert len(blobs) > 6
    leaks = {}
    for path in blobs:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        if found := shipped.leaked(content):
            leaks[path.parent.name] = found
    assert leaks == {}


def test_no_secret_is_in_the_ledger(shipped: Shipped) -> None:
    ledger = shipped.command.state / "ledger.git"
    objects = ["git", "-C", str(ledger), "cat-file", "--batch-all-objects", "--batch"]
    content = subprocess.run(objects, capture_output=True, check=True).stdout
    assert b"nyc_taxi" in content
    assert shipped.leaked(content) == []


def hub_of(shipped: Shipped) -> Any:
    return open_hub(load_settings(shipped.command.project, {"state": str(shipped.command.state)}), print)


def test_at_the_hub_the_pull_only_password_is_in_its_layer_and_the_agents_twin_alone(
    shipped: Shipped,
) -> None:
    with hub_of(shipped) as hub:
        deployments = {one["id"]: json.dumps(one) for one in hub.configurations()}
        twins = {"device": json.dumps(hub.device_twin("device-1"))}
        for module in ("$edgeAgent", "$edgeHub", "companion", "nyc_taxi"):
            twins[module] = json.dumps(hub.module_twin("device-1", module))
    found = {name: shipped.leaked(text) for name, text in (deployments | twins).items()}
    pull_layer = next(name for name in deployments if "-pull-" in name)
    with_secrets = {name: leaks for name, leaks in found.items() if leaks}
    assert with_secrets == {
        pull_layer: ["the pull-only password"],
        "$edgeAgent": ["the pull-only password"],
    }


def test_that_password_pulls_its_repositories_and_cannot_push(shipped: Shipped) -> None:
    settings = load_settings(shipped.command.project, {"state": str(shipped.command.state)})
    client = RegistryClient(
        settings["registry.host"],
        "taxi",
        "edge-devices",
        shipped.secrets["the pull-only password"],
        settings["registry.ca_file"],
    )
    digest = shipped.run("status", "-o", "json").facts
    model = next(each["digest"] for each in digest if each["module"] == "nyc_taxi")
    config = render_config("amd64", [], Run(("/server",), (), "1:1", ()), {})
    manifest = render_manifest(config, [])
    image = Image("nyc_taxi", "evil", digest_of(manifest), digest_of(config), manifest, config, (), {})
    try:
        assert client.has("nyc_taxi", model)
        with pytest.raises(RegistryError, match="may not push to taxi/nyc_taxi"):
            client.push(image)
        with pytest.raises(RegistryError, match="may not pull from taxi/london_taxi"):
            client.has("london_taxi", model)
    finally:
        client.close()
