"""The hub's side of TLS: its own authority in its state folder, a certificate for where it listens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

from edgeferry.authority import open_authority
from edgeferry.errors import HubError

HOST_NAMES = ("localhost", "edgeferry-hub", "host.docker.internal")
"""Besides the addresses; `edgeferry-hub` is its name inside containers."""
READ_BYTES = 16 * 1024
"""As much as one TLS record holds."""


def open_tls(folder: Path, addresses: Sequence[str]) -> ssl.SSLContext:
    """A server context for the host names and `addresses`, TLS 1.2 and later, its files made in `folder`
    where missing or no longer fitting; HubError when they are damaged."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        names = tuple(dict.fromkeys((*addresses, "127.0.0.1")))
        context.load_cert_chain(*open_authority(folder).issue(folder, "server", HOST_NAMES, names))
    except (ValueError, TypeError, OSError) as error:
        raise HubError(
            f"the certificates in {folder} cannot be used: {error}",
            fix="remove server.pem and server.key; if that is not enough, also ca.pem and ca.key, then enrol",
        ) from error
    return context


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
