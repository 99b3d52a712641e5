"""How an agent is installed on this machine: as a unit of systemd, or as a container."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.device.agent_container import NAME, STATE_LABEL, render_agent
from edgeferry.device.agent_record import UpdateRecord
from edgeferry.device.state import Enrolment, load_enrolment
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import EdgeferryError, EngineError, OutsideError, UsageError
from edgeferry.wire.systemd import UNIT, render_agent_unit

SYSTEMD = Path("/run/systemd/system")
UNITS = Path("/etc/systemd/system")
_STOP_S = 60


@dataclass(frozen=True)
class Installed:
    """How the agent of a state folder is installed: `unit`, `container` or `nothing`."""

    form: str
    where: str = ""


def has_systemd() -> bool:
    """Whether systemd runs this machine."""
    return SYSTEMD.is_dir()


def render_unit(state: Path) -> str:
    """The unit for the agent of this installation with that state folder."""
    return render_agent_unit((sys.executable, "-m", "edgeferry.device", "--state", str(state)), str(state))


def write_unit(folder: Path, text: str) -> bool:
    """Whether the unit in `folder` had to be written. UsageError when it cannot be."""
    path = folder / UNIT
    try:
        if path.is_file() and path.read_text("utf-8") == text:
            return False
        path.write_text(text, "utf-8")
    except OSError as error:
        fix = "sudo edgeferry agent install" if os.geteuid() else "name another folder with --unit-dir"
        raise UsageError(f"{path} cannot be written: {error.strerror}", fix=fix) from error
    return True


def call_systemctl(*arguments: str) -> None:
    """systemctl did it; OutsideError with its words when not."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutsideError(
            f"systemctl {' '.join(arguments)} failed: {done.stderr.strip()}",
            fix=f"read: journalctl -u {UNIT}",
        )


def unit_is_active() -> bool:
    """Whether systemd has the agent running."""
    asked = ["systemctl", "is-active", "--quiet", UNIT]
    return has_systemd() and subprocess.run(asked, check=False).returncode == 0


def remove_unit() -> bool:
    """Whether there was a unit; it is stopped, and gone."""
    path = UNITS / UNIT
    if not path.is_file():
        return False
    if has_systemd():
        call_systemctl("disable", "--now", UNIT)
    try:
        path.unlink()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be removed: {error.strerror}", fix="sudo edgeferry agent uninstall"
        ) from error
    if has_systemd():
        call_systemctl("daemon-reload")
    return True


@contextlib.contextmanager
def connected(state: Path) -> Iterator[tuple[Engine, Enrolment]]:
    """The engine of the device in that state folder, and its enrolment."""
    enrolment = load_enrolment(state)
    engine = Engine(enrolment.engine)
    try:
        yield engine, enrolment
    finally:
        engine.close()


def find_installed(state: Path) -> Installed:
    """How the agent of that state folder is installed; an engine that does not answer has no agent."""
    path = UNITS / UNIT
    with contextlib.suppress(OSError):
        if f"--state {state}\n" in path.read_text("utf-8"):
            return Installed("unit", str(path))
    with contextlib.suppress(EdgeferryError), connected(state) as (engine, _):
        for facts in find_containers(engine, state):
            return Installed("container", facts.name)
    return Installed("nothing")


def find_containers(engine: Engine, state: Path) -> list[ContainerFacts]:
    """The agents of that state folder that run as containers; two while one follows the other."""
    return engine.containers({STATE_LABEL: str(state)})


def remove_containers(state: Path) -> Sequence[str]:
    """Names of the agents' containers that are gone now, and with them what they knew of an update."""
    with connected(state) as (engine, _):
        found = find_containers(engine, state)
        for facts in found:
            engine.stop(facts.id, _STOP_S)
            engine.remove(facts.id)
    if found:
        record = UpdateRecord(state)
        record.move(record.load(), None)
    return [facts.name for facts in found]


def run_container(state: Path, image: str) -> tuple[str, bool]:
    """(name, whether anything changed): the agent of that state folder runs from the image, which is pulled
    where the engine lacks it. Another agent's container is stopped first."""
    with connected(state) as (engine, enrolment):
        found = find_containers(engine, state)
        if len(found) == 1 and found[0].image == image:
            engine.start(found[0].id)
            return found[0].name, not found[0].running
        if engine.image(image) is None:
            registry = image.partition("/")[0]
            logins = {login.address: (login.username, login.password) for login in enrolment.registries}
            engine.pull(image, *logins.get(registry, ("", "")))
        name = _choose_name(engine, state, enrolment)
        remove_containers(state)
        mark = uuid.uuid4().hex
        body = render_agent(image, state, mark, enrolment.engine, enrolment.hub_ca_file)
        engine.start(engine.create(name, body))
        return name, True


def _choose_name(engine: Engine, state: Path, enrolment: Enrolment) -> str:
    """`edgeferry-agent`, or with the device's name behind it where another device's agent has that."""
    there = engine.inspect(NAME)
    if there is None or there.labels.get(STATE_LABEL) == str(state):
        return NAME
    name = f"{NAME}-{enrolment.device}"
    other = engine.inspect(name)
    if other is not None and other.labels.get(STATE_LABEL) != str(state):
        raise EngineError(f"another agent's container is called {name}", fix=f"remove it: docker rm {name}")
    return name
