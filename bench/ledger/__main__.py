"""`./run bench ledger`: reading and checking a ledger of many entries, and adding to it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.report import Report
from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from edgeferry.wire.ledger import parse_entry, render_entry, render_folder, render_name, render_signed_part

AT = "2026-11-28T12:00:00.000+00:00"
IDENTITY = "edgeferry <edgeferry@localhost> 1800000000 +0000"


def render_commits(keys: KeyFolder, entries: int) -> Iterator[bytes]:
    """For `git fast-import`: one commit an entry, each signed and chained as the ledger does it."""
    key, previous = keys.fingerprint("ann"), ""
    for number in range(1, entries + 1):
        kind = ("release", "approval", "rollout", "wave", "end")[number % 5]
        head = (kind, f"model-v{number // 5}", AT, "ann", {"n": number, "text": "x" * 400}, previous, key)
        data = render_entry(*head, keys.sign("ann", render_signed_part(*head)))
        path = f"{render_folder(number)}/{render_name(number, kind, head[1])}"
        yield f"commit refs/heads/ledger\ncommitter {IDENTITY}\ndata 1\nx\n".encode()
        yield f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"
        previous = parse_entry(path, data).digest


def timed(report: Report, what: str, goal_s: float, work: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """What the work gives; the report has its seconds."""
    began = time.perf_counter()
    found = work()
    report.add(what, time.perf_counter() - began, "s", goal_s)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run bench ledger", description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    count = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        remote = folder / "ledger.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
        keys = KeyFolder(folder / "keys", folder / "trust", may_trust=True)
        commits = b"".join(render_commits(keys, count))
        subprocess.run(["git", "-C", str(remote), "fast-import", "--quiet"], input=commits, check=True)
        size = sum(path.stat().st_size for path in remote.rglob("*") if path.is_file())
        print(f"{count:,} entries of {len(commits) / count:,.0f} bytes, the repository {size / 2**20:.1f} MB")

        def opened() -> GitLedger:
            return GitLedger(str(remote), "ledger", folder / "cache", keys, time.time)

        ledger, report = opened(), Report()
        entries = timed(report, "a machine's first look at all entries", 60, ledger.all_entries)
        timed(report, "a command's look, the cache being there", 20, opened().all_entries)
        timed(report, "another look of the same process", 1, ledger.all_entries)
        one = opened()
        assert timed(report, "entries of one kind and release", 5, lambda: one.entries("end", "model-v7"))
        reasons = timed(report, "whether each entry counts", 60, lambda: list(map(ledger.distrust, entries)))
        assert set(reasons) == {""}
        assert not timed(report, "the whole check: chain, keys, history", 60, opened().find_breaches)
        timed(report, "one more entry", 5, lambda: [ledger.append("release", "model-v9999", {}, "ann")])
        sys.exit(report.tell_missed())


if __name__ == "__main__":
    main()
