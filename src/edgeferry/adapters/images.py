"""Assembles images without a build daemon: base │ dependencies │ server │ model, each a layer of its own.

The same inputs give the same bytes. A new model version changes the last layer only, so that is all a
registry receives and a device pulls.

    /opt/edgeferry/lib      dependencies, exactly those of `requirements/*.txt`, by hash
    /opt/edgeferry/library  what the model itself needs, when it is not served as a graph
    /opt/edgeferry/server   the modules of edgeferry that the program imports, and no others
    /opt/edgeferry/model    the model, model.json, cases.json
    /var/lib/edgeferry/captures   a folder for the volume that a model's layer mounts there
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.resources
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edgeferry import __version__
from edgeferry.adapters.base import PYTHON, USER, DebianBase
from edgeferry.adapters.bytecode import compile_folder, find_compiler
from edgeferry.adapters.closure import load_closure
from edgeferry.adapters.layers import LayerStore, LayerTar
from edgeferry.domain.agent_update import AGENT_LABEL
from edgeferry.domain.device_handover import HANDOVER_LABEL, HEALTH_PATH, HEALTH_PORT_LABEL
from edgeferry.domain.image import ONNX, Image, Layer, Serving, name_architecture
from edgeferry.domain.model import COMPANION, DEVICE_AGENT, ModelDefinition, ModelVersion
from edgeferry.errors import OutsideError, RefusedError, UsageError
from edgeferry.surroundings import child_environment
from edgeferry.wire.capture import CAPTURES_FOLDER
from edgeferry.wire.deployment import SCORE_PORT
from edgeferry.wire.oci import Run, digest_of, render_config, render_manifest

LIB = "opt/edgeferry/lib"
LIBRARY = "opt/edgeferry/library"
SERVER = "opt/edgeferry/server"
MODEL = "opt/edgeferry/model"
_PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_LEFT_OUT = ("bin", "__pycache__", "tests", ".lock")
_UNUSED = (
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    *("*.a", "*.c", "*.h", "*.pxd", "*.pyi", "*.pyx"),
)
"""Makes graphs, and needs packages that no image has; is for compilers, and for those who check types."""


class LayeredImages:
    """Implements the `Images` port.

    `uv`: path of the uv program. `architecture`: `amd64` or `arm64`, "" for this machine's.
    """

    def __init__(self, store: LayerStore, base: DebianBase, uv: str, architecture: str = "") -> None:
        self._store = store
        self._base = base
        self._uv = uv
        self._architecture = architecture or name_architecture(platform.machine())
        if self._architecture not in _PLATFORMS:
            raise UsageError(
                f"there are no images for {self._architecture}",
                fix="set images.architecture to amd64 or arm64: onnxruntime is built for these",
            )

    def assemble_model(
        self,
        definition: ModelDefinition,
        version: ModelVersion,
        files: Mapping[str, bytes],
        serving: Serving = ONNX,
    ) -> Image:
        """The image of one model version; `files` is the model layer's content by relative path.

        RefusedError when what `serving` requires cannot be had in the versions that trained the model.
        """
        labels = {
            "io.edgeferry.kind": "model",
            "io.edgeferry.model": definition.name,
            "io.edgeferry.run-id": version.run_id,
            "io.edgeferry.model-sha256": hashlib.sha256(files[serving.artifact]).hexdigest(),
            "io.edgeferry.cases-sha256": hashlib.sha256(files["cases.json"]).hexdigest(),
            "io.edgeferry.runtime": serving.runtime,
            "io.edgeferry.runtime-reason": serving.reason,
            HANDOVER_LABEL: HEALTH_PATH,
            HEALTH_PORT_LABEL: str(SCORE_PORT),
        }
        base, dependencies, server = self._program("server")
        pictures = [self._dependencies("images")] if definition.image else []
        needed = [self._library(serving)] if serving.requirements.strip() else []
        layers = [base, dependencies, *pictures, *needed, server, self._files("model", MODEL, files)]
        run = _run("edgeferry.device.modules.server", f"{SCORE_PORT}/tcp", (LIBRARY,) if needed else ())
        image = self._join(definition.name, version.version, layers, run, labels)
        return replace(image, cases=files["cases.json"])

    def assemble_companion(self) -> Image:
        """The image of the companion module."""
        run = _run("edgeferry.device.modules.companion", "8081/tcp")
        labels = {"io.edgeferry.kind": "companion"}
        return self._join(COMPANION, __version__, self._program("companion"), run, labels)

    def assemble_agent(self) -> Image:
        """The image of the device agent, which runs as root: it owns the engine's socket and its state."""
        run = Run((PYTHON, "-m", "edgeferry.device"), _env(), "0:0", ())
        labels = {"io.edgeferry.kind": DEVICE_AGENT, AGENT_LABEL: "true"}
        return self._join(DEVICE_AGENT, __version__, self._program(DEVICE_AGENT), run, labels)

    def _program(self, name: str) -> list[Layer]:
        """Base, dependencies and code of one of our programs."""
        return [
            self._base.layer(self._architecture),
            self._dependencies(name),
            self._code(name),
        ]

    def _code(self, name: str) -> Layer:
        """The program's modules, and the folder it may write to: a fresh volume there gets its owner."""
        code = load_closure(
            "edgeferry.device.__main__" if name == DEVICE_AGENT else f"edgeferry.device.modules.{name}"
        )
        writable = CAPTURES_FOLDER.strip("/") if name == "server" else ""
        return self._files(DEVICE_AGENT if name == DEVICE_AGENT else "server", SERVER, code, writable)

    def _dependencies(self, name: str) -> Layer:
        text = _requirements(name)
        inputs = {
            "requirements": text,
            "platform": _PLATFORMS[self._architecture],
            "python": "3.11",
            "left_out": (*_LEFT_OUT, *_UNUSED),
            "bytecode": bool(find_compiler()),
        }
        return self._store.layer(
            "dependencies",
            inputs,
            lambda layer: self._install(text, LIB, layer, hashes=True),
            compressed=True,
        )

    def _library(self, serving: Serving) -> Layer:
        """What `serving` requires, without what the server's own dependencies hold in that very version."""
        inputs = {
            "requirements": serving.requirements,
            "versions": serving.versions,
            "exact": serving.exact,
            "present": sorted(_pins(_requirements("server"))),
            "platform": _PLATFORMS[self._architecture],
            "python": "3.11",
            "left_out": (*_LEFT_OUT, *_UNUSED),
            "bytecode": bool(find_compiler()),
        }

        def fill(layer: LayerTar) -> None:
            needed = sorted(self._resolve(serving) - _pins(_requirements("server")))
            self._install("\n".join(needed), LIBRARY, layer, hashes=False)

        return self._store.layer("library", inputs, fill, compressed=True)

    def _resolve(self, serving: Serving) -> set[str]:
        """All that the requirements lead to, as `name==version`, in the versions that trained the model."""
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
            asked, found = Path(scratch, "requirements.txt"), Path(scratch, "versions.txt")
            asked.write_text(serving.requirements, "utf-8")
            # uv prefers what the output file holds already
            found.write_text("\n".join(serving.versions) + "\n", "utf-8")
            command = ["compile", "--no-header", "--no-annotate", "--output-file", str(found), str(asked)]
            if serving.exact:
                constraints = Path(scratch, "constraints.txt")
                constraints.write_text(found.read_text("utf-8"), "utf-8")
                command += ["--constraint", str(constraints)]
            self._call_uv(*command)
            return _pins(found.read_text("utf-8"))

    def _install(self, requirements: str, folder: str, layer: LayerTar, *, hashes: bool) -> None:
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as scratch:
            listed, lib = Path(scratch, "requirements.txt"), Path(scratch, "lib")
            listed.write_text(requirements, "utf-8")
            lib.mkdir()
            checks = ["--require-hashes"] if hashes else []
            self._call_uv("install", "--no-deps", *checks, "--target", str(lib), "-r", str(listed))
            _prune(lib)
            compile_folder(lib, f"/{folder}")
            for path in _walk(lib):
                layer.file(f"{folder}/{path.relative_to(lib).as_posix()}", path.read_bytes())

    def _call_uv(self, *arguments: str) -> None:
        """uv's pip did this for the image's platform; RefusedError when the packages exclude each other."""
        command, *rest = arguments
        place = ["--python", sys.executable, "--python-version", "3.11"]
        place += ["--python-platform", _PLATFORMS[self._architecture], "--only-binary", ":all:"]
        done = subprocess.run(
            [self._uv, "pip", command, "--quiet", "--no-progress", *place, *rest],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=child_environment(),
            check=False,
        )
        if done.returncode == 0:
            return
        reason = " ".join(done.stderr.split())
        if "No solution found" in reason:
            raise RefusedError(
                f"what the model needs cannot be put into an image: {reason}",
                fix="let the model's requirements and its step environment name the same versions",
            )
        raise OutsideError(
            f"the image's dependencies could not be fetched: {reason}",
            fix="check that the package index (uv's configuration) can be reached, and try again",
            retryable=True,
        )

    def _files(self, title: str, folder: str, files: Mapping[str, bytes], writable: str = "") -> Layer:
        def fill(layer: LayerTar) -> None:
            if writable:
                layer.folder(writable, int(USER.partition(":")[0]))
            for name in sorted(files):
                layer.file(f"{folder}/{name}", files[name])

        inputs = {f"{folder}/{name}": digest_of(body) for name, body in files.items()}
        if writable:
            inputs[writable] = f"writable by {USER}"
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


def _requirements(module: str) -> str:
    file = importlib.resources.files("edgeferry.adapters") / "requirements" / f"{module}.txt"
    return file.read_text("utf-8")


def _pins(requirements: str) -> set[str]:
    """The `name==version` that lines begin with."""
    return set(re.findall(r"^[\w.-]+==[^\s;]+", requirements, re.MULTILINE))


def _run(module: str, port: str, libraries: tuple[str, ...] = ()) -> Run:
    return Run((PYTHON, "-m", module), _env(libraries), USER, (port,))


def _env(libraries: tuple[str, ...] = ()) -> tuple[str, ...]:
    path = ":".join(f"/{folder}" for folder in (SERVER, *libraries, LIB))
    return (
        "PATH=/usr/local/bin:/usr/bin",
        f"PYTHONPATH={path}",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        "ORT_DISABLE_TELEMETRY=1",  # a device talks to its hub and to nobody else
    )


def _prune(folder: Path) -> None:
    """Takes away what no image needs."""
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder).as_posix()
        if path.name in _LEFT_OUT or any(fnmatch.fnmatchcase(within, pattern) for pattern in _UNUSED):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _walk(folder: Path) -> Iterator[Path]:
    """The files below `folder`, sorted."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path
