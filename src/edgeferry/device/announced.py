"""What a registry says of an image before it is pulled: its digest, its layers and their sizes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx

from edgeferry.device.registry_line import RegistryLine
from edgeferry.errors import UsageError
from edgeferry.wire.oci import choose_platform, digest_of, parse_manifest
from edgeferry.wire.retry_after import choose_wait

_KINDS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_LARGEST = 4 * 1024 * 1024
_COMPARED = 3
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Announced:
    """What the registry announces; nothing where it does not answer as it should."""

    digest: str = ""
    """Of the manifest that the reference names."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """Digest to size, in bytes."""
    status: int = 0
    """HTTP; 0 when nothing that could be read came."""
    retry_after_s: float = 0.0
    """How long the registry asks to wait, when it throttles."""


def ask_announced(
    line: RegistryLine, target: str, architecture: str, now: float, patience_s: float = PATIENCE_S
) -> Announced:
    """What the registry announces of the manifest `target`, a digest or tag, within about `patience_s`; `now`
    in Unix seconds."""
    try:
        status, retry_after, body = _fetch(line, target, patience_s)
        if status == 429 and retry_after:
            return Announced(status=status, retry_after_s=choose_wait(retry_after, 0, now))
        if status != 200:
            return Announced(status=status)
        digest = digest_of(body)
        child = choose_platform(body, architecture)
        if child:
            _, _, body = _fetch(line, child, patience_s)
        layers = {layer.digest: layer.size_bytes for layer in parse_manifest(body).layers}
        return Announced(digest, layers, status)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, AttributeError, UsageError):
        return Announced()


def held_layers(line: RegistryLine, digests: Iterable[str], architecture: str, now: float) -> frozenset[str]:
    """The layers of some images of that repository that the engine holds already, by their digests."""
    found: set[str] = set()
    for digest in sorted(digests)[:_COMPARED]:
        found |= set(ask_announced(line, digest, architecture, now).layers)
    return frozenset(found)


def _fetch(line: RegistryLine, target: str, patience_s: float) -> tuple[int, str, bytes]:
    """Status, `Retry-After` and body."""
    until = time.monotonic() + patience_s
    with line.ask("GET", f"manifests/{target}", {"accept": _KINDS}, patience_s) as answer:
        body = b""
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > _LARGEST or time.monotonic() > until:
                raise OSError("that is no manifest")
        return answer.status_code, answer.headers.get("retry-after", ""), body
