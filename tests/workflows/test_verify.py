"""Verifying the trained example on a real engine, and images that must not pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeferry.domain.device_class import SMALL
from edgeferry.domain.image import Image
from edgeferry.domain.verification import Verification
from edgeferry.ports import Services
from edgeferry.wire.oci import digest_of, render_manifest
from edgeferry.workflows.package import load_held_out
from edgeferry.workflows.verify import SINGLE_ROWS, verify
from tests.graphs import linear_graph

from .conftest import Packaged, model_files

pytestmark = pytest.mark.engine

GRAPH = "io.edgeferry.model-sha256"

LIAR = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Liar(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def answer(self, body):
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        health = {"ready": True, "model": "nyc_taxi", "version": "1", "model_sha256": "0"}
        health["digest"] = os.environ["EDGEFERRY_DIGEST"]
        cases = open("/opt/edgeferry/model/cases.json", "rb").read()
        self.answer(cases if self.path == "/cases" else json.dumps(health).encode())
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer(json.dumps([9.5] * len(said["data"])).encode())
HTTPServer(("0.0.0.0", 8080), Liar).serve_forever()
"""


def started_by(image: Image, command: list[str]) -> Image:
    """The image with another entry point."""
    config = json.loads(image.config)
    config["config"]["Entrypoint"] = command
    body = json.dumps(config).encode()
    manifest = render_manifest(body, image.layers)
    return replace(
        image, config=body, config_digest=digest_of(body), manifest=manifest, digest=digest_of(manifest)
    )


def check(packaged: Packaged, image: Image, services: Services | None = None) -> Verification:
    packed = replace(packaged.packed, image=image)
    return verify(services or packaged.services, packaged.definition, packaged.version, packed, SMALL)


@pytest.fixture(scope="module")
def verification(packaged: Packaged) -> Verification:
    return check(packaged, packaged.image)


def test_the_trained_model_passes_with_every_row_asked(
    packaged: Packaged, verification: Verification
) -> None:
    assert verification.passed, verification.problems
    assert verification.problems == ()
    path = packaged.services.tracking.download(packaged.version, packaged.definition.held_out)
    assert verification.rows == len(path.read_text().splitlines()) - 1
    assert verification.single_rows == min(verification.rows, SINGLE_ROWS)
    assert verification.worst_relative < 1e-9


def test_it_says_what_ran_where_and_how_fast(packaged: Packaged, verification: Verification) -> None:
    assert (verification.digest, verification.config_digest) == (
        packaged.image.digest,
        packaged.image.config_digest,
    )
    assert verification.image_id in (packaged.image.digest, packaged.image.config_digest)
    assert (verification.device_class, verification.memory_bytes) == ("small", 512 * 1024 * 1024)
    assert 0 < verification.ready_s < 60
    assert 0 < verification.latency_ms < 1000


def test_an_image_that_answers_wrongly_is_refused_with_row_and_difference(packaged: Packaged) -> None:
    weights = [0.1] * len(packaged.version.columns)
    found = check(packaged, packaged.with_files(model_onnx=linear_graph(weights, 2.0)))
    assert not found.passed
    assert found.problems[0].startswith("row 1: expected ")
    assert "difference" in found.problems[0]
    assert "in a batch" in found.problems[0]
    assert found.problems[-1].endswith("more")
    assert found.worst_absolute > 1


def test_a_graph_that_rounds_to_floats_is_refused(packaged: Packaged) -> None:
    """The error is in the sixth digit: only a comparison of every value within the tolerance sees it."""
    graph = onnx.load_model_from_string(model_files(packaged.image)["model.onnx"])
    graph.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT))
    graph.graph.node.insert(1, helper.make_node("Cast", ["x32"], ["x64"], to=TensorProto.DOUBLE))
    for node in graph.graph.node[2:]:
        node.input[:] = ["x64" if name == "x" else name for name in node.input]
    found = check(packaged, packaged.with_files(model_onnx=graph.SerializeToString()))
    assert not found.passed
    assert 1e-9 < found.worst_relative < 1e-3


