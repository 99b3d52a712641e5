"""Releases, approvals and rollouts as entries of the ledger. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One signed decision in the ledger."""

    id: str
    """The path of its file in the ledger, e.g. `release/nyc_taxi-v1-3fa9c1d2`."""
    kind: str
    subject: str
    at: str
    """ISO 8601, UTC."""
    author: str
    body: Mapping[str, Any]
    key: str
    """Fingerprint of the signing key: `SHA256:` and the base64 digest of its public DER form."""
    signature: str
    """Base64 DER ECDSA P-256 over SHA-256 of the entry's canonical JSON without `signature`."""


def release_name(model: str, version: str, digest: str) -> str:
    """A release's name: model, version and the first eight digits of its image's digest."""
    return f"{model}-v{version}-{digest.removeprefix('sha256:')[:8]}"
