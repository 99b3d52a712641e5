"""A writer of journal and state, as the agent is one, killed at random moments."""

import os
import random
import signal
import subprocess
import sys
import time

from edgeferry.device.checked_file import CheckedFile
from edgeferry.device.journal import Journal

KILLS = 60

WRITER = """
import os, sys
from pathlib import Path
from edgeferry.device.journal import Journal
from edgeferry.device.checked_file import CheckedFile

def write(folder):
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    file, journal = CheckedFile(folder / "state.json"), Journal(folder / "journal")
    state = file.load() or {"sequence": 0, "sum": 0}
    for sequence, entry in journal.entries(after=state["sequence"]):
        state = {"sequence": sequence, "sum": state["sum"] + entry["add"]}
    while True:
        add = state["sequence"] % 7 + 1
        sequence = journal.append({"add": add, "padding": "x" * (97 * add)})
        os.write(acknowledged, b"%d\\n" % sequence)
        state = {"sequence": sequence, "sum": state["sum"] + add}
        if sequence % 5 == 0:
            file.save(state)
            journal.cut(sequence - sequence % 3)

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            write(Path(sys.argv[1]))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def total(last: int) -> int:
    """The sum of what the first `last` entries add."""
    return sum(number % 7 + 1 for number in range(last))


def test_what_was_acknowledged_is_there_after_each_of_60_kills(tmp_path):
    dice = random.Random(60)
    starter = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        last_found, done = 0, tmp_path / "acknowledged"
        for _ in range(KILLS):
            starter.stdin.write("go\n")
            starter.stdin.flush()
            writer = int(starter.stdout.readline())
            time.sleep(dice.uniform(0.002, 0.08))
            os.kill(writer, signal.SIGKILL)
            assert int(starter.stdout.readline()) == -signal.SIGKILL
            acknowledged = [int(line) for line in done.read_text().split()] if done.exists() else []
            assert acknowledged == sorted(set(acknowledged)), "a number was given twice"
            state = CheckedFile(tmp_path / "state.json").load() or {"sequence": 0, "sum": 0}
            entries = Journal(tmp_path / "journal").entries(after=state["sequence"])
            assert [sequence for sequence, _ in entries] == list(
                range(state["sequence"] + 1, state["sequence"] + 1 + len(entries))
            )
            found = state["sequence"] + len(entries)
            acknowledged_last = max([last_found, *acknowledged])
            assert found in (acknowledged_last, acknowledged_last + 1)
            assert state["sum"] + sum(entry["add"] for _, entry in entries) == total(found)
            last_found = found
        starter.stdin.close()
        assert starter.wait(60) == 0
    assert last_found > KILLS, "the writer got nowhere: nothing was tried"
