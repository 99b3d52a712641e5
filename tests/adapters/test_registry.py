"""The registry client against a real registry: TLS, login, uploads, attachments, errors by cause."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgeferry.adapters.registry import RegistryClient
from edgeferry.authority import open_authority
from edgeferry.domain.image import Image, Layer
from edgeferry.engine import Engine
from edgeferry.errors import RegistryError, UsageError
from edgeferry.wire.oci import INDEX, TAR, Run, digest_of, referrers_tag, render_config, render_manifest
from tests.registries import RegistryServer, free_port

RUN = Run(("/server",), (), "1:1", ())
TYPE = "application/vnd.tests.note"


def make_image(
    folder: Path, name: str = "taxi", contents: tuple[bytes, ...] = (b"base" * 999, b"model")
) -> Image:
    """An image whose layers are files in `folder`."""
    layers = []
    for number, content in enumerate(contents):
        path = folder / f"layer{number}-{len(content)}"
        path.write_bytes(content)
        digest = digest_of(content)
        layers.append(Layer(f"layer {number}", str(path), digest, digest, len(content), TAR))
    config = render_config("amd64", layers, RUN, {})
    manifest = render_manifest(config, layers)
    return Image(name, "v1", digest_of(manifest), digest_of(config), manifest, config, tuple(layers), {})


def layered_image(folder: Path, note: str) -> Image:
    """An image that an engine takes: its one layer is a tar with an empty file of that name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(note))
    return make_image(folder, contents=(packed.getvalue(),))


def client_of(server: RegistryServer, prefix: str = "other", **changes: Any) -> RegistryClient:
    login = {"username": "pusher", "password": server.password, "ca_file": server.ca_file, **changes}
    return RegistryClient(server.host, prefix, **login)


@contextmanager
def closing(client: RegistryClient) -> Iterator[RegistryClient]:
    try:
        yield client
    finally:
        client.close()


