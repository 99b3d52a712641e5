"""Logins at Azure, through Microsoft's own clients: one chain for every service, references to secrets, a hub
that takes Entra's tokens."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeferry.adapters.entra import HUB_SCOPE, EntraLogin
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import EntraHubLogin, SharedKeyLogin
from edgeferry.adapters.secrets import KEPT_S, VaultSecrets
from edgeferry.adapters.signer import KeyFolder
from edgeferry.adapters.vault_signer import VaultSigner
from edgeferry.errors import HubError, LoginError, UsageError
from edgeferry.wire.connection import parse_connection_string
from tests.azure_stubs.entra import CLIENT, OBJECT, SECRET, TENANT, Entra, Vault
from tests.azure_stubs.hub import EntraHub
from tests.azure_stubs.server import serve
from tests.hubs import RunningHub, free_address
from tests.typed import typed


@dataclass
class Directory:
    """A running Entra."""

    entra: Entra
    url: str
    ca_file: Path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Directory]:
    """An Entra that this process's environment points to, and a service principal that may sign in."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "EDGEFERRY_"))]:
        monkeypatch.delenv(name)
    entra = Entra()
    with serve(entra.app, tmp_path / "entra") as url:
        ca_file = tmp_path / "entra" / "ca.pem"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", url)
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        # Without this the chain would go on and look for other logins of the machine that runs the tests.
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
        yield Directory(entra, url, ca_file)


def make_certificate(path: Path) -> Path:
    """A PEM file with a key and its certificate, as a service principal has."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "principal")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def by_secret(directory: Directory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    return "EnvironmentCredential"


def by_certificate(directory: Directory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(make_certificate(folder / "principal.pem")))
    return "EnvironmentCredential"


def by_workload_identity(directory: Directory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "federated").write_text("token-of-the-platform")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(folder / "federated"))
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential")
    return "WorkloadIdentityCredential"


def by_managed_identity(directory: Directory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{directory.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "msi-canary")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    return "ManagedIdentityCredential"


def by_az_login(directory: Directory, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`az` is Microsoft's; here a script that prints what `az account get-access-token` prints."""
    said = {"accessToken": directory.entra.issue(HUB_SCOPE)["access_token"], "expires_on": 4102444800}
    said |= {"expiresOn": "2100-01-01 00:00:00.000000", "tokenType": "Bearer"}
    script = folder / "az"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(said)}\nEND\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    return "AzureCliCredential"


@pytest.mark.parametrize(
    "way", [by_secret, by_certificate, by_workload_identity, by_managed_identity, by_az_login]
)
def test_each_way_to_sign_in_works_and_is_named_once_without_its_secrets(
    way, directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = way(directory, tmp_path, monkeypatch)
    said: list[str] = []
    login = EntraLogin(said.append)
    token = login.token(HUB_SCOPE)
    assert token == directory.entra.issued[-1]
    assert login.token(HUB_SCOPE) == token, "a token is kept until it nears its end"
    assert said == [f"signed in to Azure as application {CLIENT} (object {OBJECT}) by {name}"]


def test_a_wrong_client_secret_is_refused_without_being_shown(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong-canary")
    with pytest.raises(LoginError, match="Invalid client secret") as caught:
        EntraLogin(print).token(HUB_SCOPE)
    assert "az login" in caught.value.fix
    assert "wrong-canary" not in str(caught.value)


def test_what_no_login_could_do_is_told_once_and_by_us(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LoginError, match="EnvironmentCredential authentication unavailable"):
        EntraLogin(print).token(HUB_SCOPE)
    assert caplog.records == []


def test_a_token_is_renewed_before_it_expires(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    directory.entra.lasts_s = 200  # Microsoft's client renews one that has less than five minutes
    login = EntraLogin(print)
    first = login.token(HUB_SCOPE)
    assert login.token(HUB_SCOPE) != first


# secrets by reference


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def vault(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Vault, str]]:
    """A Key Vault and the name by which references reach it."""
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    vault = Vault(directory.url, {"registry-password": "vault-canary"})
    with serve(vault.app, tmp_path / "entra") as url:
        yield vault, url.removeprefix("https://")


def test_a_reference_is_read_once_and_again_after_a_while_so_that_rotation_is_taken(
    vault: tuple[Vault, str],
) -> None:
    server, name = vault
    clock, said = Clock(), list[str]()
    secrets = VaultSecrets(EntraLogin(print), name, clock, said.append)
    for reference in (f"keyvault://{name}/registry-password", "keyvault://registry-password"):
        assert secrets.fetch(reference, "registry.password") == "vault-canary"
    reads = len(server.reads)
    server.secrets["registry-password"] = "rotated-canary"
    assert secrets.fetch("keyvault://registry-password", "registry.password") == "vault-canary"
    assert len(server.reads) == reads
    clock.now = KEPT_S
    assert secrets.fetch("keyvault://registry-password", "registry.password") == "rotated-canary"
    server.secrets["registry-password"] = "again-canary"
    assert secrets.fetch("keyvault://registry-password", "registry.password", afresh=True) == "again-canary"
    assert server.challenges >= 1
    assert not any("canary" in line for line in said)
    assert said[0] == f"registry.password: secret registry-password of Key Vault {name}"


def test_a_denied_vault_says_which_role_is_missing_for_whom(vault: tuple[Vault, str]) -> None:
    server, name = vault
    server.forbidden = True
    secrets = VaultSecrets(EntraLogin(print), name, Clock(), print)
    with pytest.raises(LoginError, match="role 'Key Vault Secrets User' is missing") as caught:
        secrets.fetch("keyvault://registry-password", "registry.password")
    assert f"application {CLIENT}" in caught.value.problem
    assert "az role assignment create" in caught.value.fix


def test_a_missing_secret_names_vault_and_secret(vault: tuple[Vault, str]) -> None:
    secrets = VaultSecrets(EntraLogin(print), vault[1], Clock(), print)
    with pytest.raises(LoginError, match="has no secret absent"):
        secrets.fetch("keyvault://absent", "registry.password")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        pytest.param("keyvault://a/b/c", "names no secret", id="too many parts"),
        pytest.param("keyvault://v/under_score", "names no secret", id="a letter that no secret's name has"),
        pytest.param("keyvault://name", "no vault is set", id="a short reference without vault.name"),
    ],
)
def test_a_reference_that_cannot_be_read_is_a_usage_error(reference: str, problem: str) -> None:
    secrets = VaultSecrets(EntraLogin(print), "", Clock(), print)
    with pytest.raises(UsageError, match=problem):
        secrets.fetch(reference, "registry.password")


