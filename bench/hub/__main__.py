"""`./run bench hub`: measures a hub of its own in one run and beside it what the machine can do at best."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.hub.crowd import Credential, Crowd
from bench.hub.limits import measure_commits, measure_echo, measure_parse
from bench.hub.plot import draw
from bench.hub.stock import SITES, stock, tags_of
from bench.report import Report, quantile
from tests.hub.clients import Service
from tests.hubs import RunningHub, free_address

BASE = {
    "$edgeAgent": {
        "properties.desired": {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {}},
            "systemModules": {
                name: {"type": "docker", "settings": {"image": f"{name}:1.5", "createOptions": "{}"}}
                for name in ("edgeAgent", "edgeHub")
            },
            "modules": {},
        }
    },
    "$edgeHub": {"properties.desired": {"schemaVersion": "1.1", "routes": {}}},
}


@dataclass
class Bench:
    """One hub with its crowd."""

    hub: RunningHub
    service: Service
    report: Report

    def memory_mib(self) -> float:
        text = Path(f"/proc/{self.hub.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))

    def busy_s(self) -> float:
        """Processor seconds of the hub so far."""
        fields = Path(f"/proc/{self.hub.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def query(self, text: str, rows: int = 100) -> tuple[float, list[Any]]:
        """(seconds, first page)."""
        began = time.monotonic()
        response = self.service.ask(
            "POST", "/devices/query", {"query": text}, headers={"x-ms-max-item-count": str(rows)}
        )
        response.raise_for_status()
        return time.monotonic() - began, response.json()

    def count_applied(self, layer: str) -> int:
        return self.service.done("GET", f"/configurations/{layer}")["systemMetrics"]["results"][
            "appliedCount"
        ]


def measure_clients(
    bench: Bench, crowd: Crowd, agents: Sequence[Credential], stages: Sequence[int], limits
) -> None:
    """Connects ever more clients; at each stage memory, connect rate and how soon a tag's change is told."""
    report = bench.report
    bench.service.deploy("base", "*", BASE)
    ring = {"$edgeAgent": {"properties.desired.modules.ring": {"type": "docker", "settings": {"image": "r"}}}}
    bench.service.deploy("ring", "tags.wave = 'on'", ring, priority=1)
    while bench.count_applied("base") < len(agents):
        time.sleep(0.1)
    empty = bench.memory_mib()
    report.point("memory of the hub, MiB, by clients", 0, empty)
    connected = 0
    for stage in stages:
        began, busy = time.monotonic(), bench.busy_s()
        took = crowd.connect(agents[connected:stage])
        rate = (stage - connected) / (time.monotonic() - began)
        cost = (bench.busy_s() - busy) / (stage - connected)
        connected = stage
        report.add(f"{stage} clients: connections a second", rate, "1/s", best=limits["connections"])
        report.add(f"{stage} clients: hub's processor time per connection", cost * 1000, "ms")
        report.add(f"{stage} clients: slowest of 100 to connect (p99)", quantile(took, 0.99) * 1000, "ms")
        memory = bench.memory_mib()
        report.add(f"{stage} clients: memory of the hub", memory, "MiB", goal=1024)
        report.point("memory of the hub, MiB, by clients", stage, memory)
        told = measure_tags(bench, crowd, connected)
        p50, p99 = (quantile(told, share) * 1000 for share in (0.5, 0.99))
        best = quantile(limits["echo"], 0.5) * 1000
        report.add(f"{stage} clients: tag change to device told, p50", p50, "ms", best=best)
        report.add(f"{stage} clients: tag change to device told, p99", p99, "ms", 100, best)
        report.point("tag change to device told, p99 ms, by clients", stage, p99)
    report.add("memory per client", (bench.memory_mib() - empty) * 1024 / connected, "KiB")


