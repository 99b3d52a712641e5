"""The model server is what its description says: asked at random, within it and beyond."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from edgeferry.domain.model import Column
from edgeferry.wire.serving import ModelCard, render_model_card
from tests.device.conftest import answers, case_set, end, start_server, wait_until, write_model

COLUMNS = (Column("distance", "double", 0.0, 30.0), Column("hour", "long", 0.0, 23.0))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    write_model(folder, slope=0.5)
    card = ModelCard("taxi", "3", COLUMNS, case_set().tolerance, "fareAmount")
    (folder / "model.json").write_bytes(render_model_card(card))
    started = start_server(folder)
    wait_until(lambda: answers(started.url + "/health"))
    yield started
    end(started.process)


def test_the_description_is_of_this_model(server):
    document = httpx.get(server.url + "/openapi.json", trust_env=False, timeout=60).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {"/score", "/health"}
    assert "distance" in str(document)


def test_the_server_does_as_described_whatever_it_is_asked(server, tmp_path):
    """Answers as described, refusals of what the schema forbids, no answer of 500 or more."""
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "5"]
    quiet = ["--generation-database", "none", "--warnings", "off", "--no-color"]
    done = subprocess.run(
        [program, "run", server.url + "/openapi.json", *options, *quiet],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = httpx.get(server.url + "/metrics", trust_env=False, timeout=60).text
    assert 'edgeferry_requests_total{status="400"}' in metrics
    assert 'edgeferry_requests_total{status="500"}' not in metrics
