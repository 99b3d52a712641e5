import tomllib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.domain.device_policy import find_refusals
from edgeferry.domain.device_rules import Policy
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.wire.edge import parse_module
from tests.iot_edge import fill_template

STRICT = Policy()
ALL = Policy(
    privileged=True, docker_socket=True, host_network=True, host_namespaces=True, mounts=("/",)
)  # privileged covers devices, capabilities, sysctls, runtimes and log drivers
SOCKET = "policy.docker_socket = true"
PRIVILEGED = "policy.privileged = true"
NAMESPACES = "policy.host_namespaces = true"
NETWORK = "policy.host_network = true"


def refusals(options, policy=STRICT):
    return find_refusals(ModuleSpec(name="m", image="a:1", create_options=options), policy)


def host(**members):
    return {"HostConfig": members}


def bind(source, **members):
    return host(Mounts=[{"Type": "bind", "Source": source, "Target": "/x", **members}])


def volume(name="", **options):
    driver = {"Name": name, "Options": options}
    return host(
        Mounts=[{"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions": {"DriverConfig": driver}}]
    )


NVIDIA = {"Driver": "", "Count": -1, "Capabilities": [["gpu", "utility"]]}
CDI = {"Driver": "cdi", "DeviceIDs": ["vendor.com/cam=0"]}

ALLOWED_BY = [
    # (what is asked for, the member that the text names, the line that allows it, a policy with that line)
    (host(Privileged=True), "Privileged true", PRIVILEGED, Policy(privileged=True)),
    (host(CapAdd=["SYS_ADMIN"]), 'CapAdd "SYS_ADMIN"', '["SYS_ADMIN"]', Policy(capabilities=("SYS_ADMIN",))),
    (
        host(CapAdd=["cap_net_raw"]),
        'CapAdd "cap_net_raw"',
        '["NET_RAW"]',
        Policy(capabilities=("CAP_NET_RAW",)),
    ),
    (host(CapAdd=["all"]), 'CapAdd "all"', 'capabilities = ["ALL"]', Policy(capabilities=("ALL",))),
    (host(CapAdd=["X"]), 'CapAdd "X"', '["X"]', Policy(privileged=True)),
    (
        host(Devices=[{"PathOnHost": "/dev/video0"}]),
        'Devices "/dev/video0"',
        '["/dev/video0"]',
        Policy(devices=("/dev/video0",)),
    ),
    (
        host(Devices=[{"PathOnHost": "/dev/snd/../snd/pcm"}]),
        "Devices",
        'devices = ["/dev/snd/pcm"]',
        Policy(devices=("/dev/snd/",)),
    ),
    (host(DeviceRequests=[NVIDIA]), 'DeviceRequests "gpu"', 'devices = ["gpu"]', Policy(devices=("gpu",))),
    (
        host(DeviceRequests=[CDI]),
        'DeviceRequests "vendor.com/cam=0"',
        "cam=0",
        Policy(devices=("vendor.com/cam=0",)),
    ),
    (host(DeviceRequests=[{}]), 'DeviceRequests "any"', "any", Policy(privileged=True)),
    (
        host(DeviceCgroupRules=["b *:* rwm"]),
        'DeviceCgroupRules "b *:* rwm"',
        PRIVILEGED,
        Policy(privileged=True),
    ),
    (host(Binds=["/etc:/x"]), 'Binds "/etc"', 'policy.mounts = ["/etc"]', Policy(mounts=("/etc",))),
    (host(Binds=["/srv/a:/x:ro"]), 'Binds "/srv/a"', '["/srv/a"]', Policy(mounts=("/srv",))),
    (host(Binds=["/srv/a:/x:rw,z"]), 'Binds "/srv/a"', '["/srv/a"]', Policy(mounts=("/srv/a/",))),
    (host(Binds=["/srv/../etc:/x"]), 'Binds "/srv/../etc"', 'mounts = ["/etc"]', Policy(mounts=("/etc",))),
    (bind("/tmp"), 'Mounts "/tmp"', 'mounts = ["/tmp"]', Policy(mounts=("/tmp",))),
    (bind("//tmp/./x//"), "Mounts", 'mounts = ["/tmp/x"]', Policy(mounts=("/tmp",))),
    (
        volume(type="none", o="bind", device="/etc"),
        'Mounts volume of "/etc"',
        '["/etc"]',
        Policy(mounts=("/etc",)),
    ),
    (volume("local", o="ro, RBIND", device="/etc"), 'volume of "/etc"', '["/etc"]', Policy(mounts=("/etc",))),
    (volume(type="ext4", device="/dev/sda1"), "Mounts volume driver", PRIVILEGED, Policy(privileged=True)),
    (
        volume(type="nfs", o="addr=10.0.0.1", device=":/x"),
        "volume driver",
        PRIVILEGED,
        Policy(privileged=True),
    ),
    (volume("rclone"), 'Mounts volume driver "rclone"', PRIVILEGED, Policy(privileged=True)),
    (host(VolumeDriver="x"), 'VolumeDriver "x"', PRIVILEGED, Policy(privileged=True)),
    (host(NetworkMode="host"), 'NetworkMode "host"', NETWORK, Policy(host_network=True)),
    (
        {"NetworkingConfig": {"EndpointsConfig": {"host": {}}}},
        'EndpointsConfig "host"',
        NETWORK,
        Policy(host_network=True),
    ),
    (
        {**host(NetworkMode="none"), "NetworkingConfig": {"EndpointsConfig": {"lan": {}}}},
        '"lan"',
        NETWORK,
        Policy(host_network=True),
    ),
    (
        host(NetworkMode="container:hub"),
        'NetworkMode "container:hub"',
        NAMESPACES,
        Policy(host_namespaces=True),
    ),
    *(
        (host(**{mode: "host"}), f'{mode} "host"', NAMESPACES, Policy(host_namespaces=True))
        for mode in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")
    ),
    (host(PidMode="container:x"), 'PidMode "container:x"', NAMESPACES, Policy(host_namespaces=True)),
    (host(IpcMode="container:x"), 'IpcMode "container:x"', NAMESPACES, Policy(host_namespaces=True)),
    (host(VolumesFrom=["other:ro"]), 'VolumesFrom "other:ro"', NAMESPACES, Policy(host_namespaces=True)),
    *(
        (host(SecurityOpt=[text]), "SecurityOpt", PRIVILEGED, Policy(privileged=True))
        for text in (
            "seccomp=unconfined",
            "seccomp:unconfined",
            'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',
            "apparmor=unconfined",
            "systempaths=unconfined",
            "label=disable",
        )
    ),
    (host(MaskedPaths=[]), "MaskedPaths []", PRIVILEGED, Policy(privileged=True)),
    (host(ReadonlyPaths=["/x"]), "ReadonlyPaths", PRIVILEGED, Policy(privileged=True)),
    (host(CgroupParent="/"), 'CgroupParent "/"', PRIVILEGED, Policy(privileged=True)),
    (host(OomScoreAdj=-500), "OomScoreAdj -500", PRIVILEGED, Policy(privileged=True)),
    (
        host(Sysctls={"net.core.somaxconn": "1"}),
        '"net.core.somaxconn"',
        "policy.sysctls",
        Policy(sysctls=("net.core.somaxconn",)),
    ),
    (host(Runtime="nvidia"), 'Runtime "nvidia"', 'runtimes = ["nvidia"]', Policy(runtimes=("nvidia",))),
    (
        host(LogConfig={"Type": "syslog"}),
        'LogConfig.Type "syslog"',
        '["syslog"]',
        Policy(log_drivers=("syslog",)),
    ),
]


