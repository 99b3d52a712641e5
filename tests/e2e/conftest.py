"""One sandbox for all end-to-end tests: real servers, real devices, a copy of the example project."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeferry.engine import ContainerFacts, Engine
from edgeferry.settings import load_settings
from edgeferry.wiring import open_hub
from tests.typed import clean_environment, typed

ROOT = Path(__file__).parents[2]
REAL_TRIPS = ROOT.parent / "shared" / "data" / "tlc"


@dataclass(frozen=True)
class Ran:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`edgeferry` as a user runs it, on one project and one state folder."""

    project: Path
    state: Path

    def __call__(self, *arguments: str, timeout_s: int = 900, **extra: str) -> Ran:
        environment = clean_environment(EDGEFERRY_STATE=str(self.state), **extra)
        words = ("--project", str(self.project), *arguments)
        done = typed(*words, environment=environment, timeout_s=timeout_s)
        return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def caches(pytestconfig: pytest.Config) -> dict[str, Path]:
    """What a state folder holds that takes minutes to make and is safe to delete, kept in pytest's cache."""
    assert pytestconfig.cache is not None
    folders = {"images": "images", "environments": "step-environments"}
    return {name: pytestconfig.cache.mkdir(kept) for name, kept in folders.items()}


@pytest.fixture(scope="session")
def edgeferry(tmp_path_factory: pytest.TempPathFactory, caches: dict[str, Path]) -> Iterator[CommandLine]:
    """A fresh copy of the taxi project, its state empty but for caches; everything it started is gone
    afterwards."""
    home = tmp_path_factory.mktemp("e2e")
    shutil.copytree(
        ROOT / "examples" / "taxi", home / "taxi", ignore=shutil.ignore_patterns(".edgeferry", "__pycache__")
    )
    command = CommandLine(home / "taxi", home / "state")
    link_caches(command.state, caches)
    try:
        yield command
    finally:
        command("down", "--wipe")
        shutil.rmtree(command.state / "steps", ignore_errors=True)  # large, other than the records


def link_caches(state: Path, caches: dict[str, Path]) -> None:
    """The new state folder has these caches."""
    state.mkdir()
    for name, kept in caches.items():
        (state / name).symlink_to(kept)


@pytest.fixture(scope="session")
def demo(edgeferry: CommandLine) -> Ran:
    """The demo, run once."""
    return edgeferry("demo", "--devices", "3", "--output", "json")


class Devices:
    """What the hub says of devices, and what the engine runs for them."""

    def __init__(self, edgeferry: CommandLine) -> None:
        known = json.loads((edgeferry.state / "sandbox.json").read_text())
        self.engine = Engine(known["engine"])
        self.sandbox = known["id"]
        self._project = edgeferry.project
        self._state = edgeferry.state

    def container(self, device: str, module: str) -> ContainerFacts:
        found = self.engine.inspect(f"{module}.edgeferry.{self.sandbox}.{device}")
        assert found is not None
        return found

    def twin(self, device: str, module: str) -> dict[str, Any]:
        with open_hub(load_settings(self._project, {"state": str(self._state)}), print) as hub:
            return hub.module_twin(device, module) or {}

    def verdict(self, device: str, model: str) -> dict[str, Any]:
        verdict: dict[str, Any] = self.twin(device, "companion")["properties"]["reported"]["verdicts"][model]
        return verdict

    def url(self, device: str, model: str) -> str:
        modules = self.twin(device, "$edgeAgent")["properties"]["reported"]["modules"]
        return f"http://127.0.0.1:{modules[model]['hostPorts']['8080/tcp']}"

    def layers(self, model: str) -> list[str]:
        with open_hub(load_settings(self._project, {"state": str(self._state)}), print) as hub:
            found = [c for c in hub.configurations() if (c["labels"] or {}).get("model") == model]
        return [str(c["labels"]["release"]) for c in sorted(found, key=lambda c: c["priority"])]


@pytest.fixture
def devices(edgeferry: CommandLine, demo: Ran) -> Any:
    found = Devices(edgeferry)
    yield found
    found.engine.close()


def other_trips(edgeferry: CommandLine, folder: Path, left_out: int) -> str:
    """The sample without its last rows: another version of the model."""
    folder.mkdir()
    for file in (edgeferry.project / "models" / "nyc_taxi" / "data").glob("*.csv"):
        lines = file.read_text().splitlines(keepends=True)
        (folder / file.name).write_text("".join(lines[: len(lines) - left_out]))
    return f"raw_data={folder}"
