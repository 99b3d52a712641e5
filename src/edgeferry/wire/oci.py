"""Images and artifacts as a registry and an engine take them: config, manifest, index, references.

Follows OCI image-spec 1.1 and distribution-spec 1.1, and for `docker load` the archive of `docker save`.
All documents are canonical JSON, so the same content has the same digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeferry.domain.image import Image, Layer
from edgeferry.errors import UsageError
from edgeferry.wire.canonical import render_canonical

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"
TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_BODY = b"{}"

EPOCH = 1735689600
"""SOURCE_DATE_EPOCH of all we make: 2025-01-01T00:00:00Z, since content decides, not the hour."""
CREATED = "2025-01-01T00:00:00Z"

_RUN_KEYS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "StopSignal",
    "Healthcheck",
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(
    r"(?:(?P<host>[a-zA-Z0-9.-]+(?::[0-9]+)?)/)?"
    r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Descriptor:
    """A blob or manifest by what it is, its digest and its size."""

    media_type: str
    digest: str
    size_bytes: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A parsed OCI manifest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str
    subject: Descriptor | None


@dataclass(frozen=True)
class Reference:
    """An image reference's parts; `tag` and `digest` may be ""."""

    host: str
    name: str
    tag: str
    digest: str


@dataclass(frozen=True)
class Run:
    """How an image's program starts."""

    entrypoint: tuple[str, ...]
    env: tuple[str, ...]
    user: str
    ports: tuple[str, ...]


def digest_of(body: bytes) -> str:
    """The OCI digest of these bytes."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def is_digest(text: str) -> bool:
    """Whether the text is a whole sha256 digest."""
    return _DIGEST.fullmatch(text) is not None


def render_config(architecture: str, layers: Sequence[Layer], run: Run, labels: Mapping[str, str]) -> bytes:
    """The exact bytes of an image config."""
    return render_canonical(
        {
            "architecture": architecture,
            "os": "linux",
            "created": CREATED,
            "config": {
                "User": run.user,
                "Env": list(run.env),
                "Entrypoint": list(run.entrypoint),
                "ExposedPorts": {port: {} for port in run.ports},
                "Labels": dict(labels),
                "WorkingDir": "/",
            },
            **_render_history(layers),
        }
    )


def render_built_config(
    built: Mapping[str, Any], layers: Sequence[Layer], labels: Mapping[str, str]
) -> bytes:
    """The exact bytes of the config of an image that an engine built: how its program starts is kept, with
    `labels` over its own and these `layers`; what tells of the hour and the machine is left out."""
    said = built.get("config") or {}
    run = {key: said[key] for key in _RUN_KEYS if said.get(key)}
    return render_canonical(
        {
            "architecture": built["architecture"],
            "os": built["os"],
            "created": CREATED,
            "config": {**run, "Labels": {**(said.get("Labels") or {}), **labels}},
            **_render_history(layers),
        }
    )


def render_manifest(config: bytes, layers: Sequence[Layer]) -> bytes:
    """The exact bytes of an image manifest."""
    return render_canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _render_descriptor(Descriptor(CONFIG, digest_of(config), len(config))),
            "layers": [
                _render_descriptor(Descriptor(layer.media_type, layer.digest, layer.size_bytes))
                for layer in layers
            ],
        }
    )


def render_artifact(artifact_type: str, body: bytes, subject: Descriptor) -> bytes:
    """The exact bytes of a manifest that attaches `body` to `subject`."""
    return render_canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": _render_descriptor(Descriptor(EMPTY, digest_of(EMPTY_BODY), len(EMPTY_BODY))),
            "layers": [_render_descriptor(Descriptor(artifact_type, digest_of(body), len(body)))],
            "subject": _render_descriptor(subject),
        }
    )


def render_index(manifests: Sequence[Descriptor]) -> bytes:
    """The exact bytes of an image index."""
    return render_canonical(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [_render_descriptor(manifest) for manifest in manifests],
        }
    )


def parse_manifest(body: bytes) -> Manifest:
    """The manifest in these bytes; UsageError when they are none."""
    try:
        said = json.loads(body)
        return Manifest(
            config=_parse_descriptor(said["config"]),
            layers=tuple(_parse_descriptor(layer) for layer in said["layers"]),
            artifact_type=str(said.get("artifactType") or ""),
            subject=_parse_descriptor(said["subject"]) if said.get("subject") else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _malformed("manifest", error) from error


def parse_index(body: bytes) -> tuple[Descriptor, ...]:
    """The manifests an index lists, in its order; UsageError when these bytes are no index."""
    try:
        return tuple(_parse_descriptor(manifest) for manifest in json.loads(body)["manifests"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _malformed("image index", error) from error


def is_index(body: bytes) -> bool:
    """Whether these bytes are an index or a Docker manifest list, which names manifests by platform."""
    try:
        return "manifests" in json.loads(body)
    except (ValueError, TypeError):
        return False


def choose_platform(body: bytes, architecture: str) -> str:
    """The digest of the manifest for Linux on that architecture (amd64, arm64, …) that an index or a Docker
    manifest list names; "" when these bytes are neither, or name none."""
    try:
        for manifest in json.loads(body).get("manifests") or ():
            platform = manifest.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
                return str(manifest["digest"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return ""


def referrers_tag(digest: str) -> str:
    """The tag of the index of what is attached to `digest`, where a registry has no referrers API."""
    return digest.replace(":", "-")


def parse_reference(text: str) -> Reference:
    """The parts of an image reference with its registry's host; UsageError when it is none."""
    found = _REFERENCE.fullmatch(text)
    host = found["host"] if found else None
    if not found or not host or not (host == "localhost" or "." in host or ":" in host):
        raise UsageError(
            f"`{text}` is no image reference", fix="write it in full, e.g. host:5443/path/name@sha256:…"
        )
    return Reference(host, found["name"], found["tag"] or "", found["digest"] or "")


