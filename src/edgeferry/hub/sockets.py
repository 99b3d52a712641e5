"""Where the hub listens; who listens there instead, when somebody does."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeferry.errors import HubError

BACKLOG = 1024
_LISTEN = "0A"


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens there; HubError, naming who does where that can be known."""
    # With IPPROTO_TCP said, asyncio sets TCP_NODELAY on what it accepts: milliseconds, not 40 of them.
    try:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
            one.listen(BACKLOG)
            one.setblocking(False)
        except BaseException:
            one.close()
            raise
    except OSError as error:
        holder = find_holder(address, port)
        raise HubError(
            f"cannot listen on {address}:{port}: {error.strerror or error}"
            + (f" by {holder}" if holder else ""),
            fix=_fix(error, holder),
        ) from error
    return one


def places(sockets: Sequence[socket.socket]) -> list[str]:
    """Where they listen, ADDRESS:PORT each."""
    return ["{}:{}".format(*one.getsockname()) for one in sockets]


def find_holder(address: str, port: int) -> str:
    """`NAME (process PID)` of who listens there; "" when nobody does or the system does not tell."""
    inodes = set(_listening(address, port))
    if not inodes:
        return ""
    with contextlib.suppress(OSError):
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and _holds(process, inodes):
                with contextlib.suppress(OSError):
                    return f"{_name(process)} (process {process.name})"
    return ""


def _fix(error: OSError, holder: str) -> str:
    if isinstance(error, PermissionError):
        return "ports below 1024 are for root; give a higher one"
    return f"stop {'it' if holder else 'who holds it'}, or give another --address or port"


def _listening(address: str, port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on the port at this address, or at all."""
    wanted = {
        struct.pack("<I", int.from_bytes(socket.inet_aton(one))).hex().upper() for one in (address, "0.0.0.0")
    }
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                place, _, number = fields[1].partition(":")
                # An IPv6 socket for every address holds IPv4's too; one for an IPv4 address ends in it.
                here = place[-8:] in wanted
                if fields[3] == _LISTEN and int(number, 16) == port and here:
                    yield fields[9]


def _name(process: Path) -> str:
    if "edgeferry.hub" in (process / "cmdline").read_text("utf-8", "replace").split("\0"):
        return "another edgeferry hub"
    return (process / "comm").read_text().strip()


def _holds(process: Path, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(descriptor).removeprefix("socket:[").rstrip("]") in inodes:
                    return True
    return False
