"""An assembled OCI image as values: which blobs, which digests, which labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One layer on disk: `digest` names the bytes at `path`, `diff_id` the uncompressed tar."""

    title: str
    path: str
    digest: str
    diff_id: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class Image:
    """An assembled image: the exact bytes of its config and manifest, its layers as files.

    `digest` is the manifest's, the one in an image reference; `config_digest` is what engines report as
    image id. Format: OCI image-spec 1.1.
    """

    name: str
    """Repository below the registry's prefix, e.g. `nyc_taxi`."""
    tag: str
    digest: str
    config_digest: str
    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    labels: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """Bytes that a first pull transfers."""
        return sum(layer.size_bytes for layer in self.layers) + len(self.config) + len(self.manifest)
