"""`./run bench endurance`: a model server under a million requests, good ones and malformed ones; what server
and companion cost when nothing is asked of them, and what their images weigh."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import httpx
import uv

from bench.endurance.asker import Asker
from bench.report import Report
from edgeferry.adapters.base import DebianBase
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore
from edgeferry.domain.image import Image
from edgeferry.domain.smoke import SmokeRequest
from tests.adapters.test_images import DEFINITION, FILES, VERSION
from tests.device.conftest import (
    DIGEST,
    Server,
    answers,
    end,
    free_port,
    start_server,
    wait_until,
    write_model,
)
from tests.device.raw_http import port_of
from tests.device.test_companion import Running
from tests.hubs import RunningHub

PARTS = ("endurance", "idle", "images")
SAMPLES = 200
WARM = 0.2
"""The first share of the requests, in which server and capture store fill up, is not fitted."""
CAPTURE_BYTES = 8 * 1024 * 1024
CLIENTS = 4
SMALLEST_OBJECT = 16
"""Bytes: whatever Python keeps is not smaller, so that one of them kept per request would show. Below that
are the allocator's steps of some MiB, a few in a million requests."""
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE


def busy_s(process: int) -> float:
    """Processor seconds so far, to the nanosecond, of all threads there are."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def fit_slope(samples: list[tuple[float, float]]) -> float:
    """Bytes a request, by least squares."""
    slope, _ = statistics.linear_regression(*zip(*samples, strict=True))
    return slope


def serve(folder: Path) -> Server:
    """A real server that captures into a small store and is ready."""
    (folder / "captures").mkdir()
    cases_sha256 = write_model(folder / "model")
    log = (folder / "server.log").open("wb")
    started = start_server(
        folder / "model",
        cases_sha256=cases_sha256,
        captures=folder / "captures",
        EDGEFERRY_CAPTURES_BYTES=str(CAPTURE_BYTES),
    )
    assert started.process.stderr
    threading.Thread(target=shutil.copyfileobj, args=(started.process.stderr, log), daemon=True).start()
    wait_until(lambda: answers(started.url + "/health"))
    return started


def measure_endurance(scratch: Path, report: Report, requests: int) -> None:
    """Memory and answers under requests of all kinds, from several clients."""
    server = serve(scratch)
    process = server.process.pid
    clients = [Asker(port_of(server.url)) for _ in range(CLIENTS)]
    samples: list[tuple[float, float]] = []
    asked, failures, lock = 0, [], threading.Lock()
    before = resident_bytes(process)

    def work(client: Asker) -> None:
        nonlocal asked
        try:
            while asked < requests and not failures:
                done = client.ask()
                with lock:
                    if (asked + done) * SAMPLES // requests > asked * SAMPLES // requests:
                        samples.append((asked, resident_bytes(process)))
                    asked += done
        except Exception as error:  # noqa: BLE001 - told as a failure
            failures.append(error)

    began, busy = time.monotonic(), busy_s(process)
    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.monotonic() - began, busy_s(process) - busy
    for failure in failures:
        print(f"    {failure}")
    metrics = httpx.get(server.url + "/metrics", trust_env=False).text
    counted = {int(status): float(count) for status, count in _COUNTED.findall(metrics)}
    # while it loads, a server answers its health with 503
    failed = sum(count for status, count in counted.items() if status >= 500 and status != 503)
    for client in clients:
        client.close()
    statuses = sum((client.statuses for client in clients), Counter[int]())
    warm = [sample for sample in samples if sample[0] >= WARM * requests]
    late = samples[len(samples) // 2 :]
    stored = sum(file.stat().st_size for file in (scratch / "captures").rglob("*") if file.is_file())
    report.add("requests", asked, "")
    report.add("of them malformed", sum(count for status, count in statuses.items() if status >= 400), "")
    report.add("requests a second", asked / took, "1/s")
    report.add("processor time of the server per request", used / asked * 1e6, "µs")
    report.add("wrong answers, lost connections", len(failures), "", goal=0)
    report.add("answers of 5xx", failed + sum(n for s, n in statuses.items() if s >= 500), "", goal=0)
    report.add("resident memory before", before / 2**20, "MiB")
    report.add("resident memory when warm", warm[0][1] / 2**20, "MiB")
    report.add("resident memory at the end", warm[-1][1] / 2**20, "MiB")
    report.add("growth per request, linear fit", fit_slope(warm), "bytes", goal=SMALLEST_OBJECT)
    report.add("growth per request, linear fit of the last half", fit_slope(late), "bytes")
    report.add("captures on disk", stored / 2**20, "MiB", goal=CAPTURE_BYTES * 9 / 8 / 2**20)
    for at, resident in samples:
        report.point("resident memory", at, resident)
    said = httpx.get(server.url + "/health", trust_env=False).json()["captures"]
    report.add("captures written", said["written"], "")
    report.add("captures dropped", said["dropped"], "", goal=0)
    code = end(server.process)
    report.add("the server ended badly", code not in (0, -15), "", goal=0)


_COUNTED = re.compile(r'^edgeferry_requests_total\{status="(\d+)"\} ([0-9.e+]+)$', re.MULTILINE)


def are_idle(processes: Iterable[int], seconds: float = 0.5) -> bool:
    """Whether none had more than a fiftieth of a core for that long."""
    began = {process: busy_s(process) for process in processes}
    time.sleep(seconds)
    return all(busy_s(process) - busy < seconds / 50 for process, busy in began.items())


def measure_idle(scratch: Path, report: Report, seconds: float) -> None:
    """A server that captured, and a companion that tested it and is connected to its hub; then nothing."""
    (scratch / "hub").mkdir()
    hub = RunningHub(scratch / "hub", "127.0.0.1", free_port(), free_port()).start()
    server = serve(scratch)
    try:
        hub.create_device("device-1")
        companion = Running(hub, "device-1", hub.create_module("device-1", "companion"))
        companion.start()
        try:
            companion.want(SmokeRequest("taxi", server.url, DIGEST, "3", server.cases_sha256, "n1"))
            assert companion.verdict("n1").state == "Passed"
            assert companion.process
            processes = {"server": server.process.pid, "companion": companion.process.pid}
            wait_until(lambda: are_idle(processes.values()), what="servers that have nothing left to do")
            began = {name: busy_s(process) for name, process in processes.items()}
            time.sleep(seconds)
            for name, process in processes.items():
                share = (busy_s(process) - began[name]) / seconds * 100
                report.add(f"idle {name}: share of a core over {seconds:g} s", share, "%", goal=0.5)
                report.add(f"idle {name}: resident memory", resident_bytes(process) / 2**20, "MiB")
        finally:
            companion.stop()
    finally:
        end(server.process)
        hub.stop()


def measure_images(report: Report, folder: Path) -> None:
    """What a device pulls of each image: its layers as they are in the registry."""
    store = LayerStore(folder)
    images = LayeredImages(store, DebianBase(store, "http://deb.debian.org", print), uv.find_uv_bin())

    def weigh(name: str, image: Image, goal: float) -> None:
        for layer in image.layers:
            print(f"    {layer.title:14} {layer.size_bytes / 1e6:8.2f} MB")
        report.add(
            f"image of the {name}, compressed",
            sum(layer.size_bytes for layer in image.layers) / 1e6,
            "MB",
            goal=goal,
        )

    weigh("server", images.assemble_model(DEFINITION, VERSION, FILES), 70)
    weigh("companion", images.assemble_companion(), 35)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench endurance", description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="parts (default: all)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="in all (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="of idleness (default %(default)s)")
    parser.add_argument("--layers", type=Path, help="a folder that keeps layers between runs (default: none)")
    parser.add_argument("--out", type=Path, default=Path("bench/endurance/out"), help="for the JSON")
    given = parser.parse_args()
    report = Report()
    report.add("load of the machine before", os.getloadavg()[0], "")
    scratch = Path(tempfile.mkdtemp(prefix="bench-endurance-"))
    try:
        for part in given.only:
            folder = scratch / part
            folder.mkdir()
            if part == "endurance":
                measure_endurance(folder, report, given.requests)
            elif part == "idle":
                measure_idle(folder, report, given.seconds)
            else:
                measure_images(report, given.layers or folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    given.out.mkdir(parents=True, exist_ok=True)
    document = {
        "rows": report.rows,
        "curves": report.curves,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": sys.version,
    }
    (given.out / "endurance.json").write_text(json.dumps(document, indent=2) + "\n")
    return 1 if report.tell_missed() else 0


if __name__ == "__main__":
    raise SystemExit(main())
