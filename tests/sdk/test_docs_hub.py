"""`docs/hub.md` as printed: its files and commands, in a fresh folder, with Microsoft's SDKs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.sandbox.process import Process
from tests.needs import lack
from tests.sdk.programs import NODE_MODULES, PROGRAMS, PYTHON

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hub.md").read_text("utf-8")
pytestmark = pytest.mark.sdk


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def free(*ports: int) -> bool:
    try:
        for port in ports:
            socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A fresh folder; the page's hub listens on 127.0.0.1, so one such test runs at a time."""
    if not free(8443, 8883):
        pytest.skip("a hub, or another program, listens on 127.0.0.1 already")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "edgeferry").symlink_to(Path(sys.executable).parent / "edgeferry")
    yield tmp_path
    Process(tmp_path / "state" / "edgeferry" / "hub", "hub").stop()


def run(folder: Path, script: str, **more: str) -> subprocess.CompletedProcess:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    place = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(
        ["timeout", "180", "bash", "-euc", script],
        cwd=folder,
        env={**kept, **place, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_five_commands_from_install_to_a_desired_change(folder: Path) -> None:
    if missing := PROGRAMS[0].lacks():
        lack(missing)
    text = section("From install to a change that a device sees")
    (folder / "sdk" / "bin").mkdir(parents=True)
    (folder / "sdk" / "bin" / "python").write_text(f'#!/bin/sh\nexec {PYTHON} "$@"\n')
    (folder / "sdk" / "bin" / "python").chmod(0o755)
    for name, code in zip(("device.py", "service.py"), blocks(text, "python"), strict=True):
        (folder / name).write_text(code)
    _, commands = blocks(text, "sh")
    commands = commands.replace('"$DEVICE" &', '"$DEVICE" >said &')
    assert ">said" in commands
    change = "sdk/bin/python service.py change"
    waiting = "until grep -qs connected said; do sleep 0.05; done"
    script = commands.replace(change, f"{waiting}\n{change}")
    assert waiting in script
    done = run(folder, f"{script}\nwait\ncat said\nedgeferry hub stop")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert "connected" in said
    assert "desired: {'interval_s': 5, '$version': 2}" in said
    assert "`desired: {'interval_s': 5, '$version': 2}`" in text


def test_every_install_is_from_a_clone() -> None:
    """The package is on no index, so that its bare name installs nothing, or somebody else's."""
    installs = re.findall(r"pip install (?:--[a-z-]+ )*'([^']*)'", PAGE)
    assert len(installs) == 4
    assert {one.lstrip("./") for one in installs} == {"edgeferry[hub]"}
    assert all(one.startswith(("./", "/")) for one in installs)


@pytest.mark.parametrize("port_443", ["off", "auto"])
def test_nodes_service_sdk_reaches_the_hub(folder: Path, port_443: str) -> None:
    if not NODE_MODULES.exists():
        lack(f"no {NODE_MODULES}: ./run setup makes it where there is Node 18 or newer with npm")
    (folder / "node_modules").symlink_to(NODE_MODULES)
    [commands] = blocks(section("Node"), "sh")
    done = run(folder, f"edgeferry hub start --port-443 {port_443}\n{commands}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"
