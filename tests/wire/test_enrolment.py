import base64
import json
import string

import pytest

from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import UsageError
from edgeferry.wire.connection import parse_connection_string
from edgeferry.wire.enrolment import (
    DeviceFile,
    Surroundings,
    Token,
    is_only_here,
    locate_hub,
    parse_device_file,
    parse_token,
    render_device_file,
    render_token,
)

CONNECTION = parse_connection_string(
    "HostName=10.0.0.7:8443;DeviceId=press-1;SharedAccessKey=c2VjcmV0LWtleQ==;GatewayHostName=10.0.0.7"
)
HERE = Surroundings(
    "edgeferry-hub",
    "10.0.0.7",
    (RegistryLogin("10.0.0.7:5443", "puller", "pull-password"),),
    "unix:///run/docker.sock",
    "fleet",
)
TOKEN = Token(CONNECTION, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", HERE)
AZURE = Token(parse_connection_string("HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey=a2V5"))


@pytest.mark.parametrize("token", [TOKEN, AZURE], ids=["ours", "azure"])
def test_a_token_says_what_was_put_in_and_needs_no_quotes_in_a_shell(token):
    text = render_token(token)
    assert set(text) <= {*string.ascii_letters, *string.digits, "-", "_"}
    assert parse_token(text) == token
    assert parse_token(f" {text[:40]}\n{text[40:]}\r\n") == token, "broken by a terminal or a mail"


def test_a_token_shows_no_secret_when_it_is_printed_by_mistake():
    assert "c2Vj" not in repr(TOKEN)
    assert "pull-password" not in repr(TOKEN)


def encode(document) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "no token", id="nothing"),
        pytest.param("press-1", "no token", id="a name"),
        pytest.param(render_token(TOKEN)[:-30], "not a whole one", id="cut off"),
        pytest.param(render_token(TOKEN)[30:], "no token", id="without its begin"),
        pytest.param(encode([1]), "no token", id="a list"),
        pytest.param(encode({"version": 1}), "no token", id="empty"),
        pytest.param(encode({"version": 2, "sandbox": "x"}), "another version", id="newer"),
        pytest.param(
            encode({"version": 1, "sandbox": "x", "connection_string": "HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5"}),  # noqa: E501
            "no token",
            id="a service's credential",
        ),
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused_without_a_word_of_it(text, says):
    with pytest.raises(UsageError, match=says) as caught:
        parse_token(text)
    assert caught.value.fix
    assert not text or text not in str(caught.value)


def test_device_json_says_what_was_put_in():
    file = DeviceFile(CONNECTION, "/x/ca.pem", HERE)
    assert parse_device_file(json.loads(json.dumps(render_device_file(file)))) == file


@pytest.mark.parametrize(
    ("host", "address", "name", "where"),
    [
        pytest.param("h.azure-devices.net", "", "h.azure-devices.net", "", id="azure"),
        pytest.param("hub.shop.example:8443", "", "hub.shop.example", "", id="a name with a port"),
        pytest.param("10.0.0.7:8443", "", "edgeferry-hub", "10.0.0.7", id="an address"),
        pytest.param("127.31.4.1:8443", "10.213.4.1", "edgeferry-hub", "10.213.4.1", id="elsewhere"),
    ],
)
def test_modules_reach_the_hub_by_a_name_that_its_certificate_has(host, address, name, where):
    here = locate_hub(host, address)
    assert (here.gateway_name, here.gateway_address) == (name, where)


@pytest.mark.parametrize(
    ("host", "only"),
    [("127.31.4.1:8443", True), ("localhost", True), ("10.0.0.7:8443", False), ("h.net", False)],
)
def test_a_hub_on_loopback_is_told_from_others(host, only):
    assert is_only_here(host) is only