def render_reference(reference: Reference) -> str:
    """The reference as text."""
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    return f"{reference.host}/{reference.name}{tag}{digest}"


def blob_path(digest: str) -> str:
    """Where a blob stands in an OCI image layout."""
    return "blobs/" + digest.replace(":", "/")


def render_archive(image: Image, name: str) -> dict[str, bytes]:
    """The small files of a `docker load` archive, by path; the layers join them at `blob_path`.

    `manifest.json` is for engines with their own image store, `oci-layout` and `index.json` for those with
    containerd's. `name` is `repository:tag`, under which the image is loaded.
    """
    descriptor = Descriptor(
        MANIFEST,
        image.digest,
        len(image.manifest),
        annotations={
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        },
    )
    saved = {
        "Config": blob_path(image.config_digest),
        "RepoTags": [name],
        "Layers": [blob_path(layer.digest) for layer in image.layers],
    }
    return {
        "oci-layout": render_canonical({"imageLayoutVersion": "1.0.0"}),
        "index.json": render_index([descriptor]),
        "manifest.json": render_canonical([saved]),
        blob_path(image.digest): image.manifest,
        blob_path(image.config_digest): image.config,
    }


def _render_history(layers: Sequence[Layer]) -> dict[str, Any]:
    return {
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": CREATED, "created_by": f"edgeferry: {layer.title}"} for layer in layers],
    }


def _render_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    said: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size_bytes,
    }
    if descriptor.artifact_type:
        said["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        said["annotations"] = dict(descriptor.annotations)
    return said


def _parse_descriptor(said: Mapping[str, Any]) -> Descriptor:
    digest = said["digest"]
    if not isinstance(digest, str) or not is_digest(digest):
        raise ValueError(f"{digest!r} is no sha256 digest")
    return Descriptor(
        media_type=str(said["mediaType"]),
        digest=digest,
        size_bytes=int(said["size"]),
        artifact_type=str(said.get("artifactType") or ""),
        annotations=dict(said.get("annotations") or {}),
    )


def _malformed(what: str, error: Exception) -> UsageError:
    return UsageError(f"this is no OCI {what}: {error!r}", fix="look at what the registry holds there")
