"""Which device's folder a command means, and what is known there for completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeferry.device.state import Enrolment, Store, load_enrolment
from edgeferry.errors import EdgeferryError, UsageError
from edgeferry.settings import device_state

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="The device's folder; default: /var/lib/edgeferry/device for root, else "
        "~/.local/state/edgeferry/device.",
    ),
]


def find_state(state: Path | None) -> Path:
    """The device's folder."""
    return (state or device_state()).absolute()


def load_here(folder: Path) -> Enrolment:
    """Which device the folder is; UsageError with what to do where it is none, or not ours to read."""
    try:
        return load_enrolment(folder)
    except UsageError as error:
        if isinstance(error.__cause__, PermissionError):
            raise UsageError(error.problem, fix="it is root's: run this with sudo") from error
        raise


def layers_here(context: typer.Context) -> list[str]:
    """The layers of the device, for completion; none where that cannot be read."""
    return _keys(context, "layers")


def modules_here(context: typer.Context) -> list[str]:
    """The modules of the device, for completion; none where that cannot be read."""
    return _keys(context, "modules")


def _keys(context: typer.Context, part: str) -> list[str]:
    try:
        return sorted(Store(find_state(context.params.get("state"))).load_status().get(part) or {})
    except (OSError, EdgeferryError):
        return []
