"""A hub's store filled before it starts: the quick way; over REST 100,000 devices would take minutes."""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.hub.crowd import Credential
from edgeferry.domain.twin import patch_tags
from edgeferry.hub.assigner import MANAGED, new_identity
from edgeferry.hub.store import open_store

SITES = 100


def tags_of(number: int) -> dict:
    """Tags as fleets have them: a few members, some of them shared by many devices."""
    return {
        "env": ("prod", "test", "dev")[number % 3],
        "ring": number % 7,
        "number": number,
        "site": {"name": f"site-{number % SITES}", "floor": number % 4, "city": "Stuttgart"},
        "owner": "plant operations",
    }


def stock(folder: Path, devices: int, edge: bool) -> list[Credential]:
    """Devices `d0`, `d1` … in the store of the hub whose state is `folder`; for edge devices also what the
    hub adds to them: `$edgeAgent`, with whose credentials clients can connect, and `$edgeHub`."""
    folder.mkdir(parents=True, exist_ok=True)
    store = open_store(folder / "hub.db")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    agents = []
    with store.transaction():
        for number in range(devices):
            device = replace(new_identity(f"d{number}", None, now, _new_key), is_edge=edge)
            store.save_identity(replace(device, twin=patch_tags(device.twin, tags_of(number))))
            if edge:
                for name in ("$edgeAgent", "$edgeHub"):
                    module = new_identity(f"d{number}", name, now, _new_key)
                    store.save_identity(replace(module, managed_by=MANAGED))
                    if name == "$edgeAgent":
                        agents.append(Credential(f"d{number}", name, module.primary_key))
    store.close()
    return agents


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
