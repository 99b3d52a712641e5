"""`./run bench serving`: the model server beside the servers that one would use instead.

All of them are alive at once on one core, the load generator is on another. Slices of a second come in an
order thrown afresh each round, and every ratio is taken of two slices of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.serving.judged import HEADING, Row, render_row
from bench.serving.parts import LOADED, judge_limit, judge_load, judge_start, plan_load, plan_start
from bench.serving.places import PEERS, PLACE
from bench.serving.rounds import Cores, Loaded, Started, measure_load, measure_start
from bench.serving.servers import BenchError
from bench.serving.stock import LIBRARY, find_data, make_models

PARTS = (*LOADED, "limit", "start")


def main() -> int:
    given = _parse()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.default_int_handler)
    PLACE.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="bench-serving-"))
    loaded, started = Loaded(), Started()
    cores = Cores(given.server_cpu, given.load_cpu)
    data, kind = find_data(given.data)
    machine = _describe(given, kind)
    print(f"· {machine['cpu']}, {machine['cores']} cores, load {machine['load']}; {kind}", flush=True)
    code = 0
    try:
        models = make_models(data, scratch / "models")
        parts = set(given.only)
        if parts - {"start"}:
            servers, alone = plan_load(parts, given.peers, models, scratch)
            measure_load(servers, alone, given.rounds, given.slice_s, cores, loaded)
        if "start" in parts:
            measure_start(plan_start(given.peers, models, scratch), given.rounds, cores, started)
    except KeyboardInterrupt:
        print("· interrupted: what whole rounds have shown", file=sys.stderr)
        code = 130
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 3
    finally:
        if given.keep:
            print(f"· kept: {scratch}", file=sys.stderr)
        else:
            shutil.rmtree(scratch)
            shutil.rmtree(PLACE / "captures", ignore_errors=True)
    rows = _judge(given, loaded, started)
    _tell(loaded, started, rows)
    _write(given.json, machine, loaded, started, rows)
    missed = [row for row in rows if row.met is False]
    print(f"{len(rows)} rows, {len(missed)} missed; {given.json}")
    return code or bool(missed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench serving", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=7, help="whole ones, after one unmeasured (%(default)s)"
    )
    parser.add_argument(
        "--slice-s", type=int, default=1, help="whole seconds of a slice (default %(default)s)"
    )
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts (default: all)")
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=list(PEERS), help="peers (default: all)")
    parser.add_argument("--data", type=Path, help="a folder with green*.csv and yellow*.csv of trips")
    parser.add_argument("--server-cpu", type=int, default=0, help="core of all servers (default %(default)s)")
    parser.add_argument("--load-cpu", type=int, default=1, help="core of wrk (default %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("bench/serving/out/serving.json"), help="result")
    parser.add_argument("--keep", action="store_true", help="keep models and logs of the servers")
    given = parser.parse_args()
    missing = {given.server_cpu, given.load_cpu} - os.sched_getaffinity(0)
    if missing or given.server_cpu == given.load_cpu:
        parser.error("servers and load need a core each: --server-cpu N --load-cpu M")
    return given


def _judge(given: argparse.Namespace, loaded: Loaded, started: Started) -> list[Row]:
    rows: list[Row] = []
    if loaded.rounds:
        rows += judge_load(given.only, given.peers, loaded)
        rows += judge_limit(loaded) if "limit" in given.only else ()
    if started.rounds:
        rows += judge_start(given.peers, started)
    return rows


def _tell(loaded: Loaded, started: Started, rows: list[Row]) -> None:
    for title, medians in _medians(loaded, started).items():
        print(f"{title:34} " + "  ".join(f"{name} {value:.4g}" for name, value in medians.items()))
    print(HEADING)
    for row in rows:
        print(render_row(row))


def _medians(loaded: Loaded, started: Started) -> dict[str, dict[str, float]]:
    """What each server showed, medians of all rounds."""
    said: dict[str, dict[str, float]] = {}
    for (name, connections), slices in sorted(loaded.slices.items()):
        said[f"{name} c{connections}"] = {
            what: statistics.median(getattr(each, what) for each in slices)
            for what in ("rate", "p50_ms", "p99_ms", "cpu_us")
        }
    for name, figures in sorted(loaded.answers_us.items()):
        answers, predicts = zip(*figures, strict=True)
        said[name] = {"answer_us": statistics.median(answers), "model_us": statistics.median(predicts)}
    for name, seconds in sorted(started.seconds.items()):
        said[name] = {
            "first_answer_s": statistics.median(seconds),
            "resident_mib": statistics.median(started.resident_mib[name]),
            "proportional_mib": statistics.median(started.proportional_mib[name]),
        }
    return said


def _write(file: Path, machine: dict[str, Any], loaded: Loaded, started: Started, rows: list[Row]) -> None:
    """The rows of this run; those of parts that it left out stay as they were."""
    old = json.loads(file.read_bytes()) if file.is_file() else {"runs": {}, "servers": {}, "rows": []}
    measured = {row.part for row in rows}
    machine["load_after"] = os.getloadavg()
    kept = [row for row in old["rows"] if row["part"] not in measured]
    document = {
        "runs": old["runs"] | dict.fromkeys(sorted(measured), machine),
        "servers": old["servers"] | _medians(loaded, started),
        "rows": kept + [row.document() for row in rows],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _describe(given: argparse.Namespace, kind: str) -> dict[str, Any]:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "command": "./run bench serving " + " ".join(sys.argv[1:]),
        "cpu": names[0].partition(":")[2].strip() if names else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(each, 2) for each in os.getloadavg()],
        "rounds": given.rounds,
        "slice_s": given.slice_s,
        "data": kind,
        "library": list(LIBRARY),
        "peers": {name: list(PEERS[name]) for name in given.peers},
    }


if __name__ == "__main__":
    raise SystemExit(main())
