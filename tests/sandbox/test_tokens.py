"""The local registry believes its token endpoint: real registry, real engine, real client."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from edgeferry.adapters.registry import RegistryClient
from edgeferry.domain.image import Image
from edgeferry.engine import Engine
from edgeferry.errors import EngineError, RegistryError
from edgeferry.sandbox.accounts import create_pull_token, delete_pull_token, regenerate_pull_token
from edgeferry.sandbox.issuer import SERVICE, open_issuer
from edgeferry.sandbox.registry import tokens_command
from edgeferry.wire.registry_token import parse_jwt
from tests.adapters.test_registry import closing, layered_image, make_image
from tests.needs import lack
from tests.registries import RegistryServer, free_port

PULL_A = "repository:a/b:pull"


@pytest.fixture
def client(registry_server: RegistryServer) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=registry_server.ca_file)
    with httpx.Client(verify=context, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def token(registry_server: RegistryServer) -> Iterator[tuple[str, str]]:
    """A token that may pull from `a/b` and all below `t/`."""
    name = f"token-{uuid.uuid4().hex[:8]}"
    yield create_pull_token(registry_server.folder, name, ["a/b", "t/*"])
    if name in (registry_server.folder / "registry" / "accounts.json").read_text():
        delete_pull_token(registry_server.folder, name)


def granted(answer: httpx.Response) -> Any:
    """What the answered token grants."""
    assert answer.status_code == 200, answer.text
    return parse_jwt(answer.json()["access_token"]).claims["access"]


def entry(name: str, *actions: str) -> dict[str, Any]:
    return {"type": "repository", "name": name, "actions": list(actions)}


def test_get_with_basic_grants_each_scope_what_the_account_may(
    client: httpx.Client, registry_server: RegistryServer
) -> None:
    query = [
        ("service", SERVICE),
        ("account", "puller"),
        ("scope", "repository:a/b:pull,push repository:c:push"),
        ("scope", "repository:d:pull"),
    ]
    answer = client.get(registry_server.realm, params=query, auth=("puller", "right"))
    assert granted(answer) == [entry("a/b", "pull"), entry("d", "pull")]
    assert answer.json()["token"] == answer.json()["access_token"]
    assert "refresh_token" not in answer.json()
    assert answer.headers["cache-control"] == "no-store"


def test_post_with_a_password_and_then_the_refresh_token_grants_the_same(
    client: httpx.Client, registry_server: RegistryServer, token: tuple[str, str]
) -> None:
    form = {"service": SERVICE, "client_id": "tests", "scope": PULL_A}
    login = {"grant_type": "password", "username": token[0], "password": token[1], "access_type": "offline"}
    first = client.post(registry_server.realm, data={**form, **login})
    assert granted(first) == [entry("a/b", "pull")]
    again = {**form, "grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"]}
    assert granted(client.post(registry_server.realm, data=again)) == [entry("a/b", "pull")]
    regenerate_pull_token(registry_server.folder, token[0])
    assert client.post(registry_server.realm, data=again).status_code == 401


@pytest.mark.parametrize("when", ["deleted", "forged", "an access token", "expired"])
def test_a_refresh_token_that_is_not_good_is_refused(
    client: httpx.Client, registry_server: RegistryServer, token: tuple[str, str], when: str, tmp_path: Path
) -> None:
    query = {"service": SERVICE, "offline_token": "true"}
    said = client.get(registry_server.realm, params=query, auth=token).json()
    refresh = said["refresh_token"]
    claims = dict(parse_jwt(refresh).claims)
    if when == "deleted":
        delete_pull_token(registry_server.folder, token[0])
    elif when == "forged":
        refresh = open_issuer(tmp_path / "other").render(claims, claims["iat"], 1000)
    elif when == "expired":
        issuer = open_issuer(registry_server.folder / "registry" / "issuer")
        refresh = issuer.render(claims, claims["iat"] - 1000, 500)
    else:
        refresh = said["access_token"]
    form = {"service": SERVICE, "grant_type": "refresh_token", "refresh_token": refresh}
    assert client.post(registry_server.realm, data=form).status_code == 401


@pytest.mark.parametrize(
    ("login", "query", "status"),
    [
        pytest.param(("puller", "wrong"), {}, 401, id="wrong password"),
        pytest.param(("nobody", "right"), {}, 401, id="unknown account"),
        pytest.param(None, {}, 401, id="no login"),
        pytest.param(("puller", "right"), {"account": "pusher"}, 401, id="in another's name"),
        pytest.param(("puller", "right"), {"service": "another"}, 400, id="another registry"),
        pytest.param(("puller", "right"), {"scope": "nonsense"}, 400, id="no scope"),
    ],
)
def test_what_is_no_login_gets_no_token(
    client: httpx.Client,
    registry_server: RegistryServer,
    login: tuple[str, str] | None,
    query: dict[str, str],
    status: int,
) -> None:
    asked = {"service": SERVICE, "scope": PULL_A, **query}
    answer = client.get(registry_server.realm, params=asked, auth=login)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["code"]
    assert "token" not in answer.json()


def test_a_form_that_is_none_is_refused(client: httpx.Client, registry_server: RegistryServer) -> None:
    good = f"grant_type=password&username=puller&password=right&service={quote_plus(SERVICE)}".encode()
    assert client.post(registry_server.realm, content=good).status_code == 200
    for body in (b"", good.replace(b"=password", b"=magic"), good + b"&x=" + b"y" * 70_000):
        assert client.post(registry_server.realm, content=body).status_code == 400


def test_the_registry_takes_access_tokens_of_its_own_issuer_only(
    client: httpx.Client, registry_server: RegistryServer, tmp_path: Path
) -> None:
    query = {"service": SERVICE, "scope": PULL_A, "offline_token": "true"}
    said = client.get(registry_server.realm, params=query, auth=("puller", "right")).json()
    claims = parse_jwt(said["access_token"]).claims
    forged = open_issuer(tmp_path / "other").render(claims, claims["iat"], 300)
    ours = open_issuer(registry_server.folder / "registry" / "issuer")
    for bearer, status in (
        (said["access_token"], 404),
        (said["refresh_token"], 401),
        (forged, 401),
        (ours.render(claims, claims["iat"] - 1000, 300), 401),
    ):
        answer = client.get(
            f"https://{registry_server.host}/v2/a/b/manifests/v1",
            headers={"authorization": f"Bearer {bearer}"},
        )
        assert answer.status_code == status


def test_no_password_or_token_is_logged(client: httpx.Client, registry_server: RegistryServer) -> None:
    query = {"service": SERVICE, "scope": PULL_A, "account": "puller"}
    good = client.get(registry_server.realm, params=query, auth=("puller", registry_server.password))
    client.get(registry_server.realm, params=query, auth=("puller", "not-the-password"))
    log = (registry_server.folder / "log").read_text()
    assert "issued account=puller" in log
    assert "refused account='puller'" in log
    assert good.json()["token"] not in log
    assert "not-the-password" not in log


# a login that may only pull, with our client


def test_a_login_that_may_only_pull_pulls_and_neither_pushes_nor_deletes(
    registry: RegistryClient, registry_server: RegistryServer, tmp_path: Path
) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    prefix = registry.reference("", "").removeprefix(f"{registry_server.host}/").removesuffix("/@")
    other = make_image(tmp_path, contents=(b"another",))
    with closing(
        RegistryClient(registry_server.host, prefix, "puller", "right", registry_server.ca_file)
    ) as puller:
        assert puller.has("taxi", image.digest)
        with pytest.raises(RegistryError, match=f"puller may not push to {prefix}/taxi") as caught:
            puller.push(other)
        assert "the right `push`" in caught.value.fix
        assert not caught.value.retryable
        with pytest.raises(RegistryError, match="may not delete from"):
            puller.remove("taxi", image.digest)
    assert registry.has("taxi", image.digest)
    assert not registry.has("taxi", other.digest)


def test_a_token_for_some_repositories_does_not_read_others(
    registry_server: RegistryServer, token: tuple[str, str]
) -> None:
    login = (*token, registry_server.ca_file)
    with closing(RegistryClient(registry_server.host, "", *login)) as client:
        assert not client.has("a/b", "v1")
        assert not client.has("t/deep/down", "v1")
        with pytest.raises(RegistryError, match=f"{token[0]} may not pull from other"):
            client.has("other", "v1")


# a login that may only pull, with a real engine


class Docker:
    """The engine's own command line, with a configuration of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "DOCKER_HOST": url, "DOCKER_CONFIG": str(folder)}

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *words],
            input=stdin,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def docker(engine_url: str, tmp_path: Path) -> Docker:
    if not shutil.which("docker"):
        lack("no docker command is installed")
    folder = tmp_path / "docker"
    folder.mkdir()
    return Docker(engine_url, folder)


