"""What a device keeps on disk, in one folder with mode 0700: its enrolment, the last desired properties and
its modules' keys, so that it starts and runs without its hub.

`device.json` is written at enrolment; the rest is the agent's own, kept as `checked_file` and `journal` say.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from edgeferry.device.checked_file import CheckedFile
from edgeferry.device.durable import Json, replace_file
from edgeferry.device.journal import Journal, read_journal
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.connection import ConnectionString
from edgeferry.wire.enrolment import parse_device_file

DEVICE_FILE = "device.json"

RETRIES = "retries"
"""A file for each layer that is to be tried again, named by it."""


@dataclass(frozen=True)
class Enrolment:
    """Who this device is, and what it was told about its surroundings."""

    connection: ConnectionString
    device: str
    hub_ca_file: Path | None
    gateway_name: str
    """The hub's name inside containers, present in its certificate: where none is given, the name by which
    this device reaches it."""
    gateway_address: str
    """Where containers reach it; empty when the name resolves by itself."""
    registries: tuple[RegistryLogin, ...]
    engine: str
    sandbox: str


def load_enrolment(folder: Path) -> Enrolment:
    """What `device.json` in `folder` says; UsageError naming what is missing."""
    path = folder / DEVICE_FILE
    try:
        said = parse_device_file(json.loads(path.read_bytes()))
        here = said.surroundings
        return Enrolment(
            connection=said.connection,
            device=said.device,
            hub_ca_file=Path(said.hub_ca_file) if said.hub_ca_file else None,
            gateway_name=here.gateway_name,
            gateway_address=here.gateway_address,
            registries=here.registries,
            engine=here.engine,
            sandbox=here.sandbox,
        )
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            fix="enrol the device first, by the line that 'edgeferry devices enrol NAME' prints, "
            "or name its folder with --state",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not an enrolment: {error!r}", fix="enrol the device again") from error


class Store:
    """The agent's files in `folder`; only one agent may hold it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = CheckedFile(folder / "state.json")
        """What the journal's entries up to its `sequence` have made of the device."""
        self.journal = Journal(folder / "journal")
        self.owner = CheckedFile(folder / "owner")
        """See `ownership`."""
        self._desired = CheckedFile(folder / "desired.json")
        self._keys = CheckedFile(folder / "keys.json")
        self._images = CheckedFile(folder / "images.json")
        self._lock_file = -1

    def open(self) -> None:
        """This process owns the folder; OutsideError when another agent does."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise OutsideError(
                f"another agent already runs in {self.folder}",
                fix="leave it to that one, or stop it first: edgeferry agent status says how it runs",
            ) from error
        self._lock_file = descriptor

    def close(self) -> None:
        """The folder is free again."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def load_desired(self) -> tuple[Json, int] | None:
        """The last desired properties and their version, or None."""
        said = self._desired.load() or {}
        desired, version = said.get("desired"), said.get("version")
        return (desired, version) if isinstance(desired, dict) and isinstance(version, int) else None

    def save_desired(self, desired: Mapping[str, Any], version: int) -> None:
        """The desired properties survive a restart; OSError, and those of before do."""
        self._desired.save({"desired": desired, "version": version})

    def load_keys(self) -> dict[str, str]:
        """The modules' keys by module name."""
        said = self._keys.load() or {}
        return {name: key for name, key in said.items() if isinstance(key, str)}

    def save_keys(self, keys: Mapping[str, str]) -> None:
        """The modules' keys survive a restart; OSError, and those of before do."""
        self._keys.save(dict(keys))

    def load_images(self) -> tuple[set[str], dict[str, tuple[str, ...]]]:
        """The images this device pulled, and each module's images, the latest first."""
        said = self._images.load() or {}
        pulled, history = said.get("pulled"), said.get("history")
        return (
            set(pulled) if isinstance(pulled, list) else set(),
            {module: tuple(images) for module, images in history.items()}
            if isinstance(history, dict)
            else {},
        )

    def save_images(self, pulled: Set[str], history: Mapping[str, Sequence[str]]) -> None:
        """What was pulled and what ran survive a restart; OSError, and what was kept before does."""
        kept = {module: list(images) for module, images in history.items()}
        self._images.save({"pulled": sorted(pulled), "history": kept})

    # what is said between the agent and who looks after it on this machine

    def save_status(self, said: Mapping[str, Any]) -> None:
        """What the agent does and knows, for `edgeferry agent status`."""
        replace_file(self.folder / "status.json", json.dumps(dict(said)).encode(), 0o600)

    def load_status(self) -> Json:
        """What the agent said of itself last; {} before it did."""
        try:
            said = json.loads((self.folder / "status.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def check(self) -> None:
        """This version of the agent can read all files; UsageError naming one that it cannot."""
        for file in (self.state, self.owner, self._desired, self._keys, self._images):
            file.read()
        read_journal(self.journal.path)

    def ask_retry(self, layer: str) -> None:
        """The agent tries that layer again, quarantined or not; any process may ask."""
        asked = self.folder / RETRIES
        asked.mkdir(mode=0o700, exist_ok=True)
        (asked / quote(layer, safe="")).touch(mode=0o600)

    def take_retries(self) -> set[str]:
        """The layers that somebody asked to try again since the last call."""
        try:
            asked = sorted((self.folder / RETRIES).iterdir())
        except FileNotFoundError:
            return set()
        for path in asked:
            path.unlink(missing_ok=True)
        return {unquote(path.name) for path in asked}

    def is_held(self) -> bool:
        """Whether an agent owns the folder now: the kernel holds its lock as long as it lives."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False
