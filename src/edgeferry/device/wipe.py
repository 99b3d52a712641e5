"""Out of the fleet: a device's containers, network, volumes and images go, then its keys and state.

A marker is written first, and says what is left to do: whoever starts the agent in that folder again, as
systemd does after a crash in the middle, finishes the wipe and ends. `agent.toml` stays: it is the owner's.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeferry.device.containers import Place
from edgeferry.device.durable import replace_file
from edgeferry.device.options import FILE as RULES_FILE
from edgeferry.device.state import Enrolment, Store
from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from edgeferry.wire.enrolment import DECOMMISSIONED

KEPT = frozenset((DECOMMISSIONED, RULES_FILE, "lock"))
"""What stays in the folder of a device that left."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wiped:
    """What is gone, by kind, and what could not go."""

    removed: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def clear_engine(engine_url: str, sandbox: str, device: str, images: Collection[str] = ()) -> Wiped:
    """The device's containers, network and volumes are gone, and of `images` those that nothing else uses."""
    place = Place(sandbox, device, "", "")
    engine = Engine(engine_url)
    problems: list[str] = []
    removed = dict.fromkeys(("containers", "networks", "volumes", "images"), 0)
    try:
        for facts in engine.containers(place.labels):
            engine.remove(facts.id)
            removed["containers"] += 1
        for network in engine.networks(place.labels):
            engine.remove_network(network)
            removed["networks"] += 1
        for volume in engine.volumes(place.network + "."):
            engine.remove_volume(volume)
            removed["volumes"] += 1
        for image in sorted(images):
            removed["images"] += _remove_image(engine, image)
    except EngineError as error:
        problems.append(str(error))
    finally:
        engine.close()
    return Wiped(removed, tuple(problems))


def decommission(enrolment: Enrolment, store: Store) -> Wiped:
    """What is gone of this device; what could not go is tried again by `finish`. The caller holds the store,
    and nothing of the agent acts on containers any more."""
    left = {
        "engine": enrolment.engine,
        "sandbox": enrolment.sandbox,
        "device": enrolment.device,
        "images": sorted(store.load_images()[0]),
    }
    _mark(store.folder, enrolment.device, left)
    return finish(store.folder)


def is_decommissioned(folder: Path) -> bool:
    """Whether the device of this folder was decommissioned: its agent has nothing to do."""
    return (folder / DECOMMISSIONED).exists()


def finish(folder: Path) -> Wiped:
    """What is gone now of a decommissioned device; keys and state in any case, whatever the engine says."""
    device, left = _read_mark(folder)
    cleared = Wiped()
    if left:
        cleared = clear_engine(left["engine"], left["sandbox"], left["device"], left["images"])
    files, problems = _erase(folder)
    if left and not cleared.problems:
        _mark(folder, device, None)
    wiped = Wiped({**cleared.removed, "files": files}, (*cleared.problems, *problems))
    _log.info("decommissioned device=%s removed=%s problems=%s", device, wiped.removed, wiped.problems)
    return wiped


def _remove_image(engine: Engine, image: str) -> bool:
    """Whether it went; one that another container uses stays, and is no fault."""
    try:
        engine.remove_image(image)
    except EngineError as error:
        if error.retryable:
            raise
        _log.info("image=%s stays: %s", image, error.problem)
        return False
    return True


def _mark(folder: Path, device: str, left: Mapping[str, Any] | None) -> None:
    replace_file(folder / DECOMMISSIONED, json.dumps({"device": device, "left": left}).encode(), 0o600)


def _read_mark(folder: Path) -> tuple[str, dict[str, Any] | None]:
    """(device, what is left on the engine); a marker that cannot be read leaves nothing to know."""
    try:
        said = json.loads((folder / DECOMMISSIONED).read_bytes())
        return str(said["device"]), said["left"]
    except (OSError, ValueError, KeyError, TypeError):
        return "", None


def _erase(folder: Path) -> tuple[int, list[str]]:
    """(files erased, what could not be). Files are overwritten first, which flash memory may ignore."""
    erased, problems = 0, []
    for path in sorted(folder.iterdir()):
        if path.name in KEPT:
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                for inner in path.rglob("*"):
                    if inner.is_file() and not inner.is_symlink():
                        _overwrite(inner)
                        erased += 1
                shutil.rmtree(path)
                continue
            if path.is_file() and not path.is_symlink():
                _overwrite(path)
            path.unlink(missing_ok=True)
            erased += 1
        except OSError as error:
            problems.append(f"{path} stays: {error.strerror}")
    return erased, problems


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