@pytest.fixture
def pushed(registry_server: RegistryServer, tmp_path: Path) -> tuple[Image, str]:
    """An image below `t/`, and its reference without digest."""
    image = layered_image(tmp_path, note=uuid.uuid4().hex)
    with closing(
        RegistryClient(registry_server.host, "t", "pusher", "right", registry_server.ca_file)
    ) as pusher:
        pusher.push(image)
    return image, f"{registry_server.host}/t/{image.name}"


@pytest.mark.engine
@pytest.mark.parametrize("how", ["a password", "docker login"])
def test_an_engine_pulls_with_a_pull_only_token_and_cannot_push(
    docker: Docker,
    pushed: tuple[Image, str],
    registry_server: RegistryServer,
    token: tuple[str, str],
    how: str,
) -> None:
    image, name = pushed
    if how == "docker login":
        words = ("login", "--username", token[0], "--password-stdin", registry_server.host)
        logged_in = docker(*words, stdin=token[1])
        assert logged_in.returncode == 0, logged_in.stderr
        kept = json.loads((docker.folder / "config.json").read_text())["auths"][registry_server.host]
        assert "identitytoken" in kept  # our refresh token
    else:
        auth = base64.b64encode(":".join(token).encode()).decode()
        (docker.folder / "config.json").write_text(
            json.dumps({"auths": {registry_server.host: {"auth": auth}}})
        )
    try:
        pulled = docker("pull", f"{name}@{image.digest}")
        assert pulled.returncode == 0, pulled.stderr
        assert docker("tag", f"{name}@{image.digest}", f"{name}:mine").returncode == 0
        refused = docker("push", f"{name}:mine")
        assert refused.returncode != 0
        assert "denied" in refused.stderr or "unauthorized" in refused.stderr
        elsewhere = docker("pull", f"{registry_server.host}/other/{image.name}:v1")
        assert "denied" in elsewhere.stderr or "unauthorized" in elsewhere.stderr
    finally:
        docker("rmi", "--force", f"{name}:mine", f"{name}@{image.digest}")
    with closing(
        RegistryClient(registry_server.host, "t", "pusher", "right", registry_server.ca_file)
    ) as pusher:
        assert not pusher.has(image.name, "mine")