def measure_tags(bench: Bench, crowd: Crowd, connected: int, changes: int = 200) -> list[float]:
    """Seconds from a tag's change to its device being told, one after the other on different devices."""
    changes = min(changes, connected)
    crowd.arrivals()
    sent: dict[str, float] = {}
    for number in range(changes):
        name = f"d{number * connected // changes}"
        sent[name] = time.monotonic()
        bench.service.done("PATCH", f"/twins/{name}", {"tags": {"wave": "on"}})
    told = wait_for_arrivals(crowd, set(sent))
    for name in sent:
        bench.service.done("PATCH", f"/twins/{name}", {"tags": {"wave": None}})
    wait_for_arrivals(crowd, set(sent))
    return [told[name] - at for name, at in sent.items()]


def wait_for_arrivals(crowd: Crowd, names: set[str], seconds: float = 120) -> dict[str, float]:
    """When each device was told last."""
    told: dict[str, float] = {}
    deadline = time.monotonic() + seconds
    while not names <= told.keys():
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(names - told.keys())} devices were never told")
        told |= {device: at for device, _, at in crowd.arrivals()}
        time.sleep(0.02)
    return told


def measure_layers(bench: Bench, crowd: Crowd, devices: int, connected: int, limits) -> None:
    """A layer for a quarter, a half, all of the fleet: until all twins have it, and the connected know."""
    report = bench.report
    for part in (devices // 4, devices // 2, devices):
        name = f"layer-{part}"
        layer = {"$edgeAgent": {f"properties.desired.modules.m{part}": {"settings": {"image": "m"}}}}
        crowd.arrivals()
        began, busy = time.monotonic(), bench.busy_s()
        bench.service.deploy(name, f"tags.number < {part}", layer, priority=5)
        answered = time.monotonic() - began
        told = wait_for_arrivals(crowd, {f"d{number}" for number in range(min(part, connected))})
        while bench.count_applied(name) < part:
            time.sleep(0.05)
        all_done = time.monotonic() - began
        last_told = max(told.values()) - began
        report.add(f"a layer for {part}: request answered", answered, "s")
        report.add(f"a layer for {part}: last connected device told", last_told, "s", goal=20)
        best = part * statistics.median(limits["commits"])
        report.add(f"a layer for {part}: in every twin", all_done, "s", 20, best)
        report.add(f"a layer for {part}: hub's processor time", bench.busy_s() - busy, "s")
        report.point("a layer for N devices in every twin, s", part, all_done)


def measure_telemetry(bench: Bench, crowd: Crowd, connected: int, limits) -> None:
    one = crowd.publish(2, 200, 256)
    best = quantile(limits["echo"], 0.5) * 1000
    bench.report.add("telemetry of 256 bytes to PUBACK, p50", quantile(one, 0.5) * 1000, "ms", best=best)
    bench.report.add("telemetry of 256 bytes to PUBACK, p99", quantile(one, 0.99) * 1000, "ms", best=best)
    clients, messages = min(200, connected), 50
    began = time.monotonic()
    crowd.publish(clients, messages, 256)
    rate = clients * messages / (time.monotonic() - began)
    bench.report.add(f"telemetry of {clients} clients at once, acknowledged", rate, "1/s")


def measure_reports(bench: Bench, limits) -> None:
    took = []
    for number in range(200):
        began = time.monotonic()
        bench.service.done("PATCH", "/twins/d1", {"tags": {"n": number}})
        took.append(time.monotonic() - began)
    best = statistics.median(limits["commits"]) * 1000
    bench.report.add("twin change over REST, durable, p50", quantile(took, 0.5) * 1000, "ms", best=best)
    bench.report.add("twin change over REST, durable, p99", quantile(took, 0.99) * 1000, "ms", best=best)


def measure_queries(folder: Path, stored: int, report: Report) -> None:
    """Questions to a hub that has just started (cold), and again (warm)."""
    documents = [json.dumps({"tags": tags_of(number)}) for number in range(stored)]
    best = measure_parse(documents) * 1000
    stock(folder, stored, edge=False)
    began = time.monotonic()
    with running(folder, report) as bench:
        report.add(f"{stored} stored: start of the hub until it serves", time.monotonic() - began, "s")
        report.add(f"{stored} stored: memory of the hub", bench.memory_mib(), "MiB")
        condition = (
            f"tags.site.name = 'site-{SITES // 2}' AND tags.ring IN [1, 2, 3] AND NOT tags.env = 'dev'"
        )
        condition += " AND tags.number > 100"
        questions = {
            "count": f"SELECT COUNT() AS n FROM devices WHERE {condition}",
            "first page": f"SELECT * FROM devices WHERE {condition}",
            "first page, few columns": f"SELECT deviceId, tags.ring FROM devices WHERE {condition}",
            "count of a group": "SELECT tags.env, COUNT() AS n FROM devices GROUP BY tags.env",
        }
        for what, text in questions.items():
            cold, rows = bench.query(text)
            if not rows:
                raise SystemExit(f"no rows: {text}")
            warm = quantile([bench.query(text)[0] for _ in range(9)], 0.5)
            report.add(f"{stored} stored: {what}, first time", cold * 1000, "ms", 200, best)
            report.add(f"{stored} stored: {what}, again", warm * 1000, "ms", 200, best)
            report.point(f"{what}, first time, ms, by stored devices", stored, cold * 1000)


class running:  # noqa: N801  (reads as a phrase)
    """A hub over the state folder, with its bench, until the end of the block."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report

    def __enter__(self) -> Bench:
        hub = RunningHub(self.folder, free_address(), 8443, 8883)
        self.hub = hub.start()
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        self.http = httpx.Client(verify=context, trust_env=False, timeout=600)
        return Bench(hub, Service(hub, self.http), self.report)

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.hub.stop()


def measure_limits(folder: Path, report: Report) -> dict[str, Any]:
    folder.mkdir(parents=True)
    with running(folder, report) as bench:
        hub = bench.hub
        rate, echo = measure_echo(folder / "server.pem", folder / "server.key", hub.ca_file, hub.address)
    commits = measure_commits(folder)
    report.add("limit: TLS connections a second", rate, "1/s")
    report.add("limit: TLS echo, p50", quantile(echo, 0.5) * 1000, "ms")
    report.add("load of the machine before", os.getloadavg()[0], "")
    report.add("limit: durable commit, median", statistics.median(commits) * 1000, "ms")
    return {"connections": rate, "echo": echo, "commits": commits}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench hub", description=__doc__)
    parser.add_argument(
        "--clients", type=int, default=2000, help="connected at the end (default %(default)s)"
    )
    parser.add_argument(
        "--devices", type=int, default=10000, help="stored with the clients (default %(default)s)"
    )
    parser.add_argument("--stored", type=int, default=100000, help="for the queries (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench/hub/out"), help="for the JSON and the plot")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < given.clients + 200:
        parser.error(f"{given.clients} clients need as many open files; the limit is {hard} (ulimit -n)")
    report = Report()
    scratch = Path(tempfile.mkdtemp(prefix="bench-hub-"))
    try:
        limits = measure_limits(scratch / "limits", report)
        if given.clients:
            began = time.monotonic()
            agents = stock(scratch / "fleet", given.devices, edge=True)
            report.add(f"{given.devices} edge devices put into the store", time.monotonic() - began, "s")
            with running(scratch / "fleet", report) as bench:
                hub = bench.hub
                with Crowd((hub.address, hub.mqtt_port), hub.host_name, hub.ca_file) as crowd:
                    stages = [given.clients // 4, given.clients // 2, given.clients]
                    measure_clients(bench, crowd, agents, stages, limits)
                    measure_layers(bench, crowd, given.devices, given.clients, limits)
                    measure_telemetry(bench, crowd, given.clients, limits)
                    measure_reports(bench, limits)
                    report.add("memory of the hub at the end", bench.memory_mib(), "MiB", goal=1024)
        if given.stored:
            for part in (given.stored // 10, given.stored):
                measure_queries(scratch / f"stored-{part}", part, report)
    finally:
        shutil.rmtree(scratch)
    given.out.mkdir(parents=True, exist_ok=True)
    document = {
        "rows": report.rows,
        "curves": report.curves,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    (given.out / "hub.json").write_text(json.dumps(document, indent=2) + "\n")
    (given.out / "hub.svg").write_text(draw(report.curves))
    return 1 if report.tell_missed() else 0


if __name__ == "__main__":
    sys.exit(main())