@pytest.mark.parametrize(
    ("options", "member", "line", "policy"),
    [pytest.param(*row, id=f"{row[1]} {row[2]}") for row in ALLOWED_BY],
)
def test_what_reaches_beyond_the_container_is_refused_by_name_with_the_line_that_allows_it(
    options, member, line, policy
):
    (text,) = refusals(options)
    assert member in text
    assert line in text
    assert "agent.toml would allow it by policy." in text
    assert refusals(options, policy) == ()


@pytest.mark.parametrize(
    "path",
    [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/var/run",
        "/run",
        "/run/",
        "/",
        "/var/lib/../run/docker.sock",
        "//var//run/./docker.sock",
        "/../run/docker.sock",
        "/proc",
        "/proc/1/root/run",
        "/proc/self/cwd",
        "/dev/fd/3",
        "/run/containerd/containerd.sock",
        "/run/containerd",
        "/var/run/docker/anything",
        "/run/user/1000",
        "/run/user/1000/docker.sock",
        "/srv/hidden/docker.sock",
        "/run/podman/podman.sock",
    ],
)
def test_no_path_to_the_engine_is_allowed_by_a_folder(path):
    everything_but = replace(ALL, docker_socket=False)
    for options in (
        bind(path),
        host(Binds=[f"{path}:/x"]),
        host(Binds=[f"{path}:/x:ro"]),
        volume(type="none", o="bind", device=path),
    ):
        (text,) = refusals(options, everything_but)
        assert SOCKET in text
        assert refusals(options, ALL) == ()


@pytest.mark.parametrize("path", ["/run/user/1000/pulse", "/srv/run", "/var/running", "/process", "/dev"])
def test_other_folders_lead_to_no_engine(path):
    assert refusals(bind(path), replace(ALL, docker_socket=False)) == ()


