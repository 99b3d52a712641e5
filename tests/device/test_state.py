import json
import stat

import pytest

from edgeferry.device.state import Store, load_enrolment
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import OutsideError, UsageError

CONNECTION = "HostName=127.0.0.7:8443;DeviceId=device-1;SharedAccessKey=a2V5;GatewayHostName=127.0.0.7"
ENROLMENT = {
    "connection_string": CONNECTION,
    "hub_ca_file": "/x/ca.pem",
    "container_gateway": {"name": "edgeferry-hub", "address": "10.213.4.1"},
    "registries": [{"address": "127.0.0.7:5443", "username": "u", "password": "p"}],
    "engine": "unix:///run/docker.sock",
    "sandbox": "ab12cd",
}


def test_an_enrolment_says_who_the_device_is_and_what_surrounds_it(tmp_path):
    (tmp_path / "device.json").write_text(json.dumps(ENROLMENT))
    enrolment = load_enrolment(tmp_path)
    assert (enrolment.device, enrolment.sandbox, enrolment.engine) == (
        "device-1",
        "ab12cd",
        "unix:///run/docker.sock",
    )
    assert (enrolment.gateway_name, enrolment.gateway_address) == ("edgeferry-hub", "10.213.4.1")
    assert enrolment.registries == (RegistryLogin("127.0.0.7:5443", "u", "p"),)
    assert "a2V5" not in repr(enrolment)


def test_only_hub_and_engine_must_be_told(tmp_path):
    needed = {key: ENROLMENT[key] for key in ("connection_string", "engine", "sandbox")}
    (tmp_path / "device.json").write_text(json.dumps(needed))
    enrolment = load_enrolment(tmp_path)
    assert enrolment.hub_ca_file is None
    assert (enrolment.gateway_name, enrolment.gateway_address) == ("127.0.0.7", "")
    assert enrolment.registries == ()


def test_modules_reach_azures_hub_by_its_own_name(tmp_path):
    azure = "HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey=a2V5"
    said = {"connection_string": azure, "engine": "unix:///e", "sandbox": "s"}
    (tmp_path / "device.json").write_text(json.dumps(said))
    assert load_enrolment(tmp_path).gateway_name == "h.azure-devices.net"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({**ENROLMENT, "connection_string": "HostName=h;DeviceId=d"}),
        json.dumps({**ENROLMENT, "connection_string": CONNECTION.replace("DeviceId=device-1;", "")}),
        json.dumps({**ENROLMENT, "registries": [{"address": "x"}]}),
    ],
)
def test_what_is_no_enrolment_is_refused(tmp_path, text):
    (tmp_path / "device.json").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_enrolment(tmp_path)
    assert caught.value.fix


def test_desired_properties_and_keys_survive(tmp_path):
    Store(tmp_path).save_desired({"a": 1}, 7)
    Store(tmp_path).save_keys({"taxi": "key"})
    assert Store(tmp_path).load_desired() == ({"a": 1}, 7)
    assert Store(tmp_path).load_keys() == {"taxi": "key"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"desired.json": 0o600, "keys.json": 0o600}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"desired": 1, "version": "x"}'])
def test_a_torn_file_counts_as_absent(tmp_path, text):
    (tmp_path / "desired.json").write_text(text)
    assert Store(tmp_path).load_desired() is None


def test_an_empty_folder_holds_nothing(tmp_path):
    assert Store(tmp_path).load_desired() is None
    assert Store(tmp_path).load_keys() == {}


def test_one_agent_at_a_time(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    first.open()
    with pytest.raises(OutsideError, match="another agent"):
        second.open()
    first.close()
    second.open()
    second.close()
