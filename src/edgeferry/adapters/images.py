"""Assembles images without a build daemon: base │ dependencies │ server │ model, each a layer of its own.

The same inputs give the same bytes. A new model version changes the last layer only, so that is all a
registry receives and a device pulls.

    /opt/edgeferry/lib      dependencies, exactly those of `requirements/*.txt`, by hash
    /opt/edgeferry/server   the modules of edgeferry that the program imports, and no others
    /opt/edgeferry/model    model.onnx, model.json, cases.json
"""

from __future__ import annotations

import hashlib
import importlib.resources
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeferry import __version__
from edgeferry.adapters.base import PYTHON, USER, DebianBase
from edgeferry.adapters.closure import load_closure
from edgeferry.adapters.layers import LayerStore, LayerTar
from edgeferry.domain.image import Image, Layer
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.errors import OutsideError, UsageError
from edgeferry.settings import child_environment
from edgeferry.wire.deployment import COMPANION
from edgeferry.wire.oci import Run, digest_of, render_config, render_manifest

LIB = "opt/edgeferry/lib"
SERVER = "opt/edgeferry/server"
MODEL = "opt/edgeferry/model"
_PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LEFT_OUT = ("bin", "__pycache__", "tests", ".lock")


class LayeredImages:
    """Implements the `Images` port.

    `uv`: path of the uv program. `architecture`: `amd64` or `arm64`, "" for this machine's.
    """

    def __init__(self, store: LayerStore, base: DebianBase, uv: str, architecture: str = "") -> None:
        self._store = store
        self._base = base
        self._uv = uv
        self._architecture = architecture or _MACHINES.get(platform.machine().lower(), platform.machine())
        if self._architecture not in _PLATFORMS:
            raise UsageError(
                f"there are no images for {self._architecture}",
                fix="set images.architecture to amd64 or arm64: onnxruntime is built for these",
            )

    def assemble_model(
        self, definition: ModelDefinition, version: ModelVersion, files: Mapping[str, bytes]
    ) -> Image:
        """The image of one model version; `files` is the model layer's content by file name."""
        labels = {
            "io.edgeferry.kind": "model",
            "io.edgeferry.model": definition.name,
            "io.edgeferry.run-id": version.run_id,
            "io.edgeferry.model-sha256": hashlib.sha256(files["model.onnx"]).hexdigest(),
            "io.edgeferry.cases-sha256": hashlib.sha256(files["cases.json"]).hexdigest(),
        }
        layers = [*self._program("server"), self._files("model", MODEL, files)]
        run = _run("edgeferry.device.modules.server", "8080/tcp")
        return self._join(definition.name, version.version, layers, run, labels)

    def assemble_companion(self) -> Image:
        """The image of the companion module."""
        run = _run("edgeferry.device.modules.companion", "8081/tcp")
        labels = {"io.edgeferry.kind": "companion"}
        return self._join(COMPANION, __version__, self._program("companion"), run, labels)

    def _program(self, module: str) -> list[Layer]:
        """Base, dependencies and code of one of our programs."""
        return [
            self._base.layer(self._architecture),
            self._dependencies(module),
            self._files("server", SERVER, load_closure(f"edgeferry.device.modules.{module}")),
        ]

    def _dependencies(self, module: str) -> Layer:
        requirements = importlib.resources.files("edgeferry.adapters") / "requirements" / f"{module}.txt"
        text = requirements.read_text("utf-8")
        inputs = {
            "requirements": text,
            "platform": _PLATFORMS[self._architecture],
            "python": "3.11",
            "left_out": _LEFT_OUT,
        }
        return self._store.layer(
            "dependencies", inputs, lambda layer: self._install(text, layer), compressed=True
        )

    def _install(self, requirements: str, layer: LayerTar) -> None:
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
            listed, lib = Path(scratch, "requirements.txt"), Path(scratch, "lib")
            listed.write_text(requirements, "utf-8")
            command = [
                self._uv,
                "pip",
                "install",
                "--quiet",
                "--no-progress",
                "--no-deps",
                "--require-hashes",
            ]
            command += ["--only-binary", ":all:", "--python", sys.executable, "--python-version", "3.11"]
            command += ["--python-platform", _PLATFORMS[self._architecture]]
            command += ["--target", str(lib), "-r", str(listed)]
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=child_environment(),
                check=False,
            )
            if done.returncode != 0:
                raise OutsideError(
                    f"the image's dependencies could not be fetched: {' '.join(done.stderr.split())}",
                    fix="check that the package index (uv's configuration) can be reached, and try again",
                    retryable=True,
                )
            for path in _walk(lib):
                layer.file(f"{LIB}/{path.relative_to(lib).as_posix()}", path.read_bytes())

    def _files(self, title: str, folder: str, files: Mapping[str, bytes]) -> Layer:
        def fill(layer: LayerTar) -> None:
            for name in sorted(files):
                layer.file(f"{folder}/{name}", files[name])

        inputs = {f"{folder}/{name}": digest_of(body) for name, body in files.items()}
        return self._store.layer(title, inputs, fill, compressed=False)

    def _join(
        self, name: str, version: str, layers: list[Layer], run: Run, labels: Mapping[str, str]
    ) -> Image:
        labels = {
            **labels,
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
            "io.edgeferry.version": version,
        }
        config = render_config(self._architecture, layers, run, labels)
        manifest = render_manifest(config, layers)
        digest = digest_of(manifest)
        return Image(
            name=name,
            tag=f"v{version}-{digest.removeprefix('sha256:')[:8]}",
            digest=digest,
            config_digest=digest_of(config),
            manifest=manifest,
            config=config,
            layers=tuple(layers),
            labels=labels,
        )


def _run(module: str, port: str) -> Run:
    env = (
        "PATH=/usr/local/bin:/usr/bin",
        f"PYTHONPATH=/{SERVER}:/{LIB}",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        "ORT_DISABLE_TELEMETRY=1",  # a device talks to its hub and to nobody else
    )
    return Run((PYTHON, "-m", module), env, USER, (port,))


def _walk(folder: Path) -> Iterator[Path]:
    """The files that go into the image, sorted."""
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT:
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
