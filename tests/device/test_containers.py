import dataclasses
import json
from dataclasses import replace

import pytest

from edgeferry.device.containers import (
    Place,
    made_from,
    read_search_domains,
    render_container,
    spec_hash,
)
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.errors import DesiredError

PLACE = Place(
    sandbox="ab12cd",
    device="device-1",
    gateway_name="edgeferry-hub",
    gateway_address="10.213.4.1",
    hub="127.31.4.1:8443",
    ca_sha256="c" * 64,
    workload="/state/workload",
    generation="9f",
)
TAXI = ModuleSpec(name="taxi", image="r/taxi@sha256:1", env={"A": "1"})
EDGE = [
    "IOTEDGE_IOTHUBHOSTNAME=127.31.4.1:8443",
    "IOTEDGE_DEVICEID=device-1",
    "IOTEDGE_MODULEID=taxi",
    "IOTEDGE_GATEWAYHOSTNAME=edgeferry-hub",
    "IOTEDGE_MODULEGENERATIONID=9f",
    "IOTEDGE_WORKLOADURI=unix:///run/edgeferry/workload.sock",
    "IOTEDGE_APIVERSION=2020-07-07",
    "IOTEDGE_AUTHSCHEME=sasToken",
]


def with_options(**options):
    return ModuleSpec(name="taxi", image="r/taxi@sha256:1", create_options=options)


def test_a_plain_module_becomes_this_create_body():
    assert render_container(PLACE, TAXI) == {
        "Image": "r/taxi@sha256:1",
        "Env": [
            "A=1",
            "RuntimeLogLevel=info",
            *EDGE,
        ],
        "Labels": {
            "edgeferry.sandbox": "ab12cd",
            "edgeferry.device": "device-1",
            "edgeferry.module": "taxi",
            "edgeferry.spec": spec_hash(PLACE, TAXI),
            "edgeferry.desired": json.dumps(
                {
                    "type": "docker",
                    "status": "running",
                    "restartPolicy": "always",
                    "imagePullPolicy": "on-create",
                    "settings": {"image": "r/taxi@sha256:1", "createOptions": "{}"},
                    "env": {"A": {"value": "1"}},
                }
            ),
        },
        "ExposedPorts": {},
        "HostConfig": {
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "ExtraHosts": ["edgeferry-hub:10.213.4.1"],
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/state/workload/taxi",
                    "Target": "/run/edgeferry",
                    "ReadOnly": True,
                }
            ],
            "NetworkMode": "edgeferry.ab12cd.device-1",
            "DnsSearch": ["edgeferry.ab12cd.device-1"],
            "DnsOptions": ["ndots:1"],
        },
        "NetworkingConfig": {"EndpointsConfig": {"edgeferry.ab12cd.device-1": {"Aliases": ["taxi"]}}},
    }


def test_what_the_deployment_says_stays():
    host = {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "Memory": 5,
        "Init": False,
        "ExtraHosts": ["a:1.1"],
    }
    said = render_container(
        PLACE, with_options(HostConfig=host, User="1:1", Env=["B=2"], Labels={"mine": "x"})
    )
    assert said["User"] == "1:1"
    assert said["Env"][0] == "B=2"
    assert said["Labels"]["mine"] == "x"
    kept = {key: said["HostConfig"][key] for key in ("ReadonlyRootfs", "CapDrop", "Memory", "Init")}
    assert kept == {"ReadonlyRootfs": True, "CapDrop": ["ALL"], "Memory": 5, "Init": False}
    assert said["HostConfig"]["ExtraHosts"] == ["a:1.1", "edgeferry-hub:10.213.4.1"]


def test_a_deployment_cannot_take_the_agents_labels_environment_or_restart_policy():
    options = {
        "Labels": {"edgeferry.device": "other"},
        "Env": ["IOTEDGE_MODULEID=other", "B=2"],
        "HostConfig": {"RestartPolicy": {"Name": "always"}},
    }
    members = {**vars(with_options(**options)), "env": {"IOTEDGE_DEVICEID": "other"}}
    said = render_container(PLACE, ModuleSpec(**members))
    assert said["Labels"]["edgeferry.device"] == "device-1"
    assert sorted(said["Env"]) == sorted(["B=2", "RuntimeLogLevel=info", *EDGE])
    assert said["HostConfig"]["RestartPolicy"] == {"Name": "no"}


