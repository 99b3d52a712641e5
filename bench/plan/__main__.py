"""`./run bench plan`: plans for large fleets: seconds and memory from the hub's documents to the hash.

Two fleets on a hub with 100 deployments. `own` gives every device its own random choice of ten models, so
that hardly two share a set of deployments: the most that merging can cost. `sites` gives each of 100 sites
its own choice. What a hub takes to answer is not in it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench.report import Report
from edgeferry.domain.bucket import rollout_bucket
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.release import Entry
from edgeferry.ports import Services
from edgeferry.wire.deployment import ModelLayer, render_base, render_companion_layer, render_model_layer
from edgeferry.wire.plan import plan_hash, render_plan
from edgeferry.workflows.plan import make_plan

SECONDS, MIB = 5.0, 500.0
MODELS = 97
SITES = 100
HOST = "registry.example:5443"
FLEET = Fleet("tags.edgeferry = true")
POLICY = {"rollout.waves": "1; 1 %; 10 %; 50 %", "rollout.stratum": "tags.kind"}
KINDS = 10


def main() -> None:
    """Each fleet in a process of its own, since memory is measured by its peak."""
    parser = argparse.ArgumentParser(prog="./run bench plan")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--fleet", choices=("own", "sites"), help="only this one, in this process")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    options = parser.parse_args()
    if options.fleet:
        print(json.dumps(measure(options.fleet, options.devices)))
        return
    report = Report()
    for fleet in ("sites", "own"):
        command = [sys.executable, "-m", "bench.plan", "--devices", str(options.devices), "--fleet", fleet]
        facts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        what = f"{options.devices:,} devices, 100 deployments, {facts['sets']:,} sets of them"
        report.add(f"{what}: plan", facts["seconds"], "s", SECONDS)
        report.add(f"{what}: processor time of it", facts["cpu_s"], "s")
        report.add(f"{what}: memory, documents included", facts["mib"], "MiB", MIB)
        report.add(f"{what}: memory of the documents alone", facts["before_mib"], "MiB")
        report.add(f"{what}: plan in the ledger", facts["bytes"] / 2**20, "MiB")
    if options.json:
        options.json.write_text(json.dumps(report.rows, indent=2))
    sys.exit(report.tell_missed())


def measure(fleet: str, devices: int) -> dict[str, Any]:
    """Seconds, peak memory and size of a plan for that fleet."""
    chance = random.Random(1)
    configurations = [dict(one) for one in deployments()]
    chosen = [choose(chance) for _ in range(SITES)]
    documents = [
        document(number, choose(chance) if fleet == "own" else chosen[number % SITES])
        for number in range(devices)
    ]
    before = peak_mib()
    services = services_with(configurations, documents)
    began, busy = time.monotonic(), time.process_time()
    plan = make_plan(services, release(0, 2), "tags.models.m0 = true", FLEET, POLICY)
    digest = plan_hash(plan)
    seconds, cpu_s = time.monotonic() - began, time.process_time() - busy
    assert digest
    assert plan.gained
    assert not plan.blocked, plan.conflicts
    sets = len({tuple(sorted(one["tags"]["models"])) for one in documents})
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "mib": peak_mib(),
        "before_mib": before,
        "sets": sets,
        "bytes": len(json.dumps(render_plan(plan))),
    }


def choose(chance: random.Random) -> list[str]:
    """Ten models of a device, the one that is rolled out always among them."""
    return ["m0", *(f"m{number}" for number in chance.sample(range(1, MODELS), 9))]


def document(number: int, models: list[str]) -> dict[str, Any]:
    """A device's twin as a hub tells it."""
    name = f"device-{number}"
    return {
        "deviceId": name,
        "etag": "AAAAAAAAAAE=",
        "status": "enabled",
        "connectionState": "Connected",
        "version": 7,
        "tags": {
            "edgeferry": True,
            "rollout_bucket": rollout_bucket(name),
            "device_class": "small",
            "kind": f"kind-{number % KINDS}",
            "site": f"site-{number % SITES}",
            "models": dict.fromkeys(models, True),
        },
        "properties": {
            "desired": {"$metadata": {"$lastUpdated": "2026-01-01T00:00:00Z"}, "$version": 1},
            "reported": {"$metadata": {"$lastUpdated": "2026-01-01T00:00:00Z"}, "$version": 1},
        },
        "capabilities": {"iotEdge": True},
    }


def digest_of(name: str) -> str:
    return f"sha256:{name.encode().hex():0>64}"


def release(model: int, version: int) -> Entry:
    body = {
        "model": f"m{model}",
        "version": str(version),
        "digest": digest_of(f"{model}/{version}"),
        "cases_sha256": "cd" * 32,
        "companion": {"release": "companion-v1", "digest": digest_of("companion")},
    }
    return Entry("1", "release", f"m{model}-v{version}-aaaaaaaa", "", "ann", body, "", "signed")


def deployments() -> list[dict[str, Any]]:
    """A base, a companion, a layer for each model; one more is what the plan adds."""
    made = [render_base(FLEET)]
    companion = ModelLayer(
        name="edgeferry-companion-v1",
        model="companion",
        release="companion-v1",
        digest=digest_of("companion"),
        cases_sha256="",
        nonce="n",
        target_condition=FLEET.all_devices,
        priority=1,
    )
    made.append(render_companion_layer(companion, reference("companion", companion.digest), FLEET))
    for number in range(MODELS):
        entry = release(number, 1)
        digest = entry.body["digest"]
        layer = ModelLayer(
            name=f"edgeferry-{entry.subject}",
            model=f"m{number}",
            release=entry.subject,
            digest=digest,
            cases_sha256="cd" * 32,
            nonce=f"{number:032}",
            target_condition=f"tags.models.m{number} = true",
            priority=1000 + number,
        )
        made.append(render_model_layer(layer, reference(f"m{number}", digest), "1", FLEET))
    return [{**one, "createdTimeUtc": f"2026-01-01T00:00:00.{n:07}Z"} for n, one in enumerate(made)]


def reference(name: str, digest: str) -> str:
    return f"{HOST}/fleet/{name}@{digest}"


def blob_sizes(image: str) -> dict[str, int]:
    """Four blobs, of which all images share two."""
    return {"base": 30_000_000, "deps": 40_000_000, f"model {image}": 400_000, f"config {image}": 2_000}


def services_with(configurations: list[dict[str, Any]], documents: list[dict[str, Any]]) -> Services:
    """A hub and a registry that answer at once: what is measured is the planning."""
    hub = SimpleNamespace(
        host="hub.example", configurations=lambda: configurations, devices=lambda condition="": documents
    )
    registry = SimpleNamespace(host=HOST, reference=reference, blob_sizes=blob_sizes)
    return cast(
        Services,
        SimpleNamespace(hub=hub, registry=registry, new_id=lambda: "n" * 32, pull_login=lambda: None),
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
