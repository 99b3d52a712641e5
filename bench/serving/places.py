"""Environments of the measured servers: below `.bench/`, made by uv, kept until what they hold changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.serving.servers import BenchError
from edgeferry.adapters.closure import load_closure

SOURCES = Path(__file__).resolve().parents[2]
PLACE = SOURCES / ".bench"
PEERS = {
    "azureml": ("azureml-inference-server-http==1.5.1", "flask==3.1.3", "gunicorn==27.0.1"),
    "mlflow": ("mlflow==3.17.2",),
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"),
    "bentoml": ("bentoml==1.4.39",),
}
LOCKED = SOURCES / "src/edgeferry/adapters/requirements/server.txt"
SERVER = "edgeferry.device.modules.server"


def make_peer(name: str, library: tuple[str, ...]) -> Path:
    """The folder of one peer's programs, with the library that runs the model."""
    return _make(name, "\n".join((*PEERS[name], *library)))


def make_ours(library: tuple[str, ...] = ()) -> Path:
    """Our server's environment: what its image holds, compiled as there, and the library where the model
    needs it."""
    name = "edgeferry-library" if library else "edgeferry"
    locked = LOCKED.read_text("utf-8")
    return _make(name, locked, ("--require-hashes", "--no-deps"), "\n".join(library))


def write_code(folder: Path, module: str = SERVER) -> Path:
    """The modules of ours that an image with `module` holds, and no others."""
    for name, body in load_closure(module).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    return folder


def _make(name: str, requirements: str, options: tuple[str, ...] = (), more: str = "") -> Path:
    place = PLACE / name
    kept, wanted = place / "installed.txt", f"{sys.version}, compiled\n{requirements}\n{more}"
    if not (kept.is_file() and kept.read_text("utf-8") == wanted):
        print(f"· making {place.relative_to(SOURCES)}", flush=True)
        PLACE.mkdir(exist_ok=True)
        _call("venv", "--quiet", "--clear", "--python", sys.executable, str(place))
        _install(place, requirements, options)
        if more:
            _install(place, more)
        kept.write_text(wanted, "utf-8")
    return place / "bin"


def _install(place: Path, requirements: str, options: tuple[str, ...] = ()) -> None:
    listed = place / "requirements.txt"
    listed.write_text(requirements + "\n", "utf-8")
    python = str(place / "bin/python")
    always = ("--quiet", "--link-mode", "copy", "--compile-bytecode")
    _call("pip", "install", *always, "--python", python, *options, "-r", str(listed))


def _call(*arguments: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("uv")), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"uv {' '.join(arguments[:2])} failed: {done.stderr[-1500:]}")
