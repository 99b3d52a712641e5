"""A controller in a process of its own, that dies by SIGKILL after its n-th act on ledger or hub:
python -m tests.workflows.controller HUB_STATE FOLDER RELEASE WAVES DIES_AFTER (0: it lives)."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from edgeferry.workflows.release import find_release
from tests.hollows import open_services, roll, rules

ACTS = ("append_unless", "create_configuration", "update_configuration", "delete_configuration")


class Mortal:
    """Does what the other does, and dies after so many acts."""

    left = 0

    def __init__(self, other: Any) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._other, name)
        if name not in ACTS:
            return found

        def act(*given: Any, **named: Any) -> Any:
            answer = found(*given, **named)
            Mortal.left -= 1
            if Mortal.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return act


def main(state: str, folder: str, release: str, waves: str, dies_after: str) -> None:
    services = open_services(Path(state), Path(folder), lambda line: print(line, file=sys.stderr))
    Mortal.left = int(dies_after)
    services.hub, services.ledger = Mortal(services.hub), Mortal(services.ledger)  # type: ignore[misc]
    result = roll(services, find_release(services, release), rules(waves=waves), lease_s=1.0)
    print(json.dumps({"state": result.state, "rollout": result.rollout, "reason": result.reason}))


if __name__ == "__main__":
    main(*sys.argv[1:])