@pytest.mark.engine
def test_an_engine_pushes_with_a_login_that_may(
    docker: Docker, pushed: tuple[Image, str], registry_server: RegistryServer
) -> None:
    image, name = pushed
    words = ("login", "--username", "pusher", "--password-stdin", registry_server.host)
    assert docker(*words, stdin="right").returncode == 0
    try:
        assert docker("pull", f"{name}@{image.digest}").returncode == 0
        assert docker("tag", f"{name}@{image.digest}", f"{name}:mine").returncode == 0
        done = docker("push", f"{name}:mine")
        assert done.returncode == 0, done.stderr
    finally:
        docker("rmi", "--force", f"{name}:mine", f"{name}@{image.digest}")


@pytest.mark.engine
def test_the_engine_of_a_device_says_when_its_login_is_refused(
    engine_url: str, pushed: tuple[Image, str], token: tuple[str, str]
) -> None:
    image, name = pushed
    engine = Engine(engine_url)
    reference = f"{name}@{image.digest}"
    try:
        for login in ((), (token[0], "wrong"), ("nobody", "right")):
            with pytest.raises(EngineError, match="refused the login"):
                engine.pull(reference, *login)
        engine.pull(reference, *token)
        assert engine.image(reference) is not None
    finally:
        engine.remove_image(reference)
        engine.close()


def test_an_endpoint_that_cannot_listen_ends_with_exit_code_3(registry_server: RegistryServer) -> None:
    taken = tokens_command(registry_server.folder / "registry", "127.43.0.1", registry_server.tokens_port)
    assert subprocess.run(taken, capture_output=True, timeout=30, check=False).returncode == 3
    nowhere = tokens_command(registry_server.folder / "nowhere", "127.43.0.1", free_port("127.43.0.1"))
    assert subprocess.run(nowhere, capture_output=True, timeout=30, check=False).returncode == 3