def test_host_ports_become_loopback_ports_of_the_engines_choice():
    host = {"PortBindings": {"8080/tcp": [{"HostPort": "5001"}, {"HostIp": "0.0.0.0"}]}}
    said = render_container(PLACE, with_options(HostConfig=host))
    assert said["HostConfig"]["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert said["ExposedPorts"] == {"8080/tcp": {}}


def test_named_volumes_are_this_devices_own_and_host_paths_stay():
    mounts = [
        {"Type": "volume", "Source": "data", "Target": "/data"},
        {"Type": "tmpfs", "Target": "/tmp"},
    ]
    host = {"Binds": ["models:/models:ro", "/etc/x:/x"], "Mounts": mounts}
    said = render_container(PLACE, with_options(HostConfig=host))["HostConfig"]
    assert said["Binds"] == ["edgeferry.ab12cd.device-1.models:/models:ro", "/etc/x:/x"]
    assert [mount.get("Source") for mount in said["Mounts"]] == [
        "edgeferry.ab12cd.device-1.data",
        None,
        "/state/workload/taxi",
    ]


@pytest.mark.parametrize("mode", ["host", "none"])
def test_a_module_may_leave_the_devices_network(mode):
    said = render_container(PLACE, with_options(HostConfig={"NetworkMode": mode}))
    assert said["HostConfig"]["NetworkMode"] == mode
    assert "NetworkingConfig" not in said
    assert "DnsSearch" not in said["HostConfig"]


@pytest.mark.parametrize(
    ("host", "search", "options"),
    [
        pytest.param({}, ["lan.example"], ["ndots:1"], id="the machine's domains follow"),
        pytest.param({"DnsSearch": ["a.example"]}, ["a.example"], ["ndots:1"], id="or the deployment's"),
        pytest.param({"DnsOptions": ["ndots:3"]}, ["lan.example"], ["ndots:3"], id="its own ndots stands"),
        pytest.param(
            {"DnsOptions": ["rotate"]}, ["lan.example"], ["rotate", "ndots:1"], id="other options stay"
        ),
    ],
)
def test_names_are_looked_up_among_the_devices_modules_first(host, search, options):
    place = dataclasses.replace(PLACE, search=("lan.example",))
    said = render_container(place, with_options(HostConfig=host))["HostConfig"]
    assert said["DnsSearch"] == [place.network, *search]
    assert said["DnsOptions"] == options


def test_a_device_whose_name_dns_cannot_say_has_no_search_domain():
    place = dataclasses.replace(PLACE, device="d" * 64)
    assert "DnsSearch" not in render_container(place, TAXI)["HostConfig"]


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        pytest.param("nameserver 1.1.1.1\n", (), id="none"),
        pytest.param("search a.b c.d\n# search x\n", ("a.b", "c.d"), id="two"),
        pytest.param("domain x\nsearch a.b\n", ("a.b",), id="the last word counts"),
    ],
)
def test_the_machines_search_domains_are_read(tmp_path, text, domains):
    (tmp_path / "resolv.conf").write_text(text)
    assert read_search_domains(tmp_path / "resolv.conf") == domains
    assert read_search_domains(tmp_path / "absent") == ()


def test_a_hub_whose_name_resolves_by_itself_needs_no_entry():
    place = replace(PLACE, gateway_name="hub.example", gateway_address="")
    said = render_container(place, TAXI)
    assert "ExtraHosts" not in said["HostConfig"]
    assert "IOTEDGE_GATEWAYHOSTNAME=hub.example" in said["Env"]


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"env": {"RuntimeLogLevel": "debug"}}, id="env"),
        pytest.param({"create_options": {"Env": ["RuntimeLogLevel=debug"]}}, id="create options"),
    ],
)
def test_a_deployment_may_ask_for_another_log_level(members):
    said = render_container(PLACE, ModuleSpec(name="taxi", image="i", **members))
    assert [line for line in said["Env"] if line.startswith("RuntimeLogLevel")] == ["RuntimeLogLevel=debug"]


@pytest.mark.parametrize("options", [{"HostConfig": [1]}, {"Labels": "x"}, {"ExposedPorts": 7}])
def test_create_options_of_the_wrong_shape_are_refused(options):
    with pytest.raises(DesiredError, match="taxi is not an object"):
        render_container(PLACE, with_options(**options))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"restart_policy": "never"}, True, id="restart policy"),
        pytest.param({"startup_order": 3}, True, id="startup order"),
        pytest.param({"image": "r/taxi@sha256:2"}, False, id="image"),
        pytest.param({"env": {"A": "2"}}, False, id="environment"),
        pytest.param({"create_options": {"User": "1"}}, False, id="create options"),
        pytest.param({"status": "stopped"}, False, id="the wish to run"),
        pytest.param({"version": "2"}, False, id="version"),
    ],
)
def test_what_makes_a_container_anew(change, same):
    members = {**vars(TAXI), **change}
    assert (spec_hash(PLACE, ModuleSpec(**members)) == spec_hash(PLACE, TAXI)) is same


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"gateway_address": "10.213.5.1"}, id="another way to the hub"),
        pytest.param({"hub": "127.31.5.1:8443"}, id="another hub"),
        pytest.param({"ca_sha256": "d" * 64}, id="another authority of the hub"),
        pytest.param({"workload": "/elsewhere"}, id="another folder of the workload API"),
        pytest.param({"generation": "a0"}, id="the folder made anew"),
    ],
)
def test_other_surroundings_make_a_container_anew(change):
    assert spec_hash(replace(PLACE, **change), TAXI) != spec_hash(PLACE, TAXI)


def test_a_container_tells_what_it_was_made_from():
    labels = render_container(PLACE, TAXI)["Labels"]
    assert made_from(labels) == TAXI
    assert made_from({"edgeferry.module": "taxi"}) is None
    assert made_from({**labels, "edgeferry.desired": "{"}) is None


def test_a_container_keeps_who_gave_it_and_is_not_made_anew_when_another_does():
    given = replace(TAXI, layer="edgeferry-taxi-v1")
    assert made_from(render_container(PLACE, given)["Labels"]) == given
    assert spec_hash(PLACE, given) == spec_hash(PLACE, TAXI)
