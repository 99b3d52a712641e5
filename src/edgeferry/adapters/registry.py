"""An OCI registry over HTTPS, as distribution-spec 1.1 has it. Implements the `Registry` port.

Blobs go up whole (POST, then PUT streamed from the file), the manifest last, so that an image that can be
named is complete. Every digest the registry answers with, and every body it sends, is checked. What is
attached to an image points to it by `subject`; where the registry has no referrers API, an index under the
tag `sha256-<hex>` lists it as well.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urljoin

import httpx

from edgeferry.adapters.registry_login import Login
from edgeferry.adapters.registry_transport import THROTTLED, Body, Transport
from edgeferry.domain.image import Image
from edgeferry.errors import RegistryError, UsageError
from edgeferry.wire.oci import (
    EMPTY_BODY,
    INDEX,
    MANIFEST,
    Descriptor,
    digest_of,
    is_digest,
    is_index,
    parse_index,
    parse_manifest,
    parse_reference,
    referrers_tag,
    render_artifact,
    render_index,
)
from edgeferry.wire.registry_token import DELETE, PULL, PUSH

_ACCEPT = f"{MANIFEST}, {INDEX}"
_MOST_BODY_BYTES = 16 * 1024 * 1024
_ATTEMPTS = 5
_RIGHTS: Mapping[str, str] = {"GET": PULL, "HEAD": PULL, "DELETE": DELETE}
"""What a request needs; others push."""


class RegistryClient:
    """The registry at `host` (`host:port`), always over TLS; `ca_file` "" trusts the system's authorities.

    `prefix` stands before every name. The login is `username` and `password`, or at Azure's registry
    `aad_token`: a fresh Microsoft Entra access token for `https://containerregistry.azure.net/.default` each
    time it is called; where it is given, it is what counts. `renew` gives user name and
    password afresh when they are refused. Nothing is read from the environment. `jitter`
    gives numbers from 0 to 1.
    """

    def __init__(
        self,
        host: str,
        prefix: str = "",
        username: str = "",
        password: str = "",
        ca_file: str = "",
        *,
        aad_token: Callable[[], str] | None = None,
        renew: Callable[[], tuple[str, str]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.host = host
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._transport = Transport(host, ca_file, sleep, now, jitter)
        self._login = Login(self._transport, username, password, aad_token, now, renew)

    def close(self) -> None:
        """Ends its connections; the next call opens others."""
        self._transport.close()

    def reference(self, name: str, digest: str) -> str:
        """The image reference devices are told: `host:port/prefix/name@digest`."""
        return f"{self.host}/{self._prefix}{name}@{digest}"

    def has(self, name: str, digest: str) -> bool:
        """Whether the registry holds that manifest."""
        return self._head(name, f"manifests/{digest}") is not None

    def find_tag(self, name: str, tag: str) -> str:
        """The digest that the tag points at; "" when there is no such tag."""
        there = self._head(name, f"manifests/{tag}")
        if there is None:
            return ""
        return there.headers.get("docker-content-digest") or digest_of(self._get_manifest(name, tag) or b"")

    def blob_sizes(self, reference: str) -> Mapping[str, int] | None:
        """The bytes of each blob, by digest, that a first pull of the image transfers; None when that cannot
        be told: it is in another registry, not there, or an index of several."""
        try:
            parts = parse_reference(reference)
        except UsageError:  # without a host it is in no registry of ours
            return None
        name = parts.name.removeprefix(self._prefix)
        if parts.host != self.host or not parts.name.startswith(self._prefix):
            return None
        body = self._get_manifest(name, parts.digest or parts.tag or "latest")
        if body is None or is_index(body):
            return None
        manifest = parse_manifest(body)
        return {blob.digest: blob.size_bytes for blob in (manifest.config, *manifest.layers)}

    def push(self, image: Image, on_bytes: Callable[[int], None] = lambda _: None) -> int:
        """The bytes uploaded, 0 when all was there; RegistryError when a layer is not its digest's.
        `on_bytes` hears how many bytes of the layers are there, after each."""
        uploaded = there_bytes = 0
        for layer in image.layers:
            uploaded += self._upload(image.name, layer.digest, layer.size_bytes, Path(layer.path))
            there_bytes += layer.size_bytes
            on_bytes(there_bytes)
        uploaded += self._upload(image.name, image.config_digest, len(image.config), image.config)
        there = self._head(image.name, f"manifests/{image.tag}")
        if there is None or there.headers.get("docker-content-digest") != image.digest:
            self._put_manifest(image.name, image.tag, image.manifest, MANIFEST)
            uploaded += len(image.manifest)
        return uploaded

    def check_push(self, name: str) -> None:
        """The login may push there: an upload is opened, and given up without a byte."""
        opened = self._call("POST", name, "blobs/uploads/", accepted=(202,))
        place = urljoin(str(opened.url), opened.headers.get("location", ""))
        self._call("DELETE", name, place, accepted=(200, 202, 204, 401, 403, 404, 405))

    def remove(self, name: str, digest: str) -> None:
        """The image, its tags and what is attached to it are gone, unless the registry forbids deletion."""
        listing = self._head(name, f"manifests/{referrers_tag(digest)}")
        gone = [each.digest for each in self._referrers(name, digest)]
        if listing is not None and "docker-content-digest" in listing.headers:
            gone.append(listing.headers["docker-content-digest"])
        for each in (*gone, digest):
            self._call("DELETE", name, f"manifests/{each}", accepted=(202, 404, 405))

    def attach(self, name: str, digest: str, artifact_type: str, body: bytes) -> str:
        """The digest of `body`'s own manifest, attached to the image; attaching it again changes nothing."""
        subject = self._get_manifest(name, digest)
        if subject is None:
            raise RegistryError(
                f"{self.reference(name, digest)} is not in the registry", fix="push the image first"
            )
        manifest = render_artifact(artifact_type, body, Descriptor(MANIFEST, digest, len(subject)))
        attached = Descriptor(MANIFEST, digest_of(manifest), len(manifest), artifact_type)
        self._upload(name, digest_of(EMPTY_BODY), len(EMPTY_BODY), EMPTY_BODY)
        self._upload(name, digest_of(body), len(body), body)
        answer = self._put_manifest(name, attached.digest, manifest, MANIFEST)
        if "oci-subject" not in answer.headers:
            self._list(name, referrers_tag(digest), attached)
        return attached.digest

    def attached(self, name: str, digest: str, artifact_type: str) -> Sequence[bytes]:
        """The bodies attached to the image under `artifact_type`, in the registry's order: with the tag
        scheme, oldest first."""
        bodies: list[bytes] = []
        for found in self._referrers(name, digest):
            if found.artifact_type not in ("", artifact_type):
                continue
            manifest = self._get_manifest(name, found.digest)
            if manifest is None:
                continue
            said = parse_manifest(manifest)
            if said.artifact_type == artifact_type and said.subject and said.subject.digest == digest:
                bodies.extend(self._get_blob(name, layer) for layer in said.layers)
        return bodies

    # what is attached

    def _referrers(self, name: str, digest: str) -> tuple[Descriptor, ...]:
        answer = self._call(
            "GET", name, f"referrers/{digest}", headers={"accept": INDEX}, accepted=(200, 404)
        )
        listed = self._get_manifest(name, referrers_tag(digest))
        found = parse_index(answer.content) if answer.status_code == 200 else ()
        return tuple(
            {each.digest: each for each in (*found, *(parse_index(listed) if listed else ()))}.values()
        )

    def _list(self, name: str, tag: str, attached: Descriptor) -> None:
        """The index under `tag` lists `attached` beside all that it listed. A registry has no
        compare-and-swap: the index is read again, and written again when somebody else's write won."""
        for _ in range(_ATTEMPTS):
            body = self._get_manifest(name, tag)
            listed = parse_index(body) if body else ()
            if any(each.digest == attached.digest for each in listed):
                return
            self._put_manifest(name, tag, render_index([*listed, attached]), INDEX)
        body = self._get_manifest(name, tag)
        if not body or all(each.digest != attached.digest for each in parse_index(body)):
            raise RegistryError(
                f"{self.host} did not keep {tag} of {name} as it was written",
                fix="others attach to this image at the same time; try again",
                retryable=True,
            )

    # blobs and manifests

    def _upload(self, name: str, digest: str, size_bytes: int, body: Body) -> int:
        there = self._head(name, f"blobs/{digest}")
        if there is not None and there.headers.get("content-length", str(size_bytes)) == str(size_bytes):
            return 0
        opened = self._call("POST", name, "blobs/uploads/", accepted=(202,))
        place = urljoin(str(opened.url), opened.headers.get("location", ""))
        place += ("&" if "?" in place else "?") + f"digest={quote(digest)}"
        length = len(body) if isinstance(body, bytes) else _size(body)
        headers = {"content-type": "application/octet-stream", "content-length": str(length)}
        answer = self._call("PUT", name, place, headers=headers, body=body, accepted=(201, 204))
        self._check(digest, answer.headers.get("docker-content-digest", digest), f"blob of {name}")
        return length

    def _put_manifest(self, name: str, reference: str, body: bytes, media_type: str) -> httpx.Response:
        answer = self._call(
            "PUT",
            name,
            f"manifests/{reference}",
            headers={"content-type": media_type},
            body=body,
            accepted=(201,),
        )
        digest = digest_of(body)
        self._check(digest, answer.headers.get("docker-content-digest", digest), f"manifest of {name}")
        return answer

    def _get_manifest(self, name: str, reference: str) -> bytes | None:
        answer = self._call(
            "GET", name, f"manifests/{reference}", headers={"accept": _ACCEPT}, accepted=(200, 404)
        )
        if answer.status_code == 404:
            return None
        if is_digest(reference):
            self._check(reference, digest_of(answer.content), f"manifest of {name}")
        return answer.content

    def _get_blob(self, name: str, blob: Descriptor) -> bytes:
        if blob.size_bytes > _MOST_BODY_BYTES:
            raise RegistryError(
                f"what is attached to {name} has {blob.size_bytes} bytes", fix="look at who attached it"
            )
        answer = self._call("GET", name, f"blobs/{blob.digest}", accepted=(200,))
        self._check(blob.digest, digest_of(answer.content), f"blob of {name}")
        return answer.content

    def _head(self, name: str, path: str) -> httpx.Response | None:
        headers = {"accept": _ACCEPT} if path.startswith("manifests/") else {}
        answer = self._call("HEAD", name, path, headers=headers, accepted=(200, 404))
        return answer if answer.status_code == 200 else None

    def _check(self, wanted: str, found: str, what: str) -> None:
        if found != wanted:
            raise RegistryError(
                f"{self.host} has {found} where the {what} should be {wanted}",
                fix="look at the registry's storage; nothing from it was used",
            )

    # one request, with the login it needs

    def _call(
        self,
        method: str,
        name: str,
        path: str,
        *,
        accepted: Sequence[int],
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> httpx.Response:
        """The answer to a request about repository `name`; RegistryError for a status not `accepted`."""
        repository, right = f"{self._prefix}{name}", _RIGHTS.get(method, PUSH)
        url = path if "://" in path else f"https://{self.host}/v2/{repository}/{path}"

        def send() -> httpx.Response:
            sent = dict(headers or {})
            login = self._login.authorization(repository, right)
            if login and self._transport.is_registry(url):
                sent["authorization"] = login  # never to a storage elsewhere that an upload was sent to
            return self._transport.send(method, url, sent, body)

        answer = send()
        if answer.status_code == 401 and self._login.take_challenge(answer, repository, right):
            answer = send()
        if answer.status_code not in accepted:
            raise self._explain(answer, method, repository, right)
        return answer

    def _explain(self, answer: httpx.Response, method: str, repository: str, right: str) -> RegistryError:
        refusal = self._login.explain(answer, repository, right)
        if refusal is not None:
            return refusal
        status, said = answer.status_code, self._login.read_errors(answer)
        problem = f"{method} {repository}: {self.host} answered {status}{said and ': ' + said}"
        if "DIGEST_INVALID" in said:
            return RegistryError(
                f"{problem}: the bytes sent are not those of the digest",
                fix="remove the folder `images` of the state folder, then package again",
            )
        if status in THROTTLED:
            return RegistryError(problem, fix="it asks for patience: try again later", retryable=True)
        if status in (500, 502, 504):
            return RegistryError(problem, fix="try again; look at the registry's log", retryable=True)
        if status == 404:
            return RegistryError(problem, fix="correct registry.host and registry.prefix, or push first")
        return RegistryError(problem, fix="look at the registry's log")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise RegistryError(
            f"the layer {path} cannot be read: {error.strerror}", fix="package the model again"
        ) from error
