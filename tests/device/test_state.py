import json
import stat

import pytest

from edgeferry.device.state import Store, load_enrolment
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.errors import OutsideError, UsageError
from tests.device.disks import fill, tiny_disk

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


def kept(store: Store) -> list:
    return [store.load_desired(), store.load_keys(), store.load_images()]


def save_all(store: Store, number: int) -> list:
    """What the store then holds."""
    store.save_desired({"number": number}, number)
    store.save_keys({"taxi": f"key {number}"})
    store.save_images({f"image {number}"}, {"taxi": (f"image {number}",)})
    return [
        ({"number": number}, number),
        {"taxi": f"key {number}"},
        ({f"image {number}"}, {"taxi": (f"image {number}",)}),
    ]


@pytest.mark.parametrize("body", [b"", b"\0" * 100, b"{", None], ids=["empty", "zeros", "torn", "gone"])
def test_a_broken_file_gives_way_to_the_copy_before_it(tmp_path, body, caplog):
    store = Store(tmp_path)
    first = save_all(store, 1)
    save_all(store, 2)
    for name in ("desired.json", "keys.json", "images.json"):
        if body is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(body)
    assert kept(Store(tmp_path)) == first
    assert caplog.text.count("previous copy") == 3


def test_what_an_agent_without_checksums_kept_is_read_and_then_kept_with_them(tmp_path):
    old = {
        "desired.json": {"desired": {"number": 1}, "version": 1},
        "keys.json": {"taxi": "key 1"},
        "images.json": {"pulled": ["image 1"], "history": {"taxi": ["image 1"]}},
    }
    for name, said in old.items():
        (tmp_path / name).write_text(json.dumps(said))
    (tmp_path / "other").mkdir()
    assert kept(Store(tmp_path)) == save_all(Store(tmp_path / "other"), 1)
    second = save_all(Store(tmp_path), 2)
    assert kept(Store(tmp_path)) == second
    assert json.loads((tmp_path / "desired.json.previous").read_text()) == old["desired.json"]


def test_a_full_disk_does_not_lose_the_desired_properties(tmp_path):
    with tiny_disk(tmp_path / "tiny") as folder:
        store = Store(folder)
        first = save_all(store, 1)
        filler = fill(folder)
        with pytest.raises(OSError, match="No space"):
            store.save_desired({"much": "x" * 9000}, 2)
        assert kept(Store(folder)) == first
        filler.unlink()
        store.save_desired({"much": "x" * 9000}, 2)
        assert Store(folder).load_desired() == ({"much": "x" * 9000}, 2)


def test_state_and_journal_go_on_together(tmp_path):
    store = Store(tmp_path)
    for number in (1, 2, 3):
        assert store.journal.append({"number": number}) == number
    store.state.save({"sequence": 2})
    store.journal.cut(2)
    again = Store(tmp_path)
    state = again.state.load()
    assert again.journal.entries(after=state["sequence"]) == [(3, {"number": 3})]


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
