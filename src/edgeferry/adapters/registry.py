"""An OCI registry over HTTPS, as distribution-spec 1.1 has it. Implements the `Registry` port.

Blobs go up whole (POST, then PUT streamed from the file), the manifest last, so that an image that can be
named is complete. Every digest the registry answers with, and every body it sends, is checked. What is
attached to an image points to it by `subject`; where the registry has no referrers API, an index under the
tag `sha256-<hex>` lists it as well.
"""

from __future__ import annotations

import base64
import re
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urljoin

import httpx

from edgeferry.domain.image import Image
from edgeferry.errors import RegistryError, UsageError
from edgeferry.wire.oci import (
    EMPTY_BODY,
    INDEX,
    MANIFEST,
    Descriptor,
    digest_of,
    is_digest,
    parse_index,
    parse_manifest,
    referrers_tag,
    render_artifact,
    render_index,
)

_ACCEPT = f"{MANIFEST}, {INDEX}"
_MOST_BODY_BYTES = 16 * 1024 * 1024
_ATTEMPTS = 5
_TOKEN_S = 60
"""How long a bearer token lasts when the registry does not say (distribution's token document)."""

_Body = bytes | Path


class RegistryClient:
    """The registry at `host` (`host:port`), always over TLS; `ca_file` "" trusts the system's authorities.

    `prefix` stands before every name. Nothing is read from the environment.
    """

    def __init__(
        self, host: str, prefix: str = "", username: str = "", password: str = "", ca_file: str = ""
    ) -> None:
        self.host = host
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._login = (username, password)
        self._ca_file = ca_file
        self._tokens: dict[str, tuple[str, float]] = {}
        self._basic = False
        self._opened: httpx.Client | None = None

    def close(self) -> None:
        """Ends its connections; the next call opens others."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def reference(self, name: str, digest: str) -> str:
        """The image reference devices are told: `host:port/prefix/name@digest`."""
        return f"{self.host}/{self._prefix}{name}@{digest}"

    def has(self, name: str, digest: str) -> bool:
        """Whether the registry holds that manifest."""
        return self._head(name, f"manifests/{digest}") is not None

    def push(self, image: Image) -> int:
        """The bytes uploaded, 0 when all was there; RegistryError when a layer is not its digest's."""
        uploaded = 0
        for layer in image.layers:
            uploaded += self._upload(image.name, layer.digest, layer.size_bytes, Path(layer.path))
        uploaded += self._upload(image.name, image.config_digest, len(image.config), image.config)
        there = self._head(image.name, f"manifests/{image.tag}")
        if there is None or there.headers.get("docker-content-digest") != image.digest:
            self._put_manifest(image.name, image.tag, image.manifest, MANIFEST)
            uploaded += len(image.manifest)
        return uploaded

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

    def _upload(self, name: str, digest: str, size_bytes: int, body: _Body) -> int:
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
        body: _Body = b"",
    ) -> httpx.Response:
        """The answer to a request about repository `name`; RegistryError for a status not `accepted`."""
        url = path if "://" in path else f"https://{self.host}/v2/{self._prefix}{name}/{path}"
        answer = self._send(method, url, name, headers or {}, body)
        if answer.status_code == 401 and self._take_challenge(answer, name):
            answer = self._send(method, url, name, headers or {}, body)
        if answer.status_code not in accepted:
            raise self._explain(answer, f"{method} {self._prefix}{name}")
        return answer

    def _send(
        self, method: str, url: str, name: str, headers: Mapping[str, str], body: _Body
    ) -> httpx.Response:
        sent = dict(headers)
        if _origin(url) == _origin(f"https://{self.host}") and (login := self._authorization(name)):
            sent["authorization"] = login  # never to a storage elsewhere that an upload was sent to
        with self._translated(), ExitStack() as files:
            content: bytes | IO[bytes] = (
                body if isinstance(body, bytes) else files.enter_context(body.open("rb"))
            )
            stream: Any = content if isinstance(content, bytes) else _chunks(content)
            return self._client().request(
                method, url, headers=sent, content=stream or None, follow_redirects=method in ("GET", "HEAD")
            )

    def _client(self) -> httpx.Client:
        if self._opened is None:
            try:
                context = ssl.create_default_context(cafile=self._ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"the registry's CA file {self._ca_file} cannot be read: {error}",
                    fix="correct registry.ca_file",
                ) from error
            self._opened = httpx.Client(
                verify=context,
                trust_env=False,
                timeout=httpx.Timeout(60, connect=10),
                headers={"user-agent": "edgeferry"},
            )
        return self._opened

    # login: Basic, or a token of the registry's own authority

    def _authorization(self, name: str) -> str:
        if self._basic:
            return "Basic " + base64.b64encode(":".join(self._login).encode()).decode()
        token, until = self._tokens.get(name, ("", 0.0))
        return f"Bearer {token}" if time.monotonic() < until else ""

    def _take_challenge(self, answer: httpx.Response, name: str) -> bool:
        """Whether there is a login, not yet refused, to answer the challenge with."""
        challenge = answer.headers.get("www-authenticate", "")
        scheme = challenge.partition(" ")[0].lower()
        sent = answer.request.headers.get("authorization", "")
        if scheme == "basic":
            self._basic = bool(self._login[0])
            return self._basic and not sent
        if scheme != "bearer":
            return False
        said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if said.get("error") == "insufficient_scope" and sent:
            return False
        self._tokens[name] = self._fetch_token(said, name)
        return True

    def _fetch_token(self, challenge: Mapping[str, str], name: str) -> tuple[str, float]:
        realm = challenge.get("realm", "")
        if not realm.startswith("https://"):
            raise RegistryError(
                f"{self.host} sends us for a token to {realm or 'nowhere'}, not over TLS",
                fix="correct the registry's token realm; the password was not sent",
            )
        query = {
            "service": challenge.get("service", ""),
            "scope": f"repository:{self._prefix}{name}:pull,push",
        }
        with self._translated():
            answer = self._client().get(realm, params=query, auth=self._login if self._login[0] else None)
        if answer.status_code != 200:
            raise self._explain(answer, "login")
        try:
            said = answer.json()
            token = said.get("token") or said["access_token"]
            return str(token), time.monotonic() + float(said.get("expires_in") or _TOKEN_S) * 0.8
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"{realm} answered our login with something that is no token", fix="look at its log"
            ) from error

    # errors by cause

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise self._explain_transport(error) from error
        except httpx.HTTPError as error:
            raise RegistryError(
                f"{self.host} does not answer as a registry: {error}", fix="correct registry.host"
            ) from error

    def _explain_transport(self, error: httpx.TransportError) -> RegistryError:
        text = str(error) or type(error).__name__
        if "certificate verify failed" in text.lower():
            return RegistryError(
                f"the certificate of {self.host} is not trusted: {text}",
                fix="set registry.ca_file to the certificate of the registry's authority",
            )
        if "record layer" in text.lower() or "wrong version number" in text.lower():
            return RegistryError(
                f"{self.host} does not speak TLS: {text}", fix="give the registry a certificate"
            )
        if any(words in text.lower() for words in ("name or service not known", "no address", "nodename")):
            return RegistryError(
                f"the name of {self.host} does not resolve", fix="correct registry.host", retryable=True
            )
        return RegistryError(
            f"the registry at {self.host} does not answer: {text}",
            fix="start it (here: edgeferry up), or correct registry.host",
            retryable=True,
        )

    def _explain(self, answer: httpx.Response, doing: str) -> RegistryError:
        status, said = answer.status_code, _read_errors(answer)
        problem = f"{doing}: {self.host} answered {status}{said and ': ' + said}"
        if status == 401:
            who = f"the login of {self._login[0]}" if self._login[0] else "a request without login"
            return RegistryError(
                f"{self.host} refused {who}{said and ': ' + said}",
                fix="set registry.username, and the password as EDGEFERRY_REGISTRY__PASSWORD",
            )
        if status == 403:
            return RegistryError(problem, fix="give this login the right to push there")
        if "DIGEST_INVALID" in said:
            return RegistryError(
                f"{problem}: the bytes sent are not those of the digest",
                fix="remove the folder `images` of the state folder, then package again",
            )
        if status in (429, 500, 502, 503, 504):
            return RegistryError(problem, fix="try again; look at the registry's log", retryable=True)
        if status == 404:
            return RegistryError(problem, fix="correct registry.host and registry.prefix, or push first")
        return RegistryError(problem, fix="look at the registry's log")


def _origin(url: str) -> tuple[str, bytes]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.netloc


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise RegistryError(
            f"the layer {path} cannot be read: {error.strerror}", fix="package the model again"
        ) from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(1 << 18):
        yield chunk


def _read_errors(answer: httpx.Response) -> str:
    """The registry's own error codes and messages, in short."""
    try:
        errors = answer.json()["errors"]
        return "; ".join(f"{each.get('code', '')} {each.get('message', '')}".strip() for each in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
