"""The authorities that a device's modules trust their hub by."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from edgeferry.errors import OutsideError

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n\r]+-----END CERTIFICATE-----")


def read_trust_bundle(hub_ca_file: Path | None) -> str:
    """Certificates (PEM) by which the hub is trusted: those in that file, else the system's; OutsideError
    when there are none."""
    named = ssl.get_default_verify_paths().cafile
    places = [hub_ca_file] if hub_ca_file else [Path(path) for path in (named, *_SYSTEM_BUNDLES) if path]
    for place in places:
        if place.is_file() and (found := only_certificates(place.read_text("utf-8", "replace"))):
            return found
    raise OutsideError(
        f"no certificate authority is in {', '.join(map(str, places))}",
        fix="correct hub_ca_file in device.json" if hub_ca_file else "install the package ca-certificates",
    )


def only_certificates(text: str) -> str:
    """The certificates in a PEM text, without what stands between them."""
    return "".join(f"{certificate}\n" for certificate in _CERTIFICATE.findall(text))