def test_a_server_that_says_yes_to_everything_is_refused(packaged: Packaged) -> None:
    found = check(packaged, started_by(packaged.image, ["/usr/bin/python3", "-c", LIAR]))
    problems = "\n".join(found.problems)
    assert not found.passed
    assert "the server's graph's sha256 is 0" in problems
    assert "answered 9.5" in problems


def test_a_row_of_the_wrong_width_must_be_refused(packaged: Packaged) -> None:
    """This server knows every held-out answer by heart, and still does not pass."""
    held_out = load_held_out(packaged.services, packaged.definition, packaged.version)
    known = {json.dumps(row): answer for row, answer in zip(held_out.rows, held_out.predictions, strict=True)}
    program = (
        f"KNOWN = {known!r}\n"
        + LIAR.replace('"model_sha256": "0"', f'"model_sha256": "{packaged.image.labels[GRAPH]}"')
    ).replace('[9.5] * len(said["data"])', '[KNOWN.get(json.dumps(row), 1.0) for row in said["data"]]')
    image = packaged.with_files(model_json=program.encode())
    command = ["/usr/bin/python3", "-c", "exec(open('/opt/edgeferry/model/model.json').read())"]
    found = check(packaged, started_by(image, command))
    assert found.problems == ("a row with one value too many was answered with 200, not refused",)
    assert not found.passed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"model.json": b'"version":"1"', "to": b'"version":"77"'}, "version is 77", id="version"
        ),
        pytest.param(
            {"model.json": b'"model":"nyc_taxi"', "to": b'"model":"other"'}, "model is other", id="model"
        ),
    ],
)
def test_a_server_of_another_model_or_version_is_refused(
    packaged: Packaged, changes: Mapping[str, bytes], words: str
) -> None:
    card = model_files(packaged.image)["model.json"]
    assert changes["model.json"] in card
    found = check(
        packaged, packaged.with_files(model_json=card.replace(changes["model.json"], changes["to"]))
    )
    assert not found.passed
    assert any(words in problem for problem in found.problems)


def test_an_image_whose_label_names_other_cases_is_refused(packaged: Packaged) -> None:
    labels = {**packaged.image.labels, "io.edgeferry.cases-sha256": "0" * 64}
    found = check(packaged, replace(packaged.image, labels=labels))
    assert not found.passed
    assert any("cases' sha256" in problem for problem in found.problems)


def test_an_image_that_ends_at_once_is_refused_with_its_last_words(packaged: Packaged) -> None:
    found = check(packaged, packaged.with_files(model_json=b"{}"))
    assert not found.passed
    (problem,) = found.problems
    assert "ended before it was ready; it is exited (2)" in problem
    assert "no model card" in problem
    assert found.rows == 0


def test_an_image_that_never_gets_ready_is_refused(packaged: Packaged, hasty: Services) -> None:
    sleeping = ["/usr/bin/python3", "-c", "import time; print('dreaming', flush=True); time.sleep(600)"]
    found = check(packaged, started_by(packaged.image, sleeping), hasty)
    assert not found.passed
    (problem,) = found.problems
    assert "was not ready within 60 s; it is running" in problem


def test_an_image_that_dies_under_a_question_is_refused(packaged: Packaged) -> None:
    dying = LIAR.replace("        said = json", "        os._exit(7)\n        said = json")
    found = check(packaged, started_by(packaged.image, ["/usr/bin/python3", "-c", dying]))
    assert not found.passed
    assert any("stopped answering at /score" in problem for problem in found.problems)


def test_every_answer_is_a_plain_number(verification: Verification) -> None:
    assert np.isfinite(
        [verification.worst_relative, verification.worst_absolute, verification.latency_ms]
    ).all()
