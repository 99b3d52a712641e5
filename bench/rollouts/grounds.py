"""What a rollout on the true wire needs: a hub in a process, hollow devices in another, a controller's
services in this one; and how much processor time each has taken."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from bench.report import Report
from edgeferry.device.hollow import Clock, HollowFleet
from edgeferry.device.hollow_session import HubPlace
from edgeferry.domain.hollow_device import Hollow
from edgeferry.domain.smoke import SmokeRequest
from edgeferry.ports import Services
from tests.hollows import cases_of, open_services
from tests.hubs import RunningHub, free_address

CONNECTED_S = 900
Json = dict


@dataclass
class Grounds:
    """A hub with a fleet of hollow devices, and what a controller has."""

    hub: RunningHub
    services: Services
    clock: Clock
    folder: Path
    fleet: int
    """The process in which the devices live."""

    def costs(self) -> dict[str, float]:
        """Processor seconds so far, by who took them."""
        assert self.hub.process
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "hub": _busy_s(self.hub.process.pid),
            "hollow devices": _busy_s(self.fleet),
            "controller": time.process_time(),
            "git": children.ru_utime + children.ru_stime,
        }


@dataclass(frozen=True)
class _Place:
    """Where the hub is, for a process that is told of it."""

    host_name: str
    address: str
    mqtt_port: int
    ca_file: str


@contextlib.contextmanager
def open_grounds(hollows: Sequence[Hollow], tags: Mapping[str, Json], clock: Clock) -> Iterator[Grounds]:
    """The devices, with their `tags`, alive at a hub of their own."""
    with tempfile.TemporaryDirectory(prefix="bench-rollouts-") as name:
        folder = Path(name)
        (folder / "hub").mkdir()
        hub = RunningHub(folder / "hub", free_address(), 8443, 8883).start()
        try:
            keys = _enrol(hub, folder, tags)
            place = _Place(hub.host_name, hub.address, hub.mqtt_port, str(hub.ca_file))
            with _alive(place, clock, hollows, keys) as process:
                services = open_services(hub.state, folder, _say, clock)
                yield Grounds(hub, services, clock, folder, process)
                services.hub.close()  # type: ignore[attr-defined]
        finally:
            hub.stop()


def tell_costs(report: Report, what: str, before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """Who took how much processor time."""
    for who, seconds in after.items():
        report.add(f"{what}: processor time, {who}", seconds - before[who], "s")


def _enrol(hub: RunningHub, folder: Path, tags: Mapping[str, Json]) -> dict[str, str]:
    """The devices' own keys."""
    services = open_services(hub.state, folder)
    names = sorted(tags)
    services.hub.create_devices(names, True, {})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: services.hub.patch_tags(name, tags[name]), names))
        identities = list(pool.map(services.hub.device, names))
    services.hub.close()  # type: ignore[attr-defined]
    return {each["deviceId"]: each["authentication"]["symmetricKey"]["primaryKey"] for each in identities}


@contextlib.contextmanager
def _alive(place: _Place, clock: Clock, hollows: Sequence[Hollow], keys: Mapping[str, str]) -> Iterator[int]:
    """The process in which the fleet lives, and is connected."""
    context = multiprocessing.get_context("spawn")
    everybody = context.Event()
    process = context.Process(target=_live, args=(place, clock, hollows, keys, everybody), daemon=True)
    process.start()
    assert process.pid
    try:
        if not everybody.wait(CONNECTED_S):
            raise SystemExit(f"not all of {len(hollows)} devices have connected in {CONNECTED_S} s")
        yield process.pid
    finally:
        process.terminate()
        process.join(60)


def _live(
    place: _Place, clock: Clock, hollows: Sequence[Hollow], keys: Mapping[str, str], everybody: Event
) -> None:
    connected: set[str] = set()

    def note(device: str, what: str) -> None:
        if what == "$edgeAgent connected":
            connected.add(device)
            if len(connected) == len(hollows):
                everybody.set()

    async def live() -> None:
        living = asyncio.ensure_future(fleet.live())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, living.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await living

    context = ssl.create_default_context(cafile=place.ca_file)
    hub = HubPlace(place.host_name, place.address, place.mqtt_port, context)
    fleet = HollowFleet(hub, clock, _cases_of, hollows, keys, note)
    asyncio.run(live())


def _cases_of(request: SmokeRequest) -> object:
    return cases_of(request.version)


def _busy_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _say(line: str) -> None:
    print(f"    · {line[:200]}", flush=True)