def test_an_image_is_pushed_whole_and_then_nothing_more(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    assert not registry.has("taxi", image.digest)
    assert registry.push(image) == image.size_bytes
    assert registry.has("taxi", image.digest)
    assert registry.push(image) == 0


def test_a_new_model_uploads_its_own_layer_only(registry: RegistryClient, tmp_path: Path) -> None:
    registry.push(make_image(tmp_path))
    other = make_image(tmp_path, contents=(b"base" * 999, b"another model"))
    assert registry.push(other) == len(b"another model") + len(other.config) + len(other.manifest)


def test_a_blob_that_the_registry_lost_is_uploaded_again(
    registry: RegistryClient, registry_server: RegistryServer, tmp_path: Path
) -> None:
    image = make_image(tmp_path, contents=(b"lost" * 100,))
    registry.push(image)
    registry_server.blob(image.layers[0].digest).unlink()
    assert registry.push(image) == 400


def test_references_name_host_prefix_and_digest(registry_server: RegistryServer) -> None:
    assert RegistryClient("reg:5443", "a/b").reference("taxi", "sha256:1") == "reg:5443/a/b/taxi@sha256:1"
    assert RegistryClient("reg:5443").reference("taxi", "sha256:1") == "reg:5443/taxi@sha256:1"


@pytest.mark.engine
def test_the_engine_pulls_what_was_pushed_by_its_digest(
    registry: RegistryClient, registry_server: RegistryServer, engine_url: str, tmp_path: Path
) -> None:
    image = layered_image(tmp_path, "hello")
    registry.push(image)
    engine = Engine(engine_url)
    reference = registry.reference("taxi", image.digest)
    try:
        engine.pull(reference, "pusher", registry_server.password)
        facts = engine.image(reference)
        assert facts is not None
        assert facts.id == image.config_digest
    finally:
        engine.remove_image(reference)
        engine.close()


def test_what_a_first_pull_transfers_is_told_blob_by_blob(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    told = registry.blob_sizes(registry.reference(image.name, image.digest))
    expected = {layer.digest: layer.size_bytes for layer in image.layers}
    assert told == expected | {image.config_digest: len(image.config)}


def test_what_another_registry_holds_and_what_is_not_there_has_no_size(
    registry: RegistryClient, tmp_path: Path
) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    assert registry.blob_sizes(f"mcr.microsoft.com/azureiotedge-agent@{image.digest}") is None
    assert registry.blob_sizes(f"{registry.host}/elsewhere/{image.name}@{image.digest}") is None
    assert registry.blob_sizes(registry.reference(image.name, "sha256:" + "0" * 64)) is None
    assert registry.blob_sizes("debian") is None


def test_a_tampered_layer_is_refused_and_leaves_no_image(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path, contents=(b"model of today",))
    Path(image.layers[0].path).write_bytes(b"model of never")
    with pytest.raises(RegistryError, match="DIGEST_INVALID") as caught:
        registry.push(image)
    assert not caught.value.retryable
    assert "package again" in caught.value.fix
    assert not registry.has("taxi", image.digest)


def test_a_layer_cut_short_is_refused(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path, contents=(b"model cut short",))
    Path(image.layers[0].path).write_bytes(b"model")
    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        registry.push(image)


def test_a_layer_that_is_gone_is_named(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path, contents=(b"model that went",))
    Path(image.layers[0].path).unlink()
    with pytest.raises(RegistryError, match=r"layer0-15 cannot be read"):
        registry.push(image)


# what is attached


def test_a_body_is_attached_and_found_by_its_type(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    assert registry.attached("taxi", image.digest, TYPE) == []
    registry.attach("taxi", image.digest, TYPE, b"first")
    registry.attach("taxi", image.digest, "application/other", b"other")
    registry.attach("taxi", image.digest, TYPE, b"second")
    assert registry.attached("taxi", image.digest, TYPE) == [b"first", b"second"]
    assert registry.attached("taxi", image.digest, "application/other") == [b"other"]


def test_attaching_the_same_again_changes_nothing(registry: RegistryClient, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    assert registry.attach("taxi", image.digest, TYPE, b"x") == registry.attach(
        "taxi", image.digest, TYPE, b"x"
    )
    assert registry.attached("taxi", image.digest, TYPE) == [b"x"]


def test_a_removed_image_takes_its_tag_and_attachments_along_and_leaves_others(
    registry: RegistryClient, tmp_path: Path
) -> None:
    image = make_image(tmp_path)
    other = replace(make_image(tmp_path, contents=(b"base" * 999, b"another model")), tag="v2")
    for each in (image, other):
        registry.push(each)
        registry.attach("taxi", each.digest, TYPE, b"evidence of " + each.digest.encode())
    registry.remove("taxi", image.digest)
    assert not registry.has("taxi", image.digest)
    assert not registry.has("taxi", image.tag)
    assert registry.attached("taxi", image.digest, TYPE) == []
    assert registry.has("taxi", other.digest)
    assert registry.has("taxi", other.tag)
    assert len(registry.attached("taxi", other.digest, TYPE)) == 1
    registry.remove("taxi", image.digest)


def test_nothing_can_be_attached_to_an_image_that_is_not_there(registry: RegistryClient) -> None:
    with pytest.raises(RegistryError, match="not in the registry"):
        registry.attach("taxi", "sha256:" + "0" * 64, TYPE, b"x")


def test_what_others_listed_in_the_index_stays(
    registry: RegistryClient, registry_server: RegistryServer, tmp_path: Path
) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    registry.attach("taxi", image.digest, "application/vnd.dev.cosign", b"signature of another tool")
    prefix = registry.reference("", "").removeprefix(f"{registry_server.host}/").removesuffix("/@")
    with closing(client_of(registry_server, prefix)) as second:
        second.attach("taxi", image.digest, TYPE, b"ours")
    assert registry.attached("taxi", image.digest, "application/vnd.dev.cosign") == [
        b"signature of another tool"
    ]
    assert registry.attached("taxi", image.digest, TYPE) == [b"ours"]


def test_a_body_that_changed_in_the_registrys_storage_is_not_used(
    registry: RegistryClient, registry_server: RegistryServer, tmp_path: Path
) -> None:
    image = make_image(tmp_path)
    registry.push(image)
    registry.attach("taxi", image.digest, TYPE, b"passed: false")
    registry_server.blob(digest_of(b"passed: false")).write_bytes(b"passed: true!")
    with pytest.raises(RegistryError, match="nothing from it was used"):
        registry.attached("taxi", image.digest, TYPE)


# errors by cause


def test_a_wrong_password_is_said_so_and_not_worth_a_retry(registry_server: RegistryServer) -> None:
    with closing(client_of(registry_server, password="wrong-secret")) as client:
        with pytest.raises(RegistryError, match="refused the login of pusher") as caught:
            client.has("taxi", "sha256:" + "0" * 64)
        assert not caught.value.retryable
        assert "EDGEFERRY_REGISTRY__PASSWORD" in caught.value.fix
        assert "wrong-secret" not in str(caught.value)


def test_a_password_that_was_rotated_is_fetched_once_the_old_one_is_refused(
    registry_server: RegistryServer,
) -> None:
    fetched: list[str] = []

    def renew() -> tuple[str, str]:
        fetched.append("again")
        return "pusher", registry_server.password

    client = RegistryClient(
        registry_server.host, "rotated", "pusher", "the old one", registry_server.ca_file, renew=renew
    )
    try:
        assert client.has("taxi", "sha256:" + "0" * 64) is False
        assert fetched == ["again"]
    finally:
        client.close()


def test_a_missing_login_is_said_so(registry_server: RegistryServer) -> None:
    with (
        closing(client_of(registry_server, username="", password="")) as client,
        pytest.raises(RegistryError, match="refused a request without login"),
    ):
        client.has("taxi", "sha256:" + "0" * 64)


def test_a_registry_that_is_down_is_worth_a_retry() -> None:
    host = f"127.43.0.2:{free_port('127.43.0.2')}"
    with closing(RegistryClient(host)) as client:
        with pytest.raises(RegistryError, match=f"{host} does not answer") as caught:
            client.has("taxi", "sha256:" + "0" * 64)
        assert caught.value.retryable


def test_an_unknown_authority_is_not_trusted_whatever_the_environment_says(
    registry_server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", registry_server.ca_file)
    monkeypatch.setenv("SSL_CERT_FILE", registry_server.ca_file)
    other = Path(registry_server.folder) / "other"
    open_authority(other)
    with closing(client_of(registry_server, ca_file=str(other / "ca.pem"))) as client:
        with pytest.raises(RegistryError, match="is not trusted") as caught:
            client.has("taxi", "sha256:" + "0" * 64)
        assert "registry.ca_file" in caught.value.fix
        assert not caught.value.retryable


def test_a_ca_file_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        RegistryClient("127.0.0.1:1", ca_file="/nowhere/ca.pem").has("taxi", "sha256:" + "0" * 64)


def test_a_name_that_does_not_resolve_is_said_so() -> None:
    with (
        closing(RegistryClient("registry.invalid")) as client,
        pytest.raises(RegistryError, match="does not resolve"),
    ):
        client.has("taxi", "sha256:" + "0" * 64)


# registries of another kind: newer, with tokens, lying. We do not ship them and cannot run them here.


class OtherRegistry(BaseHTTPRequestHandler):
    """The least of a distribution-spec 1.1 registry: bearer tokens, a referrers API, storage elsewhere."""

    protocol_version = "HTTP/1.1"
    blobs: ClassVar[dict[str, bytes]] = {}
    manifests: ClassVar[dict[str, bytes]] = {}
    seen: ClassVar[list[tuple[str, str, str]]] = []
    fail_with: ClassVar[int] = 0
    lie: ClassVar[bool] = False
    realm: ClassVar[str] = ""

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        auth = self.headers.get("authorization", "")
        self.seen.append((self.command, self.path, auth))
        host = self.headers["host"]
        if self.path.startswith("/token"):
            ok = auth.startswith("Basic ")
            self.answer(200 if ok else 401, b'{"token":"t0ken","expires_in":300}' if ok else b"{}")
        elif self.path.startswith("/storage/"):
            digest = self.path.partition("digest=")[2].replace("%3A", ":")
            self.blobs[digest] = body
            self.answer(201)
        elif auth != "Bearer t0ken":
            realm = self.realm or f"https://{host}/token"
            self.answer(401, www_authenticate=f'Bearer realm="{realm}",service="other",scope="x"')
        elif self.fail_with:
            self.answer(self.fail_with, b'{"errors":[{"code":"UNAVAILABLE","message":"later"}]}')
        else:
            self.route(body, host)

    def route(self, body: bytes, host: str) -> None:
        kind, _, rest = self.path.removeprefix("/v2/p/taxi/").partition("/")
        if kind == "referrers":
            listed = [
                {**json.loads(m), "digest": d, "size": len(m), "mediaType": json.loads(m)["mediaType"]}
                for d, m in self.manifests.items()
                if json.loads(m).get("subject", {}).get("digest") == rest
            ]
            self.answer(200, json.dumps({"manifests": listed}).encode(), content_type=INDEX)
        elif self.command == "POST":
            port = host.partition(":")[2]
            self.answer(202, location=f"https://localhost:{port}/storage/1?state=a")
        elif self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            self.manifests[digest] = body
            told = "sha256:" + "0" * 64 if self.lie else digest
            subject = json.loads(body).get("subject", {}).get("digest", "")
            extra = {"oci_subject": subject} if subject else {}
            self.answer(201, docker_content_digest=told, **extra)
        else:
            found = (self.blobs if kind == "blobs" else self.manifests).get(rest)
            self.answer(404) if found is None else self.answer(200, found, docker_content_digest=rest)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815


@contextmanager
def other_registry(folder: Path, **marks: Any) -> Iterator[tuple[RegistryClient, type[OtherRegistry]]]:
    fresh = {"blobs": {}, "manifests": {}, "seen": [], **marks}
    handler = type("Handler", (OtherRegistry,), fresh)
    authority = open_authority(folder)
    certificate, key = authority.issue(folder, "other", ("localhost",), ("127.0.0.1",))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    client = RegistryClient(
        f"127.0.0.1:{server.server_port}", "p", "me", "secret", str(authority.ca_file), sleep=lambda _: None
    )
    try:
        yield client, handler
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_bearer_token_is_fetched_once_for_each_right_and_never_sent_to_storage_elsewhere(
    tmp_path: Path,
) -> None:
    with other_registry(tmp_path) as (client, seen_by):
        image = make_image(tmp_path)
        assert client.push(image) == image.size_bytes
        assert client.push(image) == len(image.manifest)  # this one knows no tags
        tokens = [path for _, path, _ in seen_by.seen if path.startswith("/token")]
        assert tokens == [
            f"/token?service=other&scope=repository%3Ap%2Ftaxi%3A{right}" for right in ("pull", "pull%2Cpush")
        ]
        stored = [auth for _, path, auth in seen_by.seen if path.startswith("/storage/")]
        assert stored == ["", "", ""]


def test_the_referrers_api_is_used_where_there_is_one(tmp_path: Path) -> None:
    with other_registry(tmp_path) as (client, seen_by):
        image = make_image(tmp_path)
        client.push(image)
        client.attach("taxi", image.digest, TYPE, b"note")
        assert client.attached("taxi", image.digest, TYPE) == [b"note"]
        written = [path for method, path, _ in seen_by.seen if method == "PUT"]
        assert not any(referrers_tag(image.digest) in path for path in written)


def test_a_registry_that_answers_with_another_digest_is_not_believed(tmp_path: Path) -> None:
    with (
        other_registry(tmp_path, lie=True) as (client, _),
        pytest.raises(RegistryError, match="should be sha256"),
    ):
        client.push(make_image(tmp_path))


@pytest.mark.parametrize(
    ("status", "retryable"), [(500, True), (503, True), (429, True), (403, False), (400, False)]
)
def test_a_failing_registry_says_why_and_whether_to_retry(
    tmp_path: Path, status: int, retryable: bool
) -> None:
    with other_registry(tmp_path, fail_with=status) as (client, _):
        with pytest.raises(RegistryError, match=f"{status}: UNAVAILABLE later") as caught:
            client.attached("taxi", "sha256:" + "0" * 64, TYPE)
        assert caught.value.retryable is retryable


def test_the_password_is_not_sent_to_a_realm_without_tls(tmp_path: Path) -> None:
    with (
        other_registry(tmp_path, realm="http://127.0.0.1:1/token") as (client, _),
        pytest.raises(RegistryError, match="not over TLS"),
    ):
        client.has("taxi", "sha256:" + "0" * 64)


def test_a_large_layer_is_not_read_into_memory(registry: RegistryClient, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    with path.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    layer = Layer("large", str(path), digest, digest, path.stat().st_size, TAR)
    config = render_config("amd64", [layer], RUN, {})
    manifest = render_manifest(config, [layer])
    image = Image("large", "v1", digest_of(manifest), digest_of(config), manifest, config, (layer,), {})
    tracemalloc.start()
    try:
        assert registry.push(image) == image.size_bytes
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
