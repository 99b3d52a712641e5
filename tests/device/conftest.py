"""A small model in doubles, model servers as plain processes, places to listen, an engine and its images."""

import hashlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeferry.domain.model import Column, Tolerance
from edgeferry.domain.smoke import CaseSet, EqualCase, IncreasingCase, RefusedCase
from edgeferry.engine import Engine
from edgeferry.wire.cases import render_cases
from edgeferry.wire.serving import ModelCard, render_model_card
from tests.engines import LOGIN, RunningRegistry, find_engine, make_image
from tests.hubs import RunningHub

COLUMNS = ("distance", "hour")
DIGEST = "sha256:" + "d" * 64
PATIENCE_S = 60.0
"""A busy machine takes long; only a test that fails waits so long."""


def graph_bytes(slope: float = 2.0) -> bytes:
    """An ONNX graph in doubles: slope * distance + hour + 1."""
    weights = numpy_helper.from_array(numpy.array([[slope], [1.0]]), "w")
    bias = numpy_helper.from_array(numpy.array([1.0]), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def case_set(version: str = "3", expected: float = 12.0) -> CaseSet:
    """Cases of that model; `expected` is right at 12."""
    return CaseSet(
        model="taxi",
        version=version,
        tolerance=Tolerance(1e-9, 0.0),
        latency_ms=2000.0,
        cases=(
            EqualCase("held-out-0", ((2.0, 7.0),), (expected,)),
            IncreasingCase("farther-costs-more", ((1.0, 7.0), (2.0, 7.0))),
            RefusedCase("too-few-columns", {"data": [[1]]}),
        ),
    )


def write_model(folder: Path, version: str = "3", slope: float = 2.0, cases: CaseSet | None = None) -> str:
    """The model's files are in `folder`; the sha256 of its cases."""
    folder.mkdir(parents=True, exist_ok=True)
    card = ModelCard(
        model="taxi",
        version=version,
        columns=tuple(Column(name, "double") for name in COLUMNS),
        tolerance=Tolerance(1e-9, 0.0),
        output="fareAmount",
    )
    body = render_cases(cases or case_set(version))
    (folder / "model.onnx").write_bytes(graph_bytes(slope))
    (folder / "model.json").write_bytes(render_model_card(card))
    (folder / "cases.json").write_bytes(body)
    return hashlib.sha256(body).hexdigest()


def free_port(address: str = "127.0.0.1") -> int:
    """A port nobody listens on just now."""
    with socket.create_server((address, 0)) as taken:
        return int(taken.getsockname()[1])


def wait_until(fact, timeout_s: float = PATIENCE_S, what: str = ""):
    """The fact's value as soon as it is true; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := fact()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or fact}"
        time.sleep(0.05)
    return value


@dataclass(frozen=True)
class Server:
    """A model server as a process."""

    url: str
    process: subprocess.Popen
    cases_sha256: str
    captures_url: str = ""


def start_server(
    folder: Path,
    *,
    port: int = 0,
    digest: str = DIGEST,
    cases_sha256: str = "",
    captures: Path | None = None,
    **env: str,
) -> Server:
    """The server of the model in `folder`, started; it may not answer yet. It captures if told where."""
    port, pages = port or free_port(), free_port()
    program = [sys.executable, "-m", "edgeferry.device.modules.server", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*program, "--port", str(port), "--captures-port", str(pages)],
        env={
            **os.environ,
            "EDGEFERRY_MODEL_DIR": str(folder),
            "EDGEFERRY_DIGEST": digest,
            "EDGEFERRY_CAPTURES": str(captures or "off"),
            **env,
        },
        stderr=subprocess.PIPE,
    )
    return Server(f"http://127.0.0.1:{port}", process, cases_sha256, f"http://127.0.0.1:{pages}")


def end(process: subprocess.Popen) -> int:
    """The process has ended after SIGTERM; its exit code."""
    process.terminate()
    try:
        return process.wait(PATIENCE_S)
    finally:
        process.kill()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def answers(url: str) -> bool:
    """Whether something answers there."""
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """A model server that is ready."""
    folder = tmp_path_factory.mktemp("model")
    cases_sha256 = write_model(folder)
    started = start_server(folder, cases_sha256=cases_sha256)
    try:
        wait_until(lambda: answers(started.url + "/health"))
        yield started
    finally:
        end(started.process)


@pytest.fixture(scope="session")
def hub(tmp_path_factory) -> Iterator[RunningHub]:
    """One hub for all tests of a session."""
    hub = RunningHub(tmp_path_factory.mktemp("hub"), "127.0.0.1", free_port(), free_port())
    try:
        yield hub.start()
    finally:
        hub.stop()


@pytest.fixture
def own_hub(tmp_path) -> Iterator[RunningHub]:
    """A hub that the test may stop and start."""
    folder = tmp_path / "hub"
    folder.mkdir()
    hub = RunningHub(folder, "127.0.0.1", free_port(), free_port())
    try:
        yield hub.start()
    finally:
        hub.stop()


@pytest.fixture
def device(hub) -> str:
    """A new device at the hub."""
    name = f"d-{uuid.uuid4().hex[:8]}"
    hub.create_device(name)
    return name


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(find_engine())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def registry(engine, tmp_path_factory) -> Iterator[RunningRegistry]:
    registry = RunningRegistry(tmp_path_factory.mktemp("registry"), login=LOGIN).start()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def tiny_images(engine, registry, pytestconfig) -> Iterator[list[str]]:
    """Two images, by reference, that only the registry has."""
    cache = pytestconfig.cache.mkdir("busybox")
    references = [registry.push(make_image(cache, uuid.uuid4().hex), "edge/tiny") for _ in range(2)]
    yield references
    for reference in references:
        engine.remove_image(reference)
