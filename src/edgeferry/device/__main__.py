"""`python -m edgeferry.device --state DIR`: one device's agent, until SIGTERM; containers are left running.

With `--wipe` it removes this device's containers, network and volumes instead, and ends. `--mark` is what an
agent's own container carries, so that it finds itself and can be updated.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from edgeferry.device.agent import Agent, wipe
from edgeferry.device.options import load_rules
from edgeferry.device.state import Enrolment, Store, load_enrolment
from edgeferry.device.turns import Turns
from edgeferry.engine import Engine
from edgeferry.errors import EdgeferryError


def main(arguments: list[str]) -> int:
    """The exit code: 0, or that of the error told on stderr."""
    parser = argparse.ArgumentParser(prog="edgeferry.device")
    parser.add_argument("--state", type=Path, required=True, help="the folder with device.json")
    parser.add_argument("--mark", default="", help="the label of the container that this agent runs in")
    parser.add_argument("--wipe", action="store_true", help="remove the device's containers and network")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    store = Store(chosen.state)
    try:
        enrolment = load_enrolment(chosen.state)
        if chosen.wipe:
            store.open()
            wipe(enrolment)
        else:
            _run(enrolment, store, chosen.mark)
    except EdgeferryError as error:
        sys.stderr.write(f"{error.problem}\n{error.fix}\n")
        return error.exit_code
    finally:
        store.close()
    return 0


def _run(enrolment: Enrolment, store: Store, mark: str) -> None:
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
    turns = Turns(store, engine, mark, load_rules(store.folder).update, stopping)
    try:
        while turns.take():
            acting[:] = [Agent(enrolment, store, mark=mark)]
            if not stopping.is_set():
                acting[0].run()
            store.close()
            if not acting[0].handed_over:
                return
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
