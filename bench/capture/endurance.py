"""A thousand requests a second for a long time: nothing is lost, memory is flat, the disk is bounded."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from bench.capture.models import Trained, train, write_graph
from bench.capture.serving import Server, Wanted, serving, start
from bench.capture.sizes import BAR_BYTES
from bench.capture.stored import await_packed, closed_bytes, store_bytes
from bench.report import Report, quantile
from tests.device.crowds import Answers, Audit, Captured, Crowd

RATE = 1000.0
CLIENTS = 16
LIFTED = 64 * 1024 * 1024 * 1024
CAP_BYTES = 2 * 1024 * 1024


def measure_endurance(scratch: Path, report: Report, records: int) -> None:
    """So many different rows; afterwards each that was answered is read back."""
    trained = train("nyc_taxi", records)
    assert len(trained.rows) >= records, "too few rows"
    store = scratch / "endurance"
    store.mkdir()
    model = write_graph(trained, scratch / "endurance-model")
    wanted = Wanted(captures=store, store_bytes=LIFTED)
    server = start(model, wanted)
    said, memory = _run(server, trained, records)
    what = f"{records} requests at {RATE:g}/s"
    waited = [took for _, took in said.took]
    report.add(f"{what}: not answered", records - len(said.good), "", goal=0)
    report.add(f"{what}: answered a second", len(said.good) / _span(said.took), "1/s")
    report.add(f"{what}: p50 since due", quantile(waited, 0.5) * 1000, "ms")
    report.add(f"{what}: p99 since due", quantile(waited, 0.99) * 1000, "ms")
    for name, count in said.failures.items():
        print(f"    {count} x {name}")
    health = server.said()
    report.add(f"{what}: dropped", health["dropped"], "", goal=0)
    audit, captured = Audit(trained.asked, trained.right), Captured(server.pages_port)
    began, busy = time.monotonic(), server.busy_s()
    for record in captured.read():
        audit.add(record, {said.prefix: said})
    audit.miss(said)
    report.add(f"{what}: lost", len(audit.lost), "", goal=0)
    report.add(f"{what}: read twice", len(audit.twice()), "", goal=0)
    report.add(f"{what}: read and not right", len(audit.wrong), "", goal=0)
    report.add(f"{what}: damaged", captured.damaged, "", goal=0)
    report.add(f"{what}: read back in", time.monotonic() - began, "s")
    report.add(f"{what}: processor of the server for that", server.busy_s() - busy, "s")
    tenth = max(len(memory) // 10, 1)
    early, late = max(memory[tenth : 2 * tenth] or memory), max(memory[-tenth:])
    report.add(f"{what}: memory after a tenth", early, "MiB")
    report.add(f"{what}: memory at the end, over that", late - early, "MiB", goal=4)
    server.end()
    size, count = closed_bytes(store)
    report.add(f"{what}: records in closed segments", count, "")
    if count:
        report.add(f"{what}: bytes a record in them", size / count, "B", goal=BAR_BYTES["nyc_taxi"])
    for problem in [*audit.lost, *audit.twice(), *audit.wrong][:8]:
        print(f"    {problem}")


def measure_bounds(scratch: Path, report: Report, records: int) -> None:
    """A store of 2 MiB, its folder looked at all the time: never over that by more than a segment."""
    trained = train("nyc_taxi")
    store = scratch / "bounded"
    store.mkdir()
    model = write_graph(trained, scratch / "bounded-model")
    most, over = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not over.is_set():
            most = max(most, store_bytes(store))
            time.sleep(0.001)

    with serving(model, Wanted(captures=store, store_bytes=CAP_BYTES)) as server:
        looking = threading.Thread(target=look)
        looking.start()
        said = Crowd(server.port, trained.body, clients=CLIENTS, most=records).wait()
        await_packed(store)
        over.set()
        looking.join()
        counts = server.counts()
    what = f"{records} requests, store of {CAP_BYTES >> 20} MiB"
    report.add(f"{what}: not answered", records - len(said.good), "", goal=0)
    report.add(f"{what}: dropped", counts["dropped"], "", goal=0)
    report.add(f"{what}: made room", counts["expired"], "")
    whole = counts["user"] + counts["expired"] + counts["dropped"]
    report.add(f"{what}: neither stored, nor made room", len(said.good) - whole, "", goal=0)
    report.add(f"{what}: largest", most / 1024, "KiB")
    report.add(f"{what}: largest, over the cap", most / CAP_BYTES, "x", goal=1 + 1 / 8)


def _run(server: Server, trained: Trained, records: int) -> tuple[Answers, list[float]]:
    crowd = Crowd(server.port, trained.body, clients=CLIENTS, most=records, rate=RATE, prefix="e")
    memory: list[float] = []
    while crowd.answers.asked < records:
        memory.append(server.memory_mib())
        time.sleep(min(1.0, records / RATE / 50))
    return crowd.wait(), memory


def _span(took: list[tuple[float, float]]) -> float:
    return max(due + each for due, each in took) - min(due for due, _ in took)
