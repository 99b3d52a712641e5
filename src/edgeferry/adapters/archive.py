"""Images on their way into an engine and out of it: the archives of `docker load` and `docker save`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from edgeferry.adapters.layers import LayerStore
from edgeferry.domain.image import Image, Layer
from edgeferry.engine import Engine
from edgeferry.errors import EngineError, OutsideError
from edgeferry.wire.oci import EPOCH, blob_path, render_archive


def load_image(engine: Engine, image: Image, name: str, scratch: Path) -> None:
    """The image is on the engine under `name` (`repository:tag`); its archive passes through `scratch`.

    OutsideError when a layer on disk is not what its digest says.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for path, body in render_archive(image, name).items():
                tar.addfile(_entry(path, len(body)), io.BytesIO(body))
            for layer in {layer.digest: layer for layer in image.layers}.values():
                with Path(layer.path).open("rb") as blob:
                    _check_unchanged(layer, blob)
                    tar.addfile(_entry(blob_path(layer.digest), layer.size_bytes), blob)
        file.flush()
        engine.load(Path(file.name))


def save_image(
    engine: Engine, name: str, known: Mapping[str, Layer], store: LayerStore, scratch: Path
) -> tuple[Mapping[str, Any], tuple[Layer, ...]]:
    """The config and the layers of the engine's image `name`; `known` layers, by diff id, are not written
    again. EngineError when the engine's archive is none."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".tar") as file:
        engine.save(name, Path(file.name))
        try:
            with tarfile.open(file.name) as tar:
                (listed,) = json.loads(_open(tar, "manifest.json").read())
                config = json.loads(_open(tar, listed["Config"]).read())
                layers = []
                for diff_id, member in zip(config["rootfs"]["diff_ids"], listed["Layers"], strict=True):
                    layers.append(known.get(diff_id) or store.keep("dockerfile", diff_id, _open(tar, member)))
        except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise EngineError(
                f"the engine saved {name} in a form that cannot be read: {error!r}",
                fix="look at the engine's version and log",
            ) from error
    return config, tuple(layers)


def _open(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    body = tar.extractfile(name)
    if body is None:
        raise ValueError(f"{name} is no file")
    if body.read(2) == b"\x1f\x8b":  # an engine with containerd's image store saves layers as it got them
        body.seek(0)
        return cast(IO[bytes], gzip.GzipFile(fileobj=body))
    body.seek(0)
    return body


def _check_unchanged(layer: Layer, blob: io.BufferedReader) -> None:
    """Nothing, and `blob` at its start; OutsideError when its bytes are not the layer's digest. The engine
    would not notice while it holds a layer of that name from before."""
    if f"sha256:{hashlib.file_digest(blob, 'sha256').hexdigest()}" != layer.digest:
        raise OutsideError(
            f"the {layer.title} layer in {layer.path} has changed on disk",
            fix="remove the folder `images` of the state folder, then package again",
        )
    blob.seek(0)


def _entry(path: str, size_bytes: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mtime = size_bytes, EPOCH
    return entry