def test_the_engines_socket_alone_needs_no_folder_but_a_folder_that_holds_it_does():
    policy = Policy(docker_socket=True)
    assert refusals(bind("/var/run/docker.sock"), policy) == ()
    (text,) = refusals(bind("/var/run"), policy)
    assert 'policy.mounts = ["/run"]' in text
    assert len(refusals(bind("/run"))) == 2


@pytest.mark.parametrize(
    "path", ["/srv/shop2", "/srv", "/", "/srv/shop/..", "/srv/shop/../shop2", "/srv/shop/../../etc"]
)
def test_a_folder_allows_itself_and_what_is_in_it_only(path):
    policy = Policy(mounts=("/srv/shop",))
    assert refusals(host(Binds=["/srv/shop/a:/a", "/srv/shop:/b", "/srv/shop/../shop/x:/c"]), policy) == ()
    assert any("mounts" in text for text in refusals(bind(path), policy))


def test_a_relative_folder_in_the_policy_allows_nothing():
    assert refusals(bind("/etc"), Policy(mounts=("etc", "", "."))) != ()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="nothing"),
        pytest.param(host(), id="an empty HostConfig"),
        pytest.param({"HostConfig": None, "NetworkingConfig": None}, id="null"),
        pytest.param(host(Privileged=False, CapAdd=None, Binds=[], OomScoreAdj=500), id="nothing asked for"),
        pytest.param(host(CapDrop=["ALL"], SecurityOpt=["no-new-privileges"]), id="more confined"),
        pytest.param(host(SecurityOpt=["no-new-privileges:false", "seccomp=builtin"]), id="the usual"),
        pytest.param(host(Binds=["data:/data", "models:/m:ro", "/anonymous"]), id="volumes by name"),
        pytest.param(host(Mounts=[{"Type": "volume", "Source": "d"}, {"Type": "tmpfs"}]), id="mounts"),
        pytest.param(volume("local"), id="the usual volume driver"),
        pytest.param(host(NetworkMode="bridge", IpcMode="shareable", CgroupnsMode="private"), id="own modes"),
        pytest.param(
            {"NetworkingConfig": {"EndpointsConfig": {"azure-iot-edge": {}}}}, id="IoT Edge's network"
        ),
        pytest.param(
            host(Ulimits=[{"Name": "nofile", "Soft": 9, "Hard": 9}], Memory=1, NanoCpus=1), id="limits"
        ),
        pytest.param(host(LogConfig={"Type": "json-file", "Config": {"max-size": "10m"}}), id="local logs"),
        pytest.param(host(Runtime="runc", PortBindings={"80/tcp": [{"HostPort": "80"}]}), id="ports"),
        pytest.param({"Cmd": ["x"], "User": "0", "Unknown": {"a": 1}, "HostConfig": {"New": 1}}, id="others"),
    ],
)
def test_what_stays_in_the_container_is_nobodys_business(options):
    assert refusals(options) == ()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param({"HostConfig": []}, "HostConfig [] is refused: it is not an object", id="HostConfig"),
        pytest.param(host(Privileged="true"), "Privileged", id="a text for a bool"),
        pytest.param(host(Privileged=1), "Privileged", id="a number for a bool"),
        pytest.param(host(CapAdd="ALL"), "CapAdd", id="a text for a list"),
        pytest.param(host(CapAdd=[7]), "CapAdd", id="a number in a list"),
        pytest.param(host(Binds={"a": "b"}), "Binds", id="an object for a list"),
        pytest.param(host(Binds=["../etc:/x"]), "an absolute path", id="a relative path"),
        pytest.param(host(Binds=["~/.ssh:/x"]), "an absolute path", id="a home"),
        pytest.param(host(Binds=[":/x"]), "an absolute path", id="no source"),
        pytest.param(bind("tmp"), "an absolute path", id="a relative mount"),
        pytest.param(host(Mounts=["/etc"]), "Mounts", id="a text for a mount"),
        pytest.param(host(Mounts=[{"Type": "BIND", "Source": "/etc"}]), "Type", id="an unknown mount"),
        pytest.param(
            host(Mounts=[{"Type": "volume", "Source": "/etc"}]), "name of a volume", id="a path as name"
        ),
        pytest.param(host(Devices=["/dev/sda"]), "Devices", id="a text for a device"),
        pytest.param(host(DeviceRequests=[{"Capabilities": ["gpu"]}]), "Capabilities", id="no list of lists"),
        pytest.param(host(PidMode=True), "PidMode", id="a bool for a mode"),
        pytest.param(host(Sysctls=["a"]), "Sysctls", id="a list of settings"),
        pytest.param(host(OomScoreAdj="-1"), "OomScoreAdj", id="a text for a number"),
        pytest.param({"hostconfig": {"Privileged": True}}, "write HostConfig", id="another case"),
        pytest.param(host(pRIVILEGED=True), "write Privileged", id="another case of a member"),
        pytest.param({"HostConfig": {"Bind\u017f": ["/:/x"]}}, "write Binds", id="a letter folded to s"),
        pytest.param(
            {"HostConfig": {"NetworkMode\u0000": "host", "networ\u212aMode": "host"}}, "write", id="K"
        ),
        pytest.param(host(Mounts=[{"type": "bind", "source": "/"}]), "write Type", id="a mount's members"),
        pytest.param({"labels": {"edgeferry.module": "x"}}, "write Labels", id="labels that hide"),
        pytest.param({"image": "other"}, "write Image", id="another image"),
    ],
)
def test_what_the_engine_might_read_otherwise_is_refused_whatever_is_allowed(options, text):
    assert text in " ".join(refusals(options, ALL))


