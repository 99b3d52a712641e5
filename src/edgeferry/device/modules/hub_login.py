"""Where a module's hub is, and how to be somebody there, as its environment says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeferry.device.link import CA_VARIABLE, CONNECTION_VARIABLE
from edgeferry.device.workload import VARIABLES, Workload, read_place
from edgeferry.errors import UsageError
from edgeferry.wire.connection import ConnectionString, parse_connection_string


@dataclass(frozen=True)
class HubLogin:
    """Where the hub is, and how to be somebody there."""

    connection: ConnectionString
    ca_file: Path | None
    sign: Callable[[ConnectionString, str, int], str] | None = None
    """None: with the key in the connection string."""


def read_login() -> HubLogin:
    """The login of this module, from the environment that IoT Edge gives it (its key stays with IoT Edge,
    which signs), or its simulator and our agent; UsageError when there is neither."""
    text = os.environ.get(CONNECTION_VARIABLE, "")
    if text:
        ca_file = os.environ.get(CA_VARIABLE, "")
        return HubLogin(parse_connection_string(text), Path(ca_file) if ca_file else None)
    place = read_place(os.environ)
    if place is None:
        raise UsageError(
            f"{CONNECTION_VARIABLE} is not set, nor all of {', '.join(VARIABLES)}",
            fix="let an edgeferry device, IoT Edge or its simulator start this",
        )
    workload = Workload(place)
    ca_file_here = Path(tempfile.mkdtemp()) / "hub-ca.pem"
    ca_file_here.write_text(workload.fetch_trust_bundle(), "ascii")
    return HubLogin(place.connection, ca_file_here, workload.sign)
