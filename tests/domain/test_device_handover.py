import pytest

from edgeferry.domain.device_handover import Probe, can_hand_over, find_probe, wants_hand_over
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.errors import DesiredError


def spec(status="running", **options):
    return ModuleSpec(name="taxi", image="r/taxi", create_options=options, status=status)


@pytest.mark.parametrize(
    ("image_labels", "options", "wanted"),
    [
        pytest.param({}, {}, False, id="nobody asks"),
        pytest.param({"edgeferry.handover": "true"}, {}, True, id="the image asks"),
        pytest.param({"edgeferry.handover": "/ready"}, {}, True, id="a path asks"),
        pytest.param({"edgeferry.handover": "false"}, {}, False, id="false does not ask"),
        pytest.param({}, {"Labels": {"edgeferry.handover": "true"}}, True, id="createOptions ask"),
        pytest.param(
            {"edgeferry.handover": "true"},
            {"Labels": {"edgeferry.handover": "false"}},
            False,
            id="createOptions win over the image",
        ),
        pytest.param({}, {"Labels": ["edgeferry.handover"]}, False, id="labels that are no object"),
    ],
)
def test_labels_of_image_or_create_options_ask_for_a_hand_over(image_labels, options, wanted):
    assert wants_hand_over(spec(**options), image_labels) is wanted


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param({}, "", id="plain"),
        pytest.param({"HostConfig": {"Mounts": [{"Source": "captures"}]}}, "", id="a volume may be shared"),
        pytest.param(
            {"HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": ""}, {}]}}}, "", id="any host port"
        ),
        pytest.param(
            {"HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": "5001"}]}}},
            "host port 5001 can have one container only",
            id="one host port",
        ),
        pytest.param(
            {"HostConfig": {"NetworkMode": "host"}},
            "it is not on the device's network (NetworkMode host)",
            id="host network",
        ),
        pytest.param(
            {"HostConfig": {"Devices": [{"PathOnHost": "/dev/video0"}]}},
            "it has a device of its own (HostConfig.Devices)",
            id="a device",
        ),
        pytest.param(
            {"HostConfig": {"Binds": ["/dev/ttyS0:/dev/ttyS0"]}},
            "it has a device of its own (/dev/ttyS0)",
            id="a device as bind",
        ),
        pytest.param(
            {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/dev/ttyS0"}]}},
            "it has a device of its own (/dev/ttyS0)",
            id="a device as mount",
        ),
        pytest.param({"MacAddress": "02::1"}, "its MacAddress can be of one container only", id="a MAC"),
        pytest.param({"HostConfig": {"PortBindings": {"80/tcp": 5}}}, "", id="bindings that are no list"),
        pytest.param({"HostConfig": "x"}, "", id="a HostConfig that is no object is refused elsewhere"),
    ],
)
def test_a_module_that_cannot_run_twice_says_why(options, reason):
    assert can_hand_over(spec(**options)) == reason


def test_a_module_that_is_to_stand_still_is_not_handed_over():
    assert can_hand_over(spec(status="stopped")) == "it is not to run"


@pytest.mark.parametrize(
    ("labels", "ports", "probe"),
    [
        pytest.param({"edgeferry.handover": "true"}, ["80/tcp"], Probe(80, "/health"), id="its only port"),
        pytest.param({"edgeferry.handover": "/r"}, ["80/tcp", "9/udp"], Probe(80, "/r"), id="its TCP port"),
        pytest.param(
            {"edgeferry.handover": "true", "edgeferry.health-port": "81"},
            ["80/tcp", "82/tcp"],
            Probe(81, "/health"),
            id="the port it names",
        ),
    ],
)
def test_the_successor_is_asked_where_its_labels_say(labels, ports, probe):
    assert find_probe("taxi", labels, ports) == probe


@pytest.mark.parametrize(
    ("labels", "ports", "why"),
    [
        pytest.param({}, [], "it exposes 0 ports", id="no port"),
        pytest.param({}, ["80/tcp", "81/tcp"], "it exposes 2 ports", id="two ports"),
        pytest.param({"edgeferry.health-port": "web"}, ["80/tcp"], "is 'web'", id="no number"),
        pytest.param({"edgeferry.health-port": "0"}, ["80/tcp"], "is '0'", id="port 0"),
    ],
)
def test_a_health_port_that_is_not_known_is_refused_with_the_label_to_set(labels, ports, why):
    with pytest.raises(DesiredError, match=why) as refused:
        find_probe("taxi", labels, ports)
    assert "edgeferry.health-port" in refused.value.fix