@pytest.mark.parametrize("odd", ["\x7f", "\x9b", "\u202e", "\U000e0001"])
def test_what_a_terminal_would_obey_is_shown_as_a_number_and_the_line_to_write_means_it(odd):
    (text,) = refusals(host(CapAdd=[f"A{odd}B"]))
    assert text.isprintable()
    line = text.partition("allow it by policy.")[2]
    assert list(tomllib.loads(line).values()) == [[f"A{odd}B"]]


def test_a_text_stays_short_whatever_is_asked_for():
    (text,) = refusals(host(SecurityOpt=["seccomp=" + "x" * 5000]))
    assert len(text) < 250


def test_every_line_of_the_references_template_that_policy_forbids_is_named():
    content = fill_template()["modulesContent"]["$edgeAgent"]
    specs = {
        name: parse_module(name, said)
        for path, said in content.items()
        if (name := path.removeprefix("properties.desired.modules.")) != path
    }
    found = {name: find_refusals(spec, STRICT) for name, spec in specs.items()}
    taxi, tester = found.values()
    assert [text.partition(" is refused")[0] for text in taxi] == ['HostConfig.Mounts "/tmp"']
    assert sorted(text.partition(" is refused")[0] for text in tester) == [
        'HostConfig.NetworkMode "host"',
        'NetworkingConfig.EndpointsConfig "host"',
    ]
    allowing = Policy(host_network=True, mounts=("/tmp",))
    assert [find_refusals(spec, allowing) for spec in specs.values()] == [(), ()]


MEMBERS = (
    *("HostConfig", "NetworkingConfig", "EndpointsConfig", "Privileged", "CapAdd", "Devices", "PathOnHost"),
    *("DeviceRequests", "Capabilities", "Binds", "Mounts", "Type", "Source", "VolumeOptions", "DriverConfig"),
    *(
        "Options",
        "o",
        "device",
        "NetworkMode",
        "PidMode",
        "SecurityOpt",
        "Sysctls",
        "LogConfig",
        "MaskedPaths",
    ),
    *("VolumesFrom", "Runtime", "OomScoreAdj", "CgroupParent", "DeviceIDs", "Driver", "binds"),
)
VALUES = st.sampled_from(
    [
        "host",
        "container:x",
        "/",
        "/run:/x",
        "/etc:/etc:ro",
        "bind",
        "volume",
        "../x:/y",
        "ALL",
        "gpu",
        "",
        "cdi",
    ]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | VALUES | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=25,
)
OPTIONS = st.dictionaries(st.sampled_from(("HostConfig", "NetworkingConfig", "x")), ANY, max_size=3)
POLICIES = st.builds(
    Policy,
    *(st.booleans() for _ in range(4)),
    *(
        st.lists(st.sampled_from(values), max_size=2).map(tuple)
        for values in (
            ("/", "/etc", "/run"),
            ("/dev", "gpu", "/"),
            ("ALL", "cap_x"),
            ("o", "net.x"),
            ("host", "gpu"),
            ("host", "x"),
        )
    ),
)


@given(OPTIONS, POLICIES)
@settings(max_examples=150)
def test_no_create_options_break_the_judgement(options, policy):
    for text in refusals(options, policy):
        assert "is refused: " in text
        assert text.isprintable()


@given(OPTIONS, POLICIES, POLICIES)
@settings(max_examples=150)
def test_who_allows_more_refuses_no_more(options, one, other):
    both = Policy(
        **{
            name: value or vars(other)[name] if isinstance(value, bool) else value + vars(other)[name]
            for name, value in vars(one).items()
        }
    )
    assert set(refusals(options, both)) <= set(refusals(options, one)) & set(refusals(options, other))


@given(OPTIONS)
@settings(max_examples=150)
def test_who_allows_everything_refuses_only_what_cannot_be_read(options):
    for text in refusals(options, ALL):
        assert "agent.toml" not in text
        assert "it is not" in text or "write" in text
