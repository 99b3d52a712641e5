"""The model server, with captures that a signal switches off and on: what they cost is seen in one process.

Two processes with the same program differ by some percent, by where they lie in memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from edgeferry.device.modules import server
from edgeferry.device.modules.capture import Captures
from edgeferry.device.modules.loading import Served
from edgeferry.domain.capture_policy import CapturePolicy

MARKS = "EDGEFERRY_BENCH_MARKS"
"""Names the file in which each switch leaves a line: whether captures are on from then on, the processor
nanoseconds of the process and the answers until then."""


class Switched(server.ModelServer):
    """Captures are on until the first SIGUSR1."""

    def serve(self, served: Served, captures: Captures) -> None:
        """It is ready from now on."""
        super().serve(served, captures)
        self._others = Captures(None, served.card, "", CapturePolicy(enabled=False))
        self._is_on = True
        self._marks = Path(os.environ[MARKS])
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._switch)

    def _switch(self) -> None:
        self._is_on = not self._is_on
        self.scoring.captures, self._others = self._others, self.scoring.captures or self._others
        with self._marks.open("a") as file:
            file.write(f"{int(self._is_on)} {time.process_time_ns()} {self.http.statuses[200]}\n")


if __name__ == "__main__":
    server.ModelServer = Switched  # type: ignore[misc]
    sys.exit(server.main(sys.argv[1:]))
