"""Keys that sign in the ledger: files, or a text that a pipeline was given."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeferry.adapters.signer import KeyFolder, PemSigner
from edgeferry.errors import UsageError

SETTING = ("ledger.signing_key", "set it")
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY, form: str = "PKCS8") -> str:
    formats = {
        "PKCS8": serialization.PrivateFormat.PKCS8,
        "SEC1": serialization.PrivateFormat.TraditionalOpenSSL,
    }
    return key.private_bytes(serialization.Encoding.PEM, formats[form], serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(pem(), id="PKCS8"),
        pytest.param(pem(form="SEC1"), id="SEC1"),
        pytest.param(
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
            + pem(form="SEC1"),
            id="with parameters before it, as openssl writes them",
        ),
        pytest.param(pem().replace("\n", " "), id="line ends became spaces"),
        pytest.param(pem().replace("\n", "\\n"), id="line ends became a written backslash n"),
    ],
)
def test_a_given_key_signs_for_its_author_and_never_touches_the_disk(tmp_path: Path, text: str) -> None:
    keys = KeyFolder(
        tmp_path / "keys", tmp_path / "trust", may_trust=True, given={"ci": PemSigner(lambda: text, *SETTING)}
    )
    signature = keys.sign("ci", b"message")
    assert keys.distrust("ci", keys.fingerprint("ci"), signature, b"message") == ""
    assert not (tmp_path / "keys").exists()


def test_a_given_key_is_not_trusted_by_itself_in_a_projects_folder(tmp_path: Path) -> None:
    keys = KeyFolder(
        tmp_path / "keys", tmp_path / "trust", may_trust=False, given={"ci": PemSigner(pem, *SETTING)}
    )
    assert "no trusted key" in keys.distrust("ci", keys.fingerprint("ci"), keys.sign("ci", b"m"), b"m")


def test_other_authors_still_have_files(tmp_path: Path) -> None:
    keys = KeyFolder(
        tmp_path / "keys", tmp_path / "trust", may_trust=True, given={"ci": PemSigner(pem, *SETTING)}
    )
    assert keys.fingerprint("ann") != keys.fingerprint("ci")
    assert (tmp_path / "keys" / "ann.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("$(ledger-signing-key) that nobody ever set as a variable", id="no PEM"),
        pytest.param(pem(rsa.generate_private_key(65537, 2048)), id="RSA"),
        pytest.param(pem(ec.generate_private_key(ec.SECP384R1())), id="another curve"),
        pytest.param(pem()[:120] + "-----END PRIVATE KEY-----", id="cut short"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    keys = KeyFolder(
        tmp_path / "keys", tmp_path / "trust", may_trust=True, given={"ci": PemSigner(lambda: text, *SETTING)}
    )
    with pytest.raises(UsageError) as caught:
        keys.sign("ci", b"message")
    assert "ledger.signing_key" in str(caught.value)
    assert text[-45:-20] not in str(caught.value)
