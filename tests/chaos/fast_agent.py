"""`python -m tests.chaos.fast_agent RATE --state DIR`: the agent, for whom time goes RATE times as fast.

Its clocks run faster and its waits end sooner, so that an hour passes in a minute or less. What it waits for
from outside (an answer of the engine, a handshake) takes as long as it takes.
"""

from __future__ import annotations

import sys
import threading
import time

RATE = float(sys.argv[1]) if __name__ == "__main__" else 1.0


def hurry(rate: float) -> None:
    """Clocks and waits of this process are `rate` times as fast from now on."""
    clock, wall, sleep, wait = time.monotonic, time.time, time.sleep, threading.Condition.wait
    began, began_wall = clock(), wall()
    time.monotonic = lambda: began + (clock() - began) * rate
    time.time = lambda: began_wall + (wall() - began_wall) * rate
    time.sleep = lambda seconds: sleep(seconds / rate)

    def wait_less(self: threading.Condition, timeout: float | None = None) -> bool:
        return wait(self, timeout if timeout is None else max(timeout / rate, 0.001))

    threading.Condition.wait = wait_less


if __name__ == "__main__":
    hurry(RATE)
    from edgeferry.device import __main__ as agent

    sys.exit(agent.main(sys.argv[2:]))
