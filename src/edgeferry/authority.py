"""A private certificate authority in a folder, and server certificates issued by it.

ECDSA P-256 (RFC 5480), certificates as in RFC 5280. The local hub and registry share one, so devices
trust one file, `ca.pem`.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_DAYS = 3650
_SERVER_DAYS = 397
_RENEW_DAYS = 30


@dataclass(frozen=True)
class Authority:
    """An authority whose certificate is `folder/ca.pem` and whose key is `folder/ca.key` (0600)."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.pem"

    def issue(self, to: Path, name: str, hosts: Sequence[str], addresses: Sequence[str]) -> tuple[Path, Path]:
        """(certificate chain, key) files `to/NAME.pem` and `to/NAME.key` (0600), for these DNS names and IP
        addresses; an existing pair that covers them and lasts another month is kept."""
        certificate_file, key_file = to / f"{name}.pem", to / f"{name}.key"
        if key_file.is_file() and _covers(certificate_file, self.ca_file, hosts, addresses):
            return certificate_file, key_file
        ca_key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        ca = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [x509.DNSName(host) for host in dict.fromkeys(hosts)]
        ips = [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)]
        certificate = (
            _builder(f"edgeferry {name}", ca.subject, key.public_key(), _SERVER_DAYS)
            .add_extension(x509.SubjectAlternativeName([*alternatives, *ips]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        _write_private(key_file, key)
        chain = certificate.public_bytes(serialization.Encoding.PEM) + self.ca_file.read_bytes()
        certificate_file.write_bytes(chain)
        return certificate_file, key_file


def open_authority(folder: Path, name: str = "edgeferry local authority") -> Authority:
    """The authority in `folder`, made under that name on first use."""
    authority = Authority(folder)
    if not (folder / "ca.key").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(name, subject, key.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        authority.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_private(folder / "ca.key", key)
    return authority


_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _covers(certificate_file: Path, ca_file: Path, hosts: Sequence[str], addresses: Sequence[str]) -> bool:
    try:
        pem = certificate_file.read_bytes()
    except FileNotFoundError:
        return False
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(value) for value in names.get_values_for_type(x509.DNSName)}
    known |= {str(value) for value in names.get_values_for_type(x509.IPAddress)}
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return known >= {*hosts, *addresses} and left.days > _RENEW_DAYS and pem.endswith(ca_file.read_bytes())


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
