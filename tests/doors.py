"""A way to the engine that can be shut, as if the engine had gone away."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class Door:
    """A socket that leads to the engine, until it is shut."""

    def __init__(self, path: Path, to: Path) -> None:
        self.path, self.to = path, to

    def __enter__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        self.socket.bind(str(self.path))
        self.socket.listen()
        self.ends = [self.socket]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                inside, _ = self.socket.accept()
            except OSError:
                return
            outside = socket.socket(socket.AF_UNIX)
            outside.connect(str(self.to))
            self.ends += [inside, outside]
            for source, target in ((inside, outside), (outside, inside)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()

    def __exit__(self, *_):
        self.shut()

    def shut(self) -> None:
        """Nobody comes through, and who had come through is cut off."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.path.unlink(missing_ok=True)


def _copy(source, target) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
