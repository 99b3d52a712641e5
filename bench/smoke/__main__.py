"""`./run bench smoke`: broken images that the smoke test must catch, good ones that it must pass."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.report import Report
from edgeferry.device.modules.asking import ask
from edgeferry.domain.smoke import Verdict
from tests.device.broken.nursery import Nursery, open_nursery
from tests.device.broken.variants import GOOD, MISSED, VARIANTS, Variant, start

PATIENCE_S = 3.0
"""For images that never become ready; good ones are waited for longer."""
SPIN = "while True: pass"


def ask_variants(nursery: Nursery, scratch: Path) -> list[Verdict]:
    """The verdict on each variant, in their order, each told with what caught it."""

    def one(number: int, variant: Variant) -> Verdict:
        folder = scratch / f"variant-{number}"
        folder.mkdir()
        process, request = start(nursery, variant, folder)
        try:
            return ask(request, patience_s=PATIENCE_S, stopping=threading.Event())
        finally:
            nursery.stop(process)

    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(one, range(len(VARIANTS)), VARIANTS))
    for variant, verdict in zip(VARIANTS, verdicts, strict=True):
        print(f"{verdict.state:13} {variant.name:52} {' '.join(verdict.reason.split())[:110]}", flush=True)
    return verdicts


def ask_good(nursery: Nursery, scratch: Path, times: int, variants: Sequence[Variant]) -> Counter[str]:
    """How often which verdict came of `times` questions to good images, two at a time."""
    with contextlib.ExitStack() as stack:
        requests = []
        for number, variant in enumerate(variants):
            folder = scratch / f"good-{number}-{time.monotonic_ns()}"
            folder.mkdir()
            process, request = start(nursery, variant, folder)
            stack.callback(nursery.stop, process)
            requests.append(request)

        def one(number: int) -> str:
            verdict = ask(requests[number % len(requests)], patience_s=60, stopping=threading.Event())
            if verdict.state != "Passed":
                print(f"    {variants[number % len(variants)].name}: {verdict.state}: {verdict.reason}")
            return verdict.state

        with ThreadPoolExecutor(2) as pool:
            return Counter(pool.map(one, range(times)))


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """Twice as many processes as there are cores do nothing but compute."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench smoke", description=__doc__)
    parser.add_argument(
        "--good", type=int, default=1000, help="questions to good images (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/smoke/out"), help="for the JSON")
    given = parser.parse_args()
    report = Report()
    report.add("load of the machine before", os.getloadavg()[0], "")
    scratch = Path(tempfile.mkdtemp(prefix="bench-smoke-"))
    try:
        with open_nursery() as nursery:
            verdicts = ask_variants(nursery, scratch)
            states = Counter(verdict.state for verdict in verdicts)
            passed = [
                variant.name
                for variant, verdict in zip(VARIANTS, verdicts, strict=True)
                if verdict.state == "Passed"
            ]
            report.add("broken images", len(VARIANTS), "")
            report.add("caught: Failed", states["Failed"], "")
            report.add("caught: Inconclusive", states["Inconclusive"], "")
            report.add("not caught", len(passed), "", goal=len(VARIANTS) // 30)
            report.add("not caught that could be", len(set(passed) - MISSED), "", goal=0)
            half = given.good // 2
            began = time.monotonic()
            quiet = ask_good(nursery, scratch, given.good - half, GOOD)
            report.add("good images asked", quiet.total(), "")
            report.add("did not pass", quiet.total() - quiet["Passed"], "", goal=0)
            report.add("one question's cases take", (time.monotonic() - began) * 2 / quiet.total(), "s")
            with busy_machine():
                busy = ask_good(nursery, scratch, half, GOOD)
            report.add("good images asked on a busy machine", busy.total(), "")
            report.add("did not pass on a busy machine", busy.total() - busy["Passed"], "", goal=0)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    given.out.mkdir(parents=True, exist_ok=True)
    caught = [
        {"variant": variant.name, "state": verdict.state, "reason": verdict.reason}
        for variant, verdict in zip(VARIANTS, verdicts, strict=True)
    ]
    document = {"rows": report.rows, "variants": caught, "cores": os.cpu_count(), "load": os.getloadavg()}
    (given.out / "smoke.json").write_text(json.dumps(document, indent=2) + "\n")
    return 1 if report.tell_missed() else 0


if __name__ == "__main__":
    raise SystemExit(main())
