"""The hub's side of TLS: its own authority in its state folder, a certificate for where it listens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from edgeferry.authority import open_authority
from edgeferry.errors import HubError

HOST_NAMES = ("localhost", "edgeferry-hub", "host.docker.internal")
"""Besides the addresses; `edgeferry-hub` is its name inside containers."""
READ_BYTES = 16 * 1024
"""As much as one TLS record holds."""


@dataclass(frozen=True)
class Tls:
    """The certificate that clients see, for these host names and addresses, its files in `folder`."""

    folder: Path
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    context: ssl.SSLContext

    def renew(self) -> None:
        """The certificate lasts another month at least: a new one is shown to whoever connects from now on.
        HubError when its files are damaged."""
        try:
            self.context.load_cert_chain(
                *open_authority(self.folder).issue(self.folder, "server", self.names, self.addresses)
            )
        except (ValueError, TypeError, OSError) as error:
            raise HubError(
                f"the certificates in {self.folder} cannot be used: {error}",
                fix="remove server.pem and server.key; if that is not enough, ca.pem and ca.key, and enrol",
            ) from error


def open_tls(folder: Path, names: Sequence[str], addresses: Sequence[str]) -> Tls:
    """TLS 1.2 and later for HOST_NAMES, `names` and `addresses`, its files made in `folder` where missing or
    no longer fitting; HubError when they are damaged."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    numbers = [name for name in names if _is_address(name)]
    tls = Tls(
        folder,
        tuple(dict.fromkeys((*HOST_NAMES, *(name for name in names if name not in numbers)))),
        tuple(dict.fromkeys((*addresses, "127.0.0.1", *numbers))),
        context,
    )
    tls.renew()
    return tls


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def shrink_read_buffer(transport: asyncio.Transport, size: int = READ_BYTES) -> bool:
    """Whether this server connection now reads through `size` bytes instead of asyncio's 256 KiB, which would
    be most of what an idle client costs. Private to asyncio: where its insides are others, nothing
    is changed."""
    protocol = getattr(transport, "_ssl_protocol", None)
    names = ("max_size", "_ssl_buffer", "_ssl_buffer_view")
    if protocol is None or not all(hasattr(protocol, name) for name in names):
        return False
    protocol.max_size = size
    protocol._ssl_buffer = bytearray(size)
    protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)
    return True
