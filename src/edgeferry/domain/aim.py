"""What makes a device match a target condition that picks none. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeferry.domain.tags import render_wanted
from edgeferry.domain.typed import render_command

_FEW = 5
"""Among so many devices the first is as good an example as any."""


def render_aim(environment: str, condition: str, devices: Sequence[str] = ()) -> str:
    """The command that lets a device match, one of `devices` where they are few; the one that shows
    tags where not only their values decide."""
    if not (words := render_wanted(condition)):
        shown = render_command(environment, "devices", "list")
        return f"{shown} shows their tags; change those, or the condition"
    who = min(devices) if 0 < len(devices) <= _FEW else "DEVICE"
    return render_command(environment, "devices", "tag", who, *words)
