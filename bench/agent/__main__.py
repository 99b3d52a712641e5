"""`./run bench agent`: what the device's agent costs, and what its modules' clients notice of it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.agent.polling import poll, settle, wait_for_answer
from bench.agent.rollback import measure_rollback
from bench.agent.shop import MODEL, SERVE, open_street, open_world
from bench.report import Report, quantile
from tests.device.worlds import World, taxi

PARTS = ("settled", "change", "handover", "rollback")
RATE = 100.0
BUSY_S = 0.5
"""A model server that is slower than that has a queue, and what waits in a queue when it stops is lost."""


def memory_mib(process: int) -> tuple[float, float]:
    """(resident, proportional) memory."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    said = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    return int(said["Rss"]) / 1024, int(said["Pss"]) / 1024


def busy_s(process: int) -> float:
    """Processor seconds so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_settled(world: World, report: Report, seconds: float) -> None:
    """Memory and processor of an agent with nothing to do; one module runs."""
    settle(world, world.want(taxi(world.images[0])))
    assert world.process is not None
    time.sleep(5)
    began, busy = time.monotonic(), busy_s(world.process.pid)
    time.sleep(seconds)
    share = (busy_s(world.process.pid) - busy) / (time.monotonic() - began)
    resident, proportional = memory_mib(world.process.pid)
    report.add("settled: resident memory", resident, "MiB", goal=55)
    report.add("settled: proportional memory", proportional, "MiB")
    report.add(f"settled: share of a core over {seconds:g} s", share * 100, "%", goal=1)
    settle(world, world.want(gone=("taxi",)))


def measure_change(world: World, report: Report, times: int) -> None:
    """A desired module whose image is there until it answers, beside `docker run` of the same, in turn."""
    network = f"edgeferry.{world.sandbox}.{world.device}"
    engine, image = world.engine, world.images[0]
    world.engine.ensure_network(network, {**world.labels, "edgeferry.device": world.device})
    by_agent, by_docker = [], []
    for number in range(times):
        module = f"m{number}"
        began = time.monotonic()
        world.want(taxi(image, SERVE, name=module))
        by_agent.append(wait_for_answer(engine, f"{module}.{network}", network) - began)
        settle(world, world.want(gone=(module,)))
        began = time.monotonic()
        program = [
            "docker",
            "-H",
            engine.url,
            "run",
            "--detach",
            "--init",
            "--name",
            f"run-{module}.{network}",
        ]
        program += ["--label", f"edgeferry.sandbox={world.sandbox}", "--network", network, image, SERVE]
        running = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        by_docker.append(wait_for_answer(engine, f"run-{module}.{network}", network) - began)
        assert running.wait(60) == 0
        engine.remove(f"run-{module}.{network}")
    best = statistics.median(by_docker)
    report.add("docker run to first answer, median", best, "s")
    report.add("desired change to first answer, median", statistics.median(by_agent), "s", best=best)
    report.add("desired change to first answer, worst", max(by_agent), "s", best=best)
    report.add("desired change / docker run, medians", statistics.median(by_agent) / best, "x", goal=2)


def measure_hand_overs(folder: Path, report: Report, times: int) -> None:
    """Requests by name, each on its own connection, while a model server is handed over again and again."""
    with open_street(folder) as street:
        street.start(MODEL, street.model())
        wait_for_answer(street.engine, street.place.container(MODEL), street.place.network)
        asking = street.ask(RATE, 30.0 * times)
        time.sleep(2)
        took = [street.hand_over() for _ in range(times)]
        time.sleep(1)
        said = street.answers(asking)
    what = f"{times} hand-overs of the model server"
    report.add(f"{what}: asked a second", said["asked"] / said["seconds"], "1/s")
    report.add(f"{what}: asked", said["asked"], "")
    report.add(f"{what}: failed", said["failed"], "", goal=0)
    report.add(f"{what}: answer, p50", said["p50"] * 1000, "ms")
    report.add(f"{what}: answer, longest", said["most"] * 1000, "ms")
    report.add(f"{what}: one takes, median", statistics.median(took), "s")
    report.add(f"{what}: one takes, p95", quantile(took, 0.95), "s")
    if said["p50"] > BUSY_S:
        print(f"    the machine is too busy: half of all answers took more than {BUSY_S:g} s; do it again")
    for failure, count in said["failures"].items():
        print(f"    {count} x {failure}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench agent", description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="parts (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=60, help="of the settled agent (default %(default)s)"
    )
    parser.add_argument("--changes", type=int, default=10, help="desired changes (default %(default)s)")
    parser.add_argument("--hand-overs", type=int, default=20, help="under load (default %(default)s)")
    parser.add_argument("--rollbacks", type=int, default=50, help="offline (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench/agent/out"), help="for the JSON")
    given = parser.parse_args()
    report = Report()
    report.add("load of the machine before", os.getloadavg()[0], "")
    scratch = Path(tempfile.mkdtemp(prefix="bench-agent-"))
    try:
        if {"settled", "change"} & set(given.only):
            with open_world(scratch) as world:
                world.start()
                poll(lambda: world.reported().get("version"))
                if "settled" in given.only:
                    measure_settled(world, report, given.seconds)
                if "change" in given.only:
                    measure_change(world, report, given.changes)
                world.stop()
        if "rollback" in given.only:
            (scratch / "offline").mkdir()
            with open_world(scratch / "offline") as world:
                measure_rollback(world, report, given.rollbacks)
                world.stop()
        if "handover" in given.only:
            (scratch / "street").mkdir()
            measure_hand_overs(scratch / "street", report, given.hand_overs)
    finally:
        shutil.rmtree(scratch)
    given.out.mkdir(parents=True, exist_ok=True)
    document = {"rows": report.rows, "cores": os.cpu_count(), "load": os.getloadavg()}
    (given.out / "agent.json").write_text(json.dumps(document, indent=2) + "\n")
    return 1 if report.tell_missed() else 0


if __name__ == "__main__":
    raise SystemExit(main())
