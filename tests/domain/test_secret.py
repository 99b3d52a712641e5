"""What looks like a secret, and what only sounds like one."""

from __future__ import annotations

import pytest

from edgeferry.domain.secret import is_secret, is_secret_value, masked, why_key

RANDOM = "q1W2e3R4t5Y6u7I8o9P0" + "a1S2d3F4g5H6j7K8l9Z0"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        pytest.param("db_password", "hunter2", True, id="password"),
        pytest.param("dbPassword", "hunter2", True, id="password, in humps"),
        pytest.param("password", 1234, True, id="password of digits"),
        pytest.param("API_KEY", "abc", True, id="api key"),
        pytest.param("storage-account-key", "abc", True, id="account key"),
        pytest.param("connection_string", "x", True, id="connection string"),
        pytest.param("hf_token", "x", True, id="token"),
        pytest.param("row_key", RANDOM, True, id="any key whose value looks random"),
        pytest.param("row_key", "trip_id", False, id="key of a table"),
        pytest.param("key", "trip_id", False, id="key, a column"),
        pytest.param("monkey", "george", False, id="no key at all"),
        pytest.param("pad_token", "<pad>", False, id="token of a tokenizer"),
        pytest.param("max_tokens", 5, False, id="how many tokens"),
        pytest.param("max_token", 5, False, id="how many, in bad grammar"),
        pytest.param("tokenizer", "bert", False, id="tokenizer"),
        pytest.param("use_token", True, False, id="yes or no"),
        pytest.param("db_password", "", False, id="nothing in it"),
        pytest.param("db_password", "keyvault://vault/name", False, id="reference to a vault"),
        pytest.param("db_password", "${{parent.inputs.db_password}}", False, id="reference to an input"),
    ],
)
def test_a_secret_is_known_by_its_name(name: str, value: object, secret: bool) -> None:
    assert is_secret(name, value) is secret


SECRETS = [
    pytest.param(f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={RANDOM}==", id="storage"),
    pytest.param(f"HostName=h;SharedAccessKeyName=o;SharedAccessKey={RANDOM}=", id="hub"),
    pytest.param(f"SharedAccessSignature sr=h&sig={RANDOM}&se=1", id="SAS of a hub"),
    pytest.param(f"https://a.blob.core.windows.net/c/b?sv=1&sig={RANDOM}", id="SAS of a blob"),
    pytest.param("-----BEGIN RSA " + "PRIVATE KEY-----\nMII", id="private key"),
    pytest.param(
        "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N", id="JWT"
    ),
    pytest.param("--id AKIA" + "IOSFODNN7EXAMPLE", id="AWS"),
    pytest.param("ghp_" + RANDOM[:36], id="GitHub"),
    pytest.param("abc8Q~" + RANDOM[:34], id="Entra"),
    pytest.param("https://user:pass" + "word@host/simple", id="address with a password"),
]


@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_is_known_by_its_form_and_never_shown(value: str) -> None:
    assert is_secret_value(value)
    assert masked(value) == "…"


@pytest.mark.parametrize(
    "value",
    [
        "python -m train --key ${{inputs.key}}",
        "azureml:cpu-cluster",
        "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json",
        "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04@sha256:" + "a1" * 32,
        "https://user@host/x?design=1",
        "max_iter=150, monotonic_cst={'distance_km':1}",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_only_sounds_like_a_secret_passes(value: str) -> None:
    assert not is_secret_value(value)
    assert masked(value) == value


@pytest.mark.parametrize(
    ("path", "head", "why"),
    [
        pytest.param("certs/hub.pem", b"", "named like a key", id="by its ending"),
        pytest.param("ID_RSA", b"", "named like a key", id="whatever its case"),
        pytest.param("id_rsa.pub", b"", "", id="the public half"),
        pytest.param(".env", b"", "named like a key", id="variables"),
        pytest.param(".env.example", b"", "", id="an example of variables"),
        pytest.param("credentials-prod.json", b"", "named like a key", id="credentials"),
        pytest.param(
            "a.txt", b"x\n-----BEGIN PRIVATE " + b"KEY-----\n", "holds a private key", id="by content"
        ),
        pytest.param(
            "a.ini", b"c=AccountKey=" + b"A1" * 30, "holds a connection string with its key", id="connection"
        ),
        pytest.param("train.py", b"KEY = 'trip'", "", id="code"),
        pytest.param("cert.txt", b"-----BEGIN CERTIFICATE-----", "", id="a certificate is public"),
    ],
)
def test_a_file_is_a_key_by_its_name_or_its_first_bytes(path: str, head: bytes, why: str) -> None:
    assert why_key(path, head) == why
