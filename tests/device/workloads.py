"""The workload API of a device at a real hub, in this process."""

from __future__ import annotations

from pathlib import Path

from edgeferry.device.identities import Identities
from edgeferry.device.state import Enrolment, Store
from edgeferry.device.trust import read_trust_bundle
from edgeferry.device.workload_api import WorkloadApi
from tests.hubs import RunningHub


def enrol(hub: RunningHub, device: str, folder: Path) -> Identities:
    """The identities of the device's modules, with a store in `folder`."""
    key = hub.ask("GET", f"/devices/{device}")["authentication"]["symmetricKey"]["primaryKey"]
    enrolment = Enrolment(
        hub.connection(device, key), device, hub.ca_file, "edgeferry-hub", "", (), "unix:///none", "t"
    )
    return Identities(enrolment, Store(folder))


def open_api(hub: RunningHub, device: str, folder: Path, **options: float) -> WorkloadApi:
    identities = enrol(hub, device, folder)
    return WorkloadApi(folder / "workload", identities, lambda: read_trust_bundle(hub.ca_file), **options)
