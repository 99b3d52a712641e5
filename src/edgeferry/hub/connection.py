"""`connection.json`: how clients reach the hub, and the keys of its policies; its owner's alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeferry.errors import HubError
from edgeferry.hub.access import RIGHTS
from edgeferry.wire.connection import ConnectionString, render_connection_string

FILE = "connection.json"


def open_policies(
    state: Path, host_name: str, https: Sequence[str], mqtt: Sequence[str], new_key: Callable[[], str]
) -> Mapping[str, str]:
    """The policies' keys; the file is made, or brought up to date with where the hub listens. HubError when
    it is damaged."""
    file = state / FILE
    try:
        policies = {} if not file.exists() else dict(json.loads(file.read_text())["policies"])
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(
            f"{file} is damaged: {error}", fix="restore it, or remove it to get new keys"
        ) from error
    policies = {name: policies.get(name) or new_key() for name in RIGHTS}
    owner = ConnectionString(host_name, policies["iothubowner"], policy="iothubowner")
    document = {
        "hostname": host_name,
        "https": list(https),
        "mqtt": list(mqtt),
        "policies": policies,
        "connection_string": render_connection_string(owner),
    }
    data = json.dumps(document, indent=2).encode() + b"\n"
    if not file.exists() or file.read_bytes() != data:
        _write_private(file, data)
    return policies


def _write_private(path: Path, data: bytes) -> None:
    """Replaces the file's content in one step, durably; only its owner can ever read it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
