"""An assembled OCI image as values: which blobs, which digests, which labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def name_architecture(machine: str) -> str:
    """An image's word for the processor that the system calls `machine`; its own where there is no other."""
    return _ARCHITECTURES.get(machine.lower(), machine)


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
class Serving:
    """How a model image answers, and why so."""

    runtime: str
    """`onnx`, `library`, `pyfunc`, `score` or `own`."""
    reason: str
    """Why this runtime, for the verification's report; the same words for the same model everywhere."""
    artifact: str = "model.onnx"
    """The file of the model layer that the runtime loads."""
    requirements: str = ""
    """What it needs beside the server's own, as lines of a requirements file."""
    versions: tuple[str, ...] = ()
    """What the step environment that trained the model holds, as `name==version`."""
    exact: bool = True
    """Whether these versions must be kept to, rather than preferred."""


ONNX = Serving("onnx", "converted to ONNX in doubles")


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
    cases: bytes = b""
    """The `cases.json` in the image of a model."""

    @property
    def size_bytes(self) -> int:
        """Bytes that a first pull transfers."""
        return sum(layer.size_bytes for layer in self.layers) + len(self.config) + len(self.manifest)
