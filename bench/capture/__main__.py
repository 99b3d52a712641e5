"""`./run bench capture`: what captures cost, what is lost, and what a failing disk does to answers."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from bench.capture.cost import measure_cost
from bench.capture.endurance import measure_bounds, measure_endurance
from bench.capture.faults import FAULTS, measure_faults
from bench.capture.kills import measure_kills
from bench.capture.serving import find_python
from bench.capture.sizes import measure_sizes
from bench.report import Report

PARTS = ("cost", "sizes", "bounds", "kills", "disks", "endurance")
MODES = ("group", "ack")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench capture", description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="parts (default: all)")
    parser.add_argument("--rounds", type=int, default=15, help="of the cost (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=1, help="of a slice (default %(default)s)")
    parser.add_argument("--records", type=int, default=1_000_000, help="of endurance (default %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="in each durability (default %(default)s)")
    parser.add_argument(
        "--faults", choices=tuple(FAULTS), nargs="*", default=[], help="of disks (default: all)"
    )
    parser.add_argument(
        "--durability", choices=MODES, nargs="+", default=MODES, help="of cost, kills and disks"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/capture/out"), help="for the JSON")
    given = parser.parse_args()
    find_python()
    report = Report()
    report.add("load of the machine before", os.getloadavg()[0], "")
    modes = ["" if mode == "group" else mode for mode in given.durability]
    scratch = Path(tempfile.mkdtemp(prefix="bench-capture-"))
    try:
        for part in given.only:
            began = time.monotonic()
            if part == "cost":
                measure_cost(scratch, report, given.rounds, given.seconds, given.durability)
            elif part == "sizes":
                measure_sizes(scratch, report)
            elif part == "bounds":
                measure_bounds(scratch, report, 100_000)
            elif part == "endurance":
                measure_endurance(scratch, report, given.records)
            for mode in modes:
                if part == "kills":
                    measure_kills(scratch, report, given.kills, mode)
                elif part == "disks":
                    measure_faults(scratch, report, mode, given.faults)
            print(f"    {part} took {time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    given.out.mkdir(parents=True, exist_ok=True)
    document = {
        "rows": report.rows,
        "curves": report.curves,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    (given.out / "capture.json").write_text(json.dumps(document, indent=2) + "\n")
    return 1 if report.tell_missed() else 0


if __name__ == "__main__":
    raise SystemExit(main())
