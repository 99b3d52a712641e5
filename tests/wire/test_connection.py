import pytest

from edgeferry.errors import UsageError
from edgeferry.wire.connection import (
    ConnectionString,
    azure_hub_name,
    parse_connection_string,
    render_connection_string,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(
            "HostName=h:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5==",
            ConnectionString("h:8443", "a2V5==", policy="iothubowner"),
            id="a policy's, with padding in the key",
        ),
        pytest.param(
            "HostName=h;DeviceId=d;SharedAccessKey=a2V5",
            ConnectionString("h", "a2V5", device_id="d"),
            id="a device's",
        ),
        pytest.param(
            "HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5;GatewayHostName=g",
            ConnectionString("h", "a2V5", device_id="d", module_id="m", gateway_host_name="g"),
            id="a module's behind a gateway",
        ),
    ],
)
def test_a_connection_string_is_read_and_written_back(text, parts):
    assert parse_connection_string(text) == parts
    assert parse_connection_string(render_connection_string(parts)) == parts


def test_letter_case_order_and_spaces_do_not_matter():
    text = " sharedaccesskey=a2V5 ; DEVICEID=d;hostname=h; "
    assert parse_connection_string(text) == ConnectionString("h", "a2V5", device_id="d")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "HostName"),
        ("HostName=h;SharedAccessKeyName=p", "SharedAccessKey"),
        ("HostName=h;ModuleId=m;SharedAccessKey=s3cr3t", "DeviceId"),
        ("HostName=h;SharedAccessKey=s3cr3t", "SharedAccessKeyName or DeviceId"),
    ],
)
def test_what_is_missing_is_named_and_the_key_is_not(text, missing):
    with pytest.raises(UsageError) as caught:
        parse_connection_string(text)
    assert caught.value.problem.endswith(f"has no {missing}")
    assert "s3cr3t" not in str(caught.value)


def test_printing_a_connection_string_does_not_show_its_key():
    assert "s3cr3t" not in repr(ConnectionString("h", "s3cr3t", policy="p"))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("ferry-hub.azure-devices.net", "ferry-hub"),
        ("Ferry.Azure-Devices.cn", "Ferry"),
        ("ferry.azure-devices.us", "ferry"),
        ("127.31.1.1:8443", ""),
        ("ferry.azure-devices.example.org", ""),
        ("example.org/ferry.azure-devices.net", ""),
        ("ferry.azure-devices.net@example.org", ""),
        ("", ""),
    ],
)
def test_azures_hubs_are_known_by_their_hosts(host, name):
    assert azure_hub_name(host) == name
