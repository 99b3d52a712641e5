"""The engine of our own: one for all who start it at once, and it ends only when nobody uses it.

In namespaces of its own, where no other engine runs: there it may be started and ended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.needs import lack

pytestmark = pytest.mark.engine

DAEMONS = os.defpath + ":/usr/sbin:/usr/local/sbin"
ALONE = """
set -e
mount -t tmpfs none /run
mkdir -p /var/lib/edgeferry
mount -t tmpfs none /var/lib/edgeferry
exec "$@"
"""
STORY = """
import subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from edgeferry.engine import Engine
from edgeferry.sandbox.engine import OWN_SOCKET, close_idle_engine, find_running, open_engine, using_engine
from edgeferry.settings import load_settings
from edgeferry.wiring import open_machine
from edgeferry.errors import EngineError

said = []
with ThreadPoolExecutor(4) as openers:
    opened = list(openers.map(lambda _: open_engine("", said.append), range(4)))
assert opened == [f"unix://{OWN_SOCKET}"] * 4
assert said == ["starting a container engine of our own"]

engine = Engine(f"unix://{OWN_SOCKET}")
engine.ensure_network("somebody's", {})
assert not close_idle_engine(), "it ended, although a network is somebody's"
engine.remove_network("somebody's")
with using_engine():
    closing = "from edgeferry.sandbox.engine import close_idle_engine; print(close_idle_engine())"
    told = subprocess.run([sys.executable, "-c", closing], stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout == "False\\n", "it ended, although somebody uses it"
    engine.ping()
assert find_running() == f"unix://{OWN_SOCKET}"
machine = open_machine(load_settings(None, {}, "", need_project=False))
assert machine.ask_engine().version, "it answers, although nobody has named it"
engine.close()
assert close_idle_engine(), "it did not end, although nobody uses it"
assert not OWN_SOCKET.exists()
assert not close_idle_engine()
assert not find_running()
try:
    machine.ask_engine()
except EngineError as error:
    assert error.fix.startswith("edgeferry up"), error.fix
else:
    raise AssertionError("something answered")
"""


def test_one_engine_for_all_and_it_ends_when_nobody_uses_it() -> None:
    if os.geteuid() != 0 or not shutil.which("dockerd", path=DAEMONS):
        lack("an engine is started by root only, where dockerd is installed")
    inside = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], check=False).returncode:
        lack("this machine gives no namespaces")
    told = subprocess.run(
        [*inside, "sh", "-c", ALONE, "alone", sys.executable, "-c", STORY],
        env={name: value for name, value in os.environ.items() if name != "DOCKER_HOST"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
