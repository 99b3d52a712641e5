"""Hollow devices, joined with the hub that they live at and the registry whose cases they are asked."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from edgeferry.device.hollow import Clock, HollowFleet
from edgeferry.device.hollow_session import HubPlace
from edgeferry.device.link import MQTT_PORT
from edgeferry.domain.finding import refuse_found
from edgeferry.domain.hollow_device import Hollow
from edgeferry.domain.hollow_faults import Fault, choose_faults, parse_faults
from edgeferry.domain.smoke import CaseSet, SmokeRequest
from edgeferry.ports import Services
from edgeferry.settings import Settings
from edgeferry.wire.connection import azure_hub_name
from edgeferry.workflows.cases import fetch_cases
from edgeferry.workflows.hollows import fetch_keys


def read_sim_faults(file: Path) -> tuple[Fault, ...]:
    """What is to go wrong on hollow devices, from a YAML file; DefinitionError or UsageError naming the
    place."""
    from edgeferry.adapters.documents import load_document

    document = load_document(file, refuse_found)
    return parse_faults(document.content if document else None, str(file))


def make_hollows(
    settings: Settings,
    services: Services,
    twins: Mapping[str, Mapping[str, Any]],
    wrong: Sequence[Fault],
    seed: int,
    speed: float,
    on_event: Callable[[str, str], None],
) -> HollowFleet:
    """Hollow devices of the hub, by name with their twins, of which none lives yet; each has its share of the
    faults in `wrong`. They ask the cases that the registry has."""
    address = services.hub.host.partition(":")[0]
    ca_file = "" if azure_hub_name(services.hub.host) else settings["hub.ca_file"]
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    clock = Clock(time.time(), speed)

    @cache
    def find_cases(model: str, digest: str, cases_sha256: str) -> CaseSet | None:
        return fetch_cases(services, model, digest, cases_sha256)

    def cases_of(request: SmokeRequest) -> CaseSet | None:
        return find_cases(request.model, request.digest, request.cases_sha256)

    return HollowFleet(
        place=HubPlace(services.hub.host, address, MQTT_PORT, context),
        clock=clock,
        cases_of=cases_of,
        hollows=[
            Hollow(name, seed, clock.began_at, choose_faults(wrong, name, twin, seed))
            for name, twin in twins.items()
        ],
        keys=fetch_keys(services.hub, list(twins)),
        on_event=on_event,
    )
