"""`python -m edgeferry.device --state DIR`: one device's agent, until SIGTERM; containers are left running.

With `--wipe` it removes this device's containers, network and volumes instead, and ends. Where another agent
owns the device's containers it does neither, but for `--take-over`. In the folder of a device that was
decommissioned it has nothing to do but to finish that, and ends as well. `--mark` is what an agent's own
container carries, so that it finds itself and can be updated.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from edgeferry.device.agent import Agent
from edgeferry.device.options import load_rules
from edgeferry.device.ownership import claim
from edgeferry.device.state import Enrolment, Store, load_enrolment
from edgeferry.device.turns import Turns
from edgeferry.device.wipe import Wiped, clear_engine, finish, is_decommissioned
from edgeferry.engine import Engine
from edgeferry.errors import EdgeferryError, OutsideError


def main(arguments: list[str]) -> int:
    """The exit code: 0, or that of the error told on stderr."""
    parser = argparse.ArgumentParser(prog="edgeferry.device")
    parser.add_argument("--state", type=Path, required=True, help="the folder with device.json")
    parser.add_argument("--mark", default="", help="the label of the container that this agent runs in")
    parser.add_argument("--wipe", action="store_true", help="remove the device's containers and network")
    parser.add_argument(
        "--take-over", action="store_true", help="make containers of this device anew that another agent made"
    )
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    store = Store(chosen.state)
    try:
        if is_decommissioned(chosen.state):
            store.open()
            return _end_decommissioned(chosen.state)
        enrolment = load_enrolment(chosen.state)
        if chosen.wipe:
            store.open()
            claim(enrolment, store, take_over=chosen.take_over)
            return _tell(clear_engine(enrolment.engine, enrolment.sandbox, enrolment.device))
        _run(enrolment, store, chosen)
        if is_decommissioned(chosen.state):
            return _end_decommissioned(chosen.state)
    except EdgeferryError as error:
        sys.stderr.write(f"{error.problem}\n{error.fix}\n")
        return error.exit_code
    finally:
        store.close()
    return 0


def _end_decommissioned(folder: Path) -> int:
    sys.stderr.write("this device was decommissioned: its agent has nothing to do\n")
    return _tell(finish(folder))


def _tell(wiped: Wiped) -> int:
    """The exit code: 3 when something could not go, which is told on stderr and worth another try."""
    for problem in wiped.problems:
        sys.stderr.write(f"{problem}\n")
    return OutsideError.exit_code if wiped.problems else 0


def _run(enrolment: Enrolment, store: Store, chosen: argparse.Namespace) -> None:
    """Acts as often as it is this agent's turn, until told to stop or it ends by itself."""
    stopping = threading.Event()
    acting: list[Agent] = []

    def stop(*_: object) -> None:
        stopping.set()
        for agent in acting:
            agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    engine = Engine(enrolment.engine)
    turns = Turns(store, engine, chosen.mark, load_rules(store.folder).update, stopping)
    try:
        while turns.take():
            claim(enrolment, store, take_over=chosen.take_over)
            acting[:] = [Agent(enrolment, store, mark=chosen.mark)]
            if not stopping.is_set():
                acting[0].run()
            store.close()
            if not acting[0].handed_over:
                return
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
