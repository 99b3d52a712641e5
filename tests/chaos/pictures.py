"""Images for a device under chaos: busybox once, and a small layer that makes each image another."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.engines import LOGIN, digest_of, make_image

OCI = "application/vnd.oci.image"


@dataclass(frozen=True)
class Picture:
    """An image that a registry holds: its reference there, and its id on an engine."""

    reference: str
    id: str


def push_picture(registry: str, base: bytes, note: bytes, name: str = "chaos/tiny") -> Picture:
    """The image of the layer `base` and a file `note` is in the registry at `registry` (host:port)."""
    top = pack("note", note)
    layers = (base, top)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "sh", "-c"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": _describe(config, "config.v1+json"),
            "layers": [_describe(layer, "layer.v1.tar") for layer in layers],
        }
    ).encode()
    with httpx.Client(
        base_url=f"http://{registry}", auth=LOGIN, trust_env=False, verify=False, timeout=30
    ) as client:
        for blob in (*layers, config):
            if client.head(f"/v2/{name}/blobs/{digest_of(blob)}").status_code != 200:
                place = client.post(f"/v2/{name}/blobs/uploads/").headers["location"]
                params = {**httpx.URL(place).params, "digest": digest_of(blob)}
                client.put(place, params=params, content=blob).raise_for_status()
        kind = {"Content-Type": f"{OCI}.manifest.v1+json"}
        put = client.put(f"/v2/{name}/manifests/{digest_of(manifest)}", content=manifest, headers=kind)
        put.raise_for_status()
    return Picture(f"{registry}/{name}@{digest_of(manifest)}", digest_of(config))


def base_layer(cache: Path) -> bytes:
    """The layer with busybox."""
    return make_image(cache, "chaos").layer


def pack(name: str, body: bytes) -> bytes:
    """A tar with that one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(body), 0o644
        layer.addfile(info, io.BytesIO(body))
    return packed.getvalue()


def _describe(blob: bytes, kind: str) -> dict:
    return {"mediaType": f"{OCI}.{kind}", "digest": digest_of(blob), "size": len(blob)}
