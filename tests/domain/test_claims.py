"""What modules claim of a device, and where two claim the same."""

from __future__ import annotations

from typing import Any

import pytest

from edgeferry.domain.claims import find_claims, find_clashes
from edgeferry.domain.manifest import ModuleSpec


def port(number: object, address: str = "", inner: str = "80/tcp") -> dict[str, Any]:
    return {"PortBindings": {inner: [{"HostPort": number, "HostIp": address}]}}


def mount(source: str, *, kind: str = "bind", reads: bool = False) -> dict[str, Any]:
    return {"Mounts": [{"Type": kind, "Source": source, "Target": "/x", "ReadOnly": reads}]}


def clashes(*hosts: Any, status: str = "running") -> list[str]:
    specs = [
        ModuleSpec(f"m{number}", "i", {"HostConfig": host}, status=status)
        for number, host in enumerate(hosts)
    ]
    found = find_clashes({spec.name: find_claims(spec) for spec in specs})
    return sorted(f"{clash.kind} {clash.what}" for clash in found)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        pytest.param(port("31311"), port("31311"), ["host-port 31311/tcp"], id="one port"),
        pytest.param(port("5-7"), port("7"), ["host-port 7/tcp"], id="a port in a range"),
        pytest.param(port("53"), port("53", inner="80/udp"), [], id="other protocols are other ports"),
        pytest.param(port(""), port(""), [], id="ports of the engine's choice"),
        pytest.param(port("0"), port("0"), [], id="port 0 is the engine's choice"),
        pytest.param(port("80", "10.0.0.1"), port("80", "10.0.0.2"), [], id="other addresses"),
        pytest.param(port("80", "10.0.0.1"), port("80", "0.0.0.0"), ["host-port 80/tcp"], id="every address"),
        pytest.param(mount("/data"), mount("/data/"), ["mount /data"], id="one folder"),
        pytest.param(mount("/data"), mount("/data", reads=True), ["mount /data"], id="one of them writes"),
        pytest.param(mount("/data", reads=True), {"Binds": ["/data:/y:ro"]}, [], id="both only read"),
        pytest.param({"Binds": ["v:/a"]}, mount("v", kind="volume"), ["mount v"], id="one volume"),
        pytest.param(mount("x", kind="tmpfs"), mount("x", kind="tmpfs"), [], id="memory is nobody else's"),
        pytest.param(
            {"Devices": [{"PathOnHost": "/dev/video0"}]},
            {"Devices": [{"PathOnHost": "/dev/video0"}]},
            ["device-path /dev/video0"],
            id="one camera",
        ),
        pytest.param(
            {"Devices": "all", "Binds": {}, "Mounts": [7]}, port(None), [], id="nonsense claims nothing"
        ),
    ],
)
def test_two_modules_clash(first: Any, second: Any, found: list[str]) -> None:
    assert clashes(first, second) == found
    assert clashes(second, first) == found
    assert clashes(first) == []
    assert clashes(first, second, status="stopped") == []
