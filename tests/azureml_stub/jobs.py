"""The stub's compute: runs a submitted pipeline job's steps as processes, on the code that was uploaded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

BINDING = re.compile(r"\$\{\{\s*([^{}]*?)\s*\}\}")
GROUP = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)


class Child:
    """A step's run."""

    def __init__(self, job: str, name: str, node: dict[str, Any]) -> None:
        self.id = f"{job}-{name}"
        self.name = name
        self.node = node
        self.status = "NotStarted"
        self.started = self.ended = ""
        self.error = ""
        self.log = b""
        self.properties: dict[str, str] = {}
        self.outputs: dict[str, Path] = {}


class Job:
    """A pipeline job: its document as it was put, and where it stands."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self.name = name
        self.document = document
        self.status = "NotStarted"
        self.error = ""
        nodes = document["properties"]["jobs"]
        self.children = {key: Child(name, key, node) for key, node in nodes.items()}
        self.cancel = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None


def run_job(
    job: Job,
    components: Mapping[str, dict[str, Any]],
    blobs: dict[str, bytes],
    work: Path,
    variables: Mapping[str, str],
    hold: threading.Event,
) -> None:
    """Runs the steps in order; ends with the job's status Completed, Failed or Canceled."""
    job.status = "Preparing"
    graph = {
        name: {
            m.split(".")[2]
            for each in (child.node.get("inputs") or {}).values()
            for m in BINDING.findall(str(each.get("value") or each.get("uri") or ""))
            if m.startswith("parent.jobs.")
        }
        for name, child in job.children.items()
    }
    job.status = "Running"
    for name in TopologicalSorter(graph).static_order():
        while not hold.is_set() and not job.cancel.is_set():
            time.sleep(0.01)
        if job.cancel.is_set():
            break
        child = job.children[name]
        child.status, child.started = "Running", _now()
        code = _run_step(job, child, components, blobs, work / job.name, variables)
        child.ended = _now()
        if job.cancel.is_set():
            child.status = "Canceled"
            break
        if code:
            child.status = "Failed"
            child.error = job.error = (
                f"Execution failed. User process '{name}' exited with status code {code}."
            )
            job.status = "Failed"
            return
        child.status = "Completed"
    if job.cancel.is_set():
        for child in job.children.values():
            if child.status not in ("Completed", "Failed"):
                child.status = "Canceled"
        job.status = "Canceled"
        return
    job.status = "Finalizing"
    for child in job.children.values():
        for own, spec in (child.node.get("outputs") or {}).items():
            target = BINDING.findall(str(spec.get("value") or spec.get("uri") or ""))
            if target:
                _keep(blobs, f"azureml/{job.name}/{target[0].rsplit('.', 1)[1]}", child.outputs[own])
    job.status = "Completed"


def _run_step(
    job: Job,
    child: Child,
    components: Mapping[str, dict[str, Any]],
    blobs: Mapping[str, bytes],
    work: Path,
    variables: Mapping[str, str],
) -> int:
    spec = components[child.node["componentId"]]["properties"]["componentSpec"]
    folder = work / child.name
    (folder / "code").mkdir(parents=True)
    if spec.get("code"):
        _fetch(blobs, components[spec["code"].removeprefix("azureml:")]["prefix"], folder / "code")
    child.outputs = {name: folder / "outputs" / name for name in spec.get("outputs") or {}}
    for name, path in child.outputs.items():
        path.parent.mkdir(exist_ok=True)
        if spec["outputs"][name]["type"] != "uri_file":
            path.mkdir()
    inputs = {
        name: str(declared["default"])
        for name, declared in (spec.get("inputs") or {}).items()
        if declared.get("default") is not None
    }
    for name, bound in (child.node.get("inputs") or {}).items():
        inputs[name] = _value(job, bound, blobs, folder / "inputs" / name)
    command = GROUP.sub(
        lambda group: group[1] if all(x.split(".")[1] in inputs for x in BINDING.findall(group[1])) else "",
        spec["command"],
    )

    def fill(match: re.Match[str]) -> str:
        where, _, name = match[1].partition(".")
        return inputs[name] if where == "inputs" else str(child.outputs[name])

    log = folder / "log.txt"
    with log.open("wb") as file:
        job.process = subprocess.Popen(
            ["/bin/bash", "-c", BINDING.sub(fill, command)],
            cwd=folder / "code",
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
                "HOME": str(work),
                **variables,
                **(spec.get("environment_variables") or {}),
            },
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while job.process.poll() is None:
            child.log = log.read_bytes()
            if job.cancel.is_set():
                os.killpg(job.process.pid, signal.SIGKILL)
            time.sleep(0.02)
    child.log = log.read_bytes()
    return job.process.returncode


def _value(job: Job, bound: dict[str, Any], blobs: Mapping[str, bytes], folder: Path) -> str:
    text = str(bound.get("value") if bound.get("value") is not None else bound.get("uri"))
    match = BINDING.fullmatch(text)
    if match is None:
        return text
    parts = match[1].split(".")
    if parts[1] == "jobs":
        return str(job.children[parts[2]].outputs[parts[4]])
    parent = job.document["properties"]["inputs"][parts[2]]
    if "uri" not in parent:
        return str(parent["value"])
    folder.mkdir(parents=True, exist_ok=True)
    path = str(parent["uri"]).split("/paths/")[1]
    _fetch(blobs, path.rstrip("/"), folder)
    return str(folder if path.endswith("/") else folder / path.rsplit("/", 1)[1])


def _fetch(blobs: Mapping[str, bytes], prefix: str, folder: Path) -> None:
    for name, content in blobs.items():
        if name == prefix or name.startswith(prefix.rstrip("/") + "/"):
            path = folder / (name.removeprefix(prefix).strip("/") or prefix.rsplit("/", 1)[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _keep(blobs: dict[str, bytes], prefix: str, path: Path) -> None:
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        relative = "" if file == path else "/" + file.relative_to(path).as_posix()
        blobs[prefix + relative] = file.read_bytes()


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
