"""The programs that drive a hub with Microsoft's clients, and what each of their checks said."""

from __future__ import annotations

import json
import os
import queue
import re
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.hubs import RunningHub, free_address

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_NAMED = "EDGEFERRY_TEST_SDK_PYTHON"
PYTHON = Path(os.environ.get(_NAMED, ROOT / ".venv-azure" / "bin" / "python"))
"""An interpreter that has `requirements.txt`."""
NODE_MODULES = ROOT / ".node-azure" / "node_modules"
"""The packages of `node/package-lock.json`."""
_AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
SILENCE_S = 150
"""The longest that a check may say nothing; the Azure hub's throttling is waited for."""

_PYTHON_CHECK = re.compile(r"^@check(?:_here)?\ndef (\w+)", re.MULTILINE)
_NODE_CHECK = re.compile(r"^check(?:Here)?\(async function (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """One process: a client library's side, and the files that hold its checks."""

    name: str
    language: str
    files: tuple[str, ...]
    https_port: int

    def checks(self) -> Sequence[str]:
        """Names of its checks, as its source declares them."""
        pattern, suffix = (_PYTHON_CHECK, "py") if self.language == "python" else (_NODE_CHECK, "js")
        texts = [(HERE / self.language / f"{file}.{suffix}").read_text() for file in self.files]
        return [name for text in texts for name in pattern.findall(text)]

    def command(self) -> Sequence[str]:
        """How it is started."""
        if self.language == "python":
            return [str(PYTHON), str(HERE / "python" / "run.py"), *self.files]
        return ["node", str(HERE / "node" / "run.js"), *self.files]

    def lacks(self) -> str:
        """What it needs and this machine has not; empty when nothing."""
        if self.language == "python":
            return "" if PYTHON.exists() else f"no {PYTHON}: ./run setup makes it, or name one by {_NAMED}"
        if not NODE_MODULES.exists():
            return f"no {NODE_MODULES}: ./run setup makes it where there is Node 18 or newer with npm"
        try:
            socket.create_server((free_address(), self.https_port)).close()
        except PermissionError:
            return f"port {self.https_port} is not for this user, and Node's service client knows no other"
        return ""


PROGRAMS = (
    Program(
        "azure-iot-hub",
        "python",
        ("registry", "bulk", "modules", "twins", "queries", "configurations", "methods"),
        8443,
    ),
    Program(
        "azure-iot-device", "python", ("device", "telemetry", "credentials", "edge_module", "restart"), 8443
    ),
    # Node's service client knows no port but 443.
    Program(
        "node-azure-iothub",
        "node",
        ("registry", "bulk", "modules", "twins", "queries", "configurations", "methods"),
        443,
    ),
    Program(
        "node-azure-iot-device",
        "node",
        ("device", "telemetry", "credentials", "edge_module", "restart"),
        443,
    ),
)


def environment(ca_file: str | None) -> dict[str, str]:
    """A program's environment: only what leads it nowhere else, and authorities where none is ours."""
    kept = ("PATH", "HOME") if ca_file else ("PATH", "HOME", *_AUTHORITIES)
    said = {name: os.environ[name] for name in kept if name in os.environ}
    said |= {"NODE_PATH": str(NODE_MODULES), "NODE_NO_WARNINGS": "1"}
    if ca_file is not None:
        said |= {"REQUESTS_CA_BUNDLE": ca_file, "NODE_EXTRA_CA_CERTS": ca_file}
    return said


@dataclass
class Run:
    """A program at work on the checks it was asked for."""

    program: Program
    place: dict[str, Any]
    log: Path
    hub: RunningHub | None = None
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: queue.Queue[dict[str, Any] | None] = field(default_factory=queue.Queue)

    @contextmanager
    def started(self) -> Iterator[Run]:
        """It runs until the end of the block."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self.program.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(self.place.get("ca_file")),
            )
        reader = threading.Thread(target=self._read, args=(process,))
        reader.start()
        try:
            self.process = process
            self._tell(json.dumps(self.place))
            yield self
            self._finish()
        finally:
            process.kill()
            process.wait()
            reader.join()
            for stream in (process.stdin, process.stdout):
                stream.close()

    def result(self, check: str) -> dict[str, Any]:
        """What the program says of the check, once it has; `failed` when it ends without."""
        while check not in self.said:
            try:
                line = self.lines.get(timeout=SILENCE_S)
            except queue.Empty:
                self.process.kill()
                return {"failed": f"nothing was said for {SILENCE_S} s\n{self._log()}"}
            if line is None:
                self.lines.put(None)
                return {"failed": f"the program ended without a word on it\n{self._log()}"}
            if "check" in line:
                self.said[line["check"]] = line
            else:
                self._tell(self._done(**line))
        return self.said[check]

    def _done(self, ask: str, **facts: str) -> str:
        """What a program asked for is done, or cannot be; the line that tells it so."""
        try:
            assert self.hub is not None, f"{ask} is asked for at a hub that is not ours"
            if ask == "messages":
                return json.dumps(self.hub.ask("GET", "/messages/events", **facts)["messages"])
            (self.hub.kill if ask == "kill" else self.hub.start)()
        except (AssertionError, httpx.HTTPError, OSError) as error:
            return json.dumps({"error": str(error)})
        return "{}"

    def _finish(self) -> None:
        """The program has cleaned up and ended by itself; whoever failed before has said so."""
        self.process.stdin.close()
        self.process.wait(SILENCE_S)

    def _tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _read(self, process: subprocess.Popen) -> None:
        for line in process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def _log(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def prefix() -> str:
    """What the ids of one run start with, so that it meets nothing of others."""
    return f"edgeferry-test-{secrets.token_hex(4)}"
