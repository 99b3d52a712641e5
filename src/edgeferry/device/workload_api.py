"""The workload API that the agent serves, as IoT Edge serves it: modules sign without holding a key.

Each module has a folder of its own with one socket, and the folder is what its container mounts: an agent
that starts again makes the socket anew in the same folder. Which module asks is known by the socket. The
folders' parent is closed to other users of the device; a container's mount does not pass through it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from edgeferry.device.identities import Identities
from edgeferry.device.module_keys import PATIENCE_S, ModuleKeys
from edgeferry.device.sealing import generation, load_secret
from edgeferry.device.workload_answers import Answers
from edgeferry.device.workload_door import REQUEST_S, Door
from edgeferry.errors import OutsideError

_log = logging.getLogger(__name__)


class WorkloadApi:
    """The sockets in `folder` (made, 0700). `trust_bundle` gives the authorities (PEM) of the hub.

    OutsideError when the folder cannot be made or written to.
    """

    def __init__(
        self,
        folder: Path,
        identities: Identities,
        trust_bundle: Callable[[], str],
        *,
        patience_s: float = PATIENCE_S,
        request_s: float = REQUEST_S,
    ) -> None:
        self.folder = folder.resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            secret = load_secret(self.folder / "secret.key")
        except OSError as error:
            raise OutsideError(
                f"{self.folder} cannot be made: {error.strerror}", fix="free space, or correct its owner"
            ) from error
        self.generation = generation(secret)
        """Names this folder's life: containers made for another one hold a mount that leads nowhere."""
        self._request_s = request_s
        self._keys = ModuleKeys(identities, patience_s=patience_s)
        self._answers = Answers(self.folder, secret, self._keys, trust_bundle, lambda: sorted([*self._doors]))
        self._lock = threading.Lock()
        self._doors: dict[str, Door] = {}

    def open(self, module: str) -> Path:
        """The folder to mount for the module, whose socket listens; its identity at the hub is made beside
        it. Again is fine. OSError when the socket cannot be made."""
        folder = self.folder / module
        with self._lock:
            if module not in self._doors:
                folder.mkdir(exist_ok=True)
                folder.chmod(0o755)
                answer = partial(self._answers.answer, module)
                self._doors[module] = Door(folder, answer, request_s=self._request_s)
        self._keys.prepare(module)
        return folder

    def open_all(self, modules: Iterable[str] = ()) -> None:
        """The sockets of these modules listen, and of all that had one before; one that cannot is logged."""
        before = {path.name for path in self.folder.iterdir() if path.is_dir() and "." not in path.name}
        for module in sorted({*modules, *before}):
            try:
                self.open(module)
            except OSError as error:
                _log.error("workload socket not made module=%s: %s", module, error)

    def close(self, module: str) -> None:
        """The module's socket and folder are gone; for a module whose container is."""
        with self._lock:
            door = self._doors.pop(module, None)
        if door is not None:
            door.close()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder / module)

    def stop(self) -> None:
        """No socket listens any more; the folders stay, for containers that mount them."""
        with self._lock:
            doors, self._doors = self._doors, {}
        for door in doors.values():
            door.close()