# a key that never leaves its vault


def test_a_key_of_the_vault_signs_what_its_public_half_verifies(
    vault: tuple[Vault, str], tmp_path: Path
) -> None:
    server, name = vault
    server.keys["ferry"] = ec.generate_private_key(ec.SECP256R1())
    trust = tmp_path / "trust"
    signers = {
        "ci": VaultSigner(EntraLogin(print), f"keyvault-key://{name}/ferry", ""),
        "ann": VaultSigner(EntraLogin(print), "keyvault-key://ferry", name),
    }
    keys = KeyFolder(tmp_path / "keys", trust, may_trust=True, given=signers)
    for author in signers:
        for number in range(3):  # halves of a signature may begin with zeros
            message = f"message {number}".encode()
            signature = keys.sign(author, message)
            assert keys.distrust(author, keys.fingerprint(author), signature, message) == ""
            assert "does not fit" in keys.distrust(author, keys.fingerprint(author), signature, b"another")
    assert server.signed == ["ferry"] * 6
    assert not (tmp_path / "keys").exists(), "no private key touches the disk"


@pytest.mark.parametrize(
    ("key", "forbidden", "problem", "fix"),
    [
        pytest.param("absent", False, "has no key absent", "az keyvault key create", id="no such key"),
        pytest.param(
            "ferry", True, "role 'Key Vault Crypto User' is missing", "role assignment", id="denied"
        ),
        pytest.param("wide", False, "is not an ECDSA P-256 key", "--curve P-256", id="another curve"),
    ],
)
def test_a_key_that_cannot_sign_says_why(
    vault: tuple[Vault, str], key: str, forbidden: bool, problem: str, fix: str
) -> None:
    server, name = vault
    server.keys |= {
        "ferry": ec.generate_private_key(ec.SECP256R1()),
        "wide": ec.generate_private_key(ec.SECP384R1()),
    }
    server.forbidden = forbidden
    with pytest.raises((LoginError, UsageError), match=problem) as caught:
        VaultSigner(EntraLogin(print), f"keyvault-key://{name}/{key}", "").sign(b"message")
    assert fix in caught.value.fix
    assert server.signed == []


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        pytest.param("keyvault-key://a/b/c", "names no key", id="too many parts"),
        pytest.param("keyvault-key://ferry", "no vault is set", id="a short reference without vault.name"),
    ],
)
def test_a_reference_to_no_key_is_a_usage_error(reference: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        VaultSigner(EntraLogin(print), reference, "")


# the hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


def owner(hub: RunningHub) -> str:
    return str(json.loads((hub.state / "connection.json").read_text())["connection_string"])


@pytest.fixture
def entra_hub(
    directory: Directory, hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[EntraHub, HubClient, list[float]]]:
    """The hub behind Entra's door, a client signed in to it, and the pauses that the client made."""
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    door = EntraHub(hub, parse_connection_string(owner(hub)).key)
    pauses: list[float] = []
    with serve(door.app, tmp_path / "entra") as url:
        entra = EntraLogin(print)
        login = EntraHubLogin(url.removeprefix("https://"), entra.token, entra.identity)
        client = HubClient(login, str(directory.ca_file), sleep=pauses.append)
        yield door, client, pauses
        client.close()


def test_entras_token_drives_the_hub_as_a_connection_string_does(
    entra_hub: tuple[EntraHub, HubClient, list[float]], hub: RunningHub
) -> None:
    _, client, _ = entra_hub
    client.create_device("entra-1", {"site": "a"})
    by_key = HubClient(SharedKeyLogin(lambda _: owner(hub), time.time), str(hub.ca_file))
    try:
        assert client.device_twin("entra-1")["tags"] == by_key.device_twin("entra-1")["tags"] == {"site": "a"}
        assert [twin["deviceId"] for twin in client.devices("tags.site = 'a'")] == ["entra-1"]
    finally:
        by_key.close()


def test_a_token_that_the_hub_says_has_expired_is_renewed_once(
    entra_hub: tuple[EntraHub, HubClient, list[float]], directory: Directory
) -> None:
    door, client, _ = entra_hub
    directory.entra.lasts_s = 200  # so that the next one asked for is another
    client.configurations()
    door.expired.add(door.seen[-1])
    assert client.configurations() == []
    assert len(set(door.seen)) >= 2


def test_a_hub_that_denies_says_which_role_on_which_hub(
    entra_hub: tuple[EntraHub, HubClient, list[float]],
) -> None:
    door, client, _ = entra_hub
    door.forbidden = True
    with pytest.raises(HubError, match="403") as caught:
        client.configurations()
    assert f"application {CLIENT}" in caught.value.fix
    assert "'IoT Hub Data Contributor' on the hub 127.0.0.1" in caught.value.fix
    assert not any(token in str(caught.value) for token in door.seen)


def test_a_throttled_call_waits_as_long_as_the_hub_says(
    entra_hub: tuple[EntraHub, HubClient, list[float]],
) -> None:
    door, client, pauses = entra_hub
    door.throttled = ["7", "Thu, 01 Jan 1970 00:00:00 GMT", "-5", "9999"]
    assert client.configurations() == []
    assert pauses == [7.0, 0.0, 4.0, 60.0]


def test_a_hub_that_throttles_without_end_is_given_up_and_said_to_be_worth_another_try(
    entra_hub: tuple[EntraHub, HubClient, list[float]],
) -> None:
    door, client, _ = entra_hub
    door.throttled = ["1"] * 50
    with pytest.raises(HubError, match="429") as caught:
        client.configurations()
    assert caught.value.retryable


# the command line: addresses from a file, secrets from the vault


def list_devices(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What the command says in that project."""
    words = ("--project", str(project), "devices", "list", *options)
    return typed(*words, environment=os.environ)


def test_a_rotated_connection_string_in_the_vault_drives_the_hub(
    vault: tuple[Vault, str], hub: RunningHub, tmp_path: Path
) -> None:
    server, name = vault
    server.secrets |= {"hub": owner(hub)}
    project = tmp_path / "project"
    (project / "environments").mkdir(parents=True)
    (project / "edgeferry.toml").write_text("")
    (project / "environments" / "prod.toml").write_text(
        f'[vault]\nname = "{name}"\n[hub]\nconnection_string = "keyvault://hub"\nca_file = "{hub.ca_file}"\n'
    )
    listed = list_devices(project, "--env", "prod", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    assert isinstance(json.loads(listed.stdout), list)
    assert "hub.connection_string: secret hub of Key Vault" in listed.stderr
    assert parse_connection_string(owner(hub)).key not in listed.stdout + listed.stderr


def test_a_connection_string_of_another_hub_is_never_sent_to_the_environments_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgeferry.toml").write_text('[hub]\nhost = "prod.azure-devices.net"\n')
    string = "HostName=dev.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=Y2FuYXJ5"
    monkeypatch.setenv("EDGEFERRY_HUB__CONNECTION_STRING", string)
    done = list_devices(tmp_path)
    assert done.returncode == 2
    assert "is for dev.azure-devices.net, and hub.host is prod.azure-devices.net" in done.stderr
    assert "Y2FuYXJ5" not in done.stderr


def test_entras_token_goes_to_a_hub_of_azures_only(
    directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    (tmp_path / "edgeferry.toml").write_text('[hub]\nhost = "ferry.azure-devices.net.example.org"\n')
    done = list_devices(tmp_path)
    assert done.returncode == 2
    assert "which is no hub of Azure's" in done.stderr
    assert directory.entra.issued == []
