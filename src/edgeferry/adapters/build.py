"""Runs a model folder's own Dockerfile on this machine's engine and takes the result out of it again.

The context is the model's folder plus `model/`, the content of the model layer. `BASE` names, in the engine
and for the build only, everything below that layer. An engine's build carries the hour, so its result is kept
by the hash of context and base: an unchanged folder gives the same image on this machine.

    builds/<hash>.json   the config the engine made, and its layers
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from docker.utils.build import exclude_paths

from edgeferry.adapters.archive import load_image, save_image
from edgeferry.adapters.images import MODEL
from edgeferry.adapters.layers import LayerStore, LayerTar
from edgeferry.adapters.lock import locked
from edgeferry.domain.image import Image, Layer
from edgeferry.domain.model import ModelDefinition
from edgeferry.engine import Engine
from edgeferry.wire.oci import digest_of, render_built_config, render_manifest

CONTEXT_MODEL = "model"
_NEVER = ("**/__pycache__", ".git")


class EngineBuilder:
    """Implements the `Builder` port. `open_engine` gives a connected engine, asked for when it is needed;
    archives pass through `scratch`, results are kept in `folder`."""

    def __init__(
        self, open_engine: Callable[[], Engine], store: LayerStore, folder: Path, scratch: Path
    ) -> None:
        self._open_engine = open_engine
        self._store = store
        self._folder = folder
        self._scratch = scratch

    def build(self, definition: ModelDefinition, image: Image) -> Image:
        """What the model's Dockerfile makes of `image` without its model layer, that layer on top again;
        EngineError with the build's last lines when it fails."""
        base, model = _without_model(image), image.layers[-1]
        version = image.labels["io.edgeferry.version"]
        args = {"MODEL_NAME": definition.name, "MODEL_VERSION": version}
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".tar") as context:
            _write_context(Path(definition.folder), model, context)
            context.flush()
            context.seek(0)
            digest = hashlib.file_digest(context, "sha256").hexdigest()
            identity = json.dumps([1, digest, base.config_digest, args], sort_keys=True)
            record = self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
            with locked(record.with_suffix(".lock")):
                kept = _load(record)
                if kept is None:
                    kept = self._run(Path(context.name), base, args)
                    body = json.dumps({"config": kept[0], "layers": [asdict(layer) for layer in kept[1]]})
                    record.write_text(body, "utf-8")
        return _join(image, kept[0], (*kept[1], model))

    def _run(
        self, context: Path, base: Image, args: Mapping[str, str]
    ) -> tuple[Mapping[str, Any], tuple[Layer, ...]]:
        mark = f"build-{secrets.token_hex(4)}"
        base_name, name = f"edgeferry.invalid/base:{mark}", f"edgeferry.invalid/{base.name}:{mark}"
        known = {layer.diff_id: layer for layer in base.layers}
        engine = self._open_engine()
        try:
            load_image(engine, base, base_name, self._scratch)
            engine.build(context, name, {**args, "BASE": base_name})
            return save_image(engine, name, known, self._store, self._scratch)
        finally:
            engine.remove_image(name)
            engine.remove_image(base_name)
            engine.close()


def _without_model(image: Image) -> Image:
    """Everything below the model layer, the same for all versions of a model."""
    layers = image.layers[:-1]
    return _join(image, json.loads(image.config), layers, labels={})


def _join(
    image: Image,
    config: Mapping[str, Any],
    layers: tuple[Layer, ...],
    labels: Mapping[str, str] | None = None,
) -> Image:
    labels = image.labels if labels is None else labels
    body = render_built_config(config, layers, labels)
    manifest = render_manifest(body, layers)
    digest = digest_of(manifest)
    return Image(
        name=image.name,
        tag=f"{image.tag.rpartition('-')[0]}-{digest.removeprefix('sha256:')[:8]}",
        digest=digest,
        config_digest=digest_of(body),
        manifest=manifest,
        config=body,
        layers=layers,
        labels=labels,
        cases=image.cases,
    )


def _write_context(folder: Path, model: Layer, sink: Any) -> None:
    """The deterministic tar of the build context."""
    ignored = folder / ".dockerignore"
    lines = ignored.read_text("utf-8").splitlines() if ignored.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    with tarfile.open(fileobj=sink, mode="w") as tar:
        context = LayerTar(tar)
        for name in sorted(exclude_paths(str(folder), [*patterns, *_NEVER, CONTEXT_MODEL], "Dockerfile")):
            path = folder / name
            if path.is_symlink():
                context.link(Path(name).as_posix(), str(path.readlink()))
            elif path.is_file():
                mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
                context.file(Path(name).as_posix(), path.read_bytes(), mode)
        for name, body in _files(model):
            context.file(f"{CONTEXT_MODEL}/{name}", body)


def _files(model: Layer) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(model.path) as tar:
        for member in tar:
            body = tar.extractfile(member) or io.BytesIO()
            if member.isfile():
                yield member.name.removeprefix(f"{MODEL}/"), body.read()


def _load(record: Path) -> tuple[Mapping[str, Any], tuple[Layer, ...]] | None:
    """What is on record, if all its layers are still there."""
    try:
        said = json.loads(record.read_text("utf-8"))
    except FileNotFoundError:
        return None
    layers = tuple(Layer(**layer) for layer in said["layers"])
    return (said["config"], layers) if all(Path(layer.path).exists() for layer in layers) else None
