"""`kill -9` under load: what was answered can be read, once; what was torn is not read as good.

A server whose disk is slow answers first, and says so on stderr: what such a life answered last may be lost
with it, and is counted apart.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

from bench.capture.models import train, write_graph
from bench.capture.serving import Wanted, start
from bench.report import Report
from tests.device.crowds import Answers, Audit, Captured, Crowd

CAP_BYTES = 1024 * 1024
"""So small that segments are closed, packed and expire in many of the lives."""
MOST_LIFE_S = 2.0
"""Behind a life's first answer; segments are written through memory when a server is about a second old."""
_AHEAD = "answers go ahead of their records: "


def measure_kills(scratch: Path, report: Report, kills: int, durability: str) -> None:
    """So many lives of a server under the load of 16 clients, each read right after the next one began."""
    trained = train("nyc_taxi")
    folder = scratch / f"kills-{durability or 'group'}"
    store = folder / "captures"
    model = write_graph(trained, folder / "model")
    store.mkdir()
    wanted = Wanted(captures=store, store_bytes=CAP_BYTES, durability=durability)
    dice, audit, lives = random.Random(7), Audit(trained.asked, trained.right), dict[str, Answers]()
    captured, answered, ahead = Captured(0), 0, set[str]()
    for life in range(kills + 1):
        log = folder / f"k{life}.log"
        server = start(model, replace(wanted, log=log))
        captured.port = server.pages_port
        for record in captured.read():
            audit.add(record, lives)
        if lives:
            audit.miss(lives[f"k{life - 1}"])
        if life == kills:
            break
        crowd = Crowd(
            server.port, trained.body, clients=16, first=life * 1000, prefix=f"k{life}", patient=False
        )
        while not crowd.answers.good:
            time.sleep(0.001)
        time.sleep(dice.uniform(0.0, MOST_LIFE_S))
        server.kill()
        lives[f"k{life}"] = said = crowd.wait()
        answered += len(said.good)
        if _ended_ahead(log):
            ahead.add(f"k{life}")
    again, whole = Captured(server.pages_port), Audit(trained.asked, trained.right)
    for record in again.read():
        whole.add(record, lives)
    for each in lives.values():
        whole.miss(each)
    counts = server.counts()
    server.end()
    what = f"{kills} kills, durability {durability or 'group'}"
    report.add(f"{what}: answered", answered, "")
    lost = [each for each in audit.lost if each.rpartition("-")[0] not in ahead]
    report.add(f"{what}: answered and not read", len(lost), "", goal=0)
    report.add(f"{what}: killed while it told of a slow disk, lives", len(ahead), "")
    report.add(f"{what}: answered by these and not read", len(audit.lost) - len(lost), "")
    report.add(f"{what}: answered and not stored at the end", len(whole.lost), "")
    report.add(f"{what}: read twice", len(audit.twice()) + len(whole.twice()), "", goal=0)
    report.add(f"{what}: read and not right", len(audit.wrong) + len(whole.wrong), "", goal=0)
    report.add(
        f"{what}: read, not answered before the kill", len(audit.seen) - answered + len(audit.lost), ""
    )
    report.add(f"{what}: found torn or damaged", captured.damaged + counts["damaged"], "")
    report.add(f"{what}: made room for newer ones", counts["expired"], "")
    for problem in [*audit.lost, *audit.twice(), *audit.wrong, *whole.twice(), *whole.wrong][:8]:
        print(f"    {problem}")


def _ended_ahead(log: Path) -> bool:
    """Whether the last thing that a server said of it is that its answers do not wait for the disk."""
    said = [line for line in log.read_text().splitlines() if line.startswith(_AHEAD)]
    return bool(said) and not said[-1].endswith("no longer")
