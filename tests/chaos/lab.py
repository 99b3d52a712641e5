"""Devices with a machine of their own: a network namespace on a bridge, and a container engine in it.

The engine has its own process namespace too, so that one SIGKILL is a power cut. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from edgeferry.engine import Engine
from edgeferry.errors import EngineError

TOOLS = ("ip", "iptables", "nsenter", "unshare", "docker-init", "dockerd", "mount")
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/usr/local/sbin"
_START_S = 60


def missing() -> str:
    """What this machine lacks for devices of their own; "" when nothing."""
    if os.geteuid() != 0:
        return "root"
    return " ".join(tool for tool in TOOLS if not shutil.which(tool, path=PATH))


def do(*command: str, check: bool = True) -> str:
    """What the command prints; fails when it fails."""
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PATH": PATH}, check=False
    )
    assert not check or ran.returncode == 0, f"{' '.join(command)}: {ran.stderr.strip()}"
    return ran.stdout


@dataclass
class Bridge:
    """A network of this machine's own, in which the servers listen on `address`."""

    number: int
    machines: int = 0

    @property
    def name(self) -> str:
        return f"efchaos{self.number}"

    @property
    def address(self) -> str:
        return f"10.{self.number}.0.1"

    def open(self) -> Bridge:
        """The bridge is up."""
        do("ip", "link", "add", self.name, "type", "bridge")
        do("ip", "addr", "add", f"{self.address}/24", "dev", self.name)
        do("ip", "link", "set", self.name, "up")
        return self

    def close(self) -> None:
        """The bridge is gone."""
        do("ip", "link", "del", self.name, check=False)

    def machine(self, folder: Path, data_mib: int = 400) -> Machine:
        """A machine on the bridge, its engine started."""
        self.machines += 1
        return Machine(self, self.machines, folder, data_mib).open()


def open_bridge() -> Bridge:
    """A bridge whose network nobody uses."""
    taken = do("ip", "-o", "addr")
    for number in range(201, 250):
        if f" 10.{number}." not in taken and f"efchaos{number}" not in taken:
            with contextlib.suppress(AssertionError):  # another run was quicker
                return Bridge(number).open()
    raise AssertionError("no network from 10.201.0.0 to 10.249.0.0 is free")


@dataclass
class Machine:
    """One machine; its images are on a tmpfs of `data_mib`."""

    bridge: Bridge
    number: int
    folder: Path
    data_mib: int
    process: subprocess.Popen | None = None
    mounts: list[Path] = field(default_factory=list)

    @property
    def space(self) -> str:
        """Its network namespace."""
        return f"{self.bridge.name}-{self.number}"

    @property
    def cable(self) -> str:
        """Our end of its line."""
        return f"efc{self.bridge.number}v{self.number}"

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def state(self) -> Path:
        """For the agent; a small disk of its own."""
        return self.folder / "state"

    def open(self) -> Machine:
        """The machine has a line, and its engine answers."""
        for name in ("data", "exec", "etc"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.mount(self.data, f"{self.data_mib}m")
        self.mount(self.state, "2m")
        do("ip", "netns", "add", self.space)
        do("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        do("ip", "link", "set", self.cable, "master", self.bridge.name, "up")
        address = f"10.{self.bridge.number}.0.{self.number + 10}/24"
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", address, "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.bridge.address),
        ):
            do("ip", "-n", self.space, *words)
        self.start()
        return self

    def close(self) -> None:
        """Nothing of it is left."""
        self.cut_power()
        do("ip", "netns", "del", self.space, check=False)
        do("ip", "link", "del", self.cable, check=False)
        for place in reversed(self.mounts):
            do("umount", "-l", str(place), check=False)
        self.mounts.clear()

    def start(self) -> None:
        """The engine answers."""
        for stale in (self.folder / "pid", self.folder / "exec/containerd/containerd.pid"):
            stale.unlink(missing_ok=True)
        folder = self.folder
        engine = f"dockerd --data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/pid"
        engine += f" -H {self.url} --bip 172.30.{self.number % 250}.1/24 --cgroup-parent /{self.space}"
        engine += f" --insecure-registry {self.bridge.address}/24 --shutdown-timeout 3"
        script = f"mount --make-rprivate / && mount --bind {folder}/etc /etc/docker"
        script += f" && exec docker-init -s -- {engine}"
        inside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
        with (folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PATH": PATH},
            )
        deadline = time.monotonic() + _START_S
        while not self.answers():
            assert self.process.poll() is None, (folder / "dockerd.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the machine's engine does not answer"
            time.sleep(0.05)

    @property
    def prefix(self) -> list[str]:
        """What a command begins with to run on this machine's network."""
        return ["nsenter", f"--net=/run/netns/{self.space}"]

    def answers(self) -> bool:
        engine = Engine(self.url, 5)
        try:
            return bool(engine.ping())
        except EngineError:
            return False
        finally:
            engine.close()

    def cut_power(self) -> None:
        """Engine and containers have ended at once."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            deadline = time.monotonic() + 10
            while self._pids() and time.monotonic() < deadline:
                time.sleep(0.02)

    def hang(self) -> None:
        """The engine answers nothing; containers go on."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """The engine goes on where it hung."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def cut_line(self) -> None:
        do("ip", "link", "set", self.cable, "down")

    def join_line(self) -> None:
        do("ip", "link", "set", self.cable, "up")

    def lose(self, share: float) -> None:
        """This share of the packets that come is lost."""
        rule = (
            "-i",
            "eth0",
            "-m",
            "statistic",
            "--mode",
            "random",
            "--probability",
            f"{share:.4f}",
            "-j",
            "DROP",
        )
        do(*self.prefix, "iptables", "-w", "-I", "INPUT", *rule)

    def lose_nothing(self) -> None:
        do(*self.prefix, "iptables", "-w", "-F", "INPUT")

    def mount(self, place: Path, size: str) -> None:
        """A small disk is at `place`, empty."""
        place.mkdir(parents=True, exist_ok=True)
        do("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
        self.mounts.append(place)

    def _pids(self) -> list[int]:
        """dockerd and containerd of this machine, by what they were started with."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                name = words.split(b"\0")[0].rsplit(b"/")[-1]
                if name in (b"dockerd", b"containerd") and f"{self.folder}/".encode() in words:
                    found.append(int(entry.name))
        return found
