"""The other example models: trees, asked beside their splits, and a classifier of images."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from edgeferry.adapters.project import ProjectFolder
from edgeferry.domain.device_class import SMALL
from edgeferry.domain.image import Image
from edgeferry.domain.model import ImageInput
from edgeferry.domain.verification import Verification
from edgeferry.errors import DefinitionError
from edgeferry.ports import Services
from edgeferry.workflows.package import package
from edgeferry.workflows.train import train
from edgeferry.workflows.verify import POSTED_IMAGES, verify
from tests.graphs import rounded_graph

from .conftest import ROOT, Packaged, model_files
from .test_verify import started_by

pytestmark = pytest.mark.engine

ROUNDING = """
import sys
from edgeferry.device.modules import runtime_onnx, server
kept = runtime_onnx.numpy.array
class Rounding:
    float64 = runtime_onnx.numpy.float64
    zeros = staticmethod(runtime_onnx.numpy.zeros)
    @staticmethod
    def array(rows, dtype):
        return kept(rows, dtype="float32").astype(dtype)
runtime_onnx.numpy = Rounding
sys.exit(server.main([]))
"""

MIRRORING = """
import sys
from edgeferry.device.modules import images, server
kept = images.decode
images.decode = lambda body, wanted: [kept(body, wanted)[0][::-1]]
sys.exit(server.main([]))
"""


def pack(services: Services, name: str) -> Packaged:
    definition = services.project.load_model(name)
    version = train(services, definition, {}).version
    return Packaged(services, definition, version, package(services, definition, version))


def check(packaged: Packaged, image: Image) -> Verification:
    packed = replace(packaged.packed, image=image)
    return verify(packaged.services, packaged.definition, packaged.version, packed, SMALL)


def kinds(verification: Verification) -> set[str]:
    """How the rows were asked whose answers are off."""
    return {problem.rpartition("(")[2].rstrip(")") for problem in verification.problems if "(" in problem}


@pytest.fixture(scope="module")
def london(packaged: Packaged) -> Packaged:
    return pack(packaged.services, "london_taxi")


@pytest.fixture(scope="module")
def digits(packaged: Packaged, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    project = tmp_path_factory.mktemp("digits") / "project"
    shutil.copytree(ROOT / "examples" / "digits", project, ignore=shutil.ignore_patterns(".edgeferry"))
    return pack(replace(packaged.services, project=ProjectFolder(project)), "digits")


def test_trees_are_asked_beside_their_splits(london: Packaged) -> None:
    found = check(london, london.image)
    assert found.passed, found.problems
    assert 300 <= found.edge_rows <= 500
    assert found.asked == f"{found.rows} rows, {found.edge_rows} beside splits"
    assert found.worst_relative < 1e-12


def test_a_graph_in_floats_is_right_on_all_held_out_rows_and_refused_beside_splits(london: Packaged) -> None:
    graph = rounded_graph(model_files(london.image)["model.onnx"])
    found = check(london, london.with_files(model_onnx=graph))
    assert not found.passed
    assert kinds(found) == {"beside a split"}
    assert found.worst_absolute > 0.01
    blind = replace(london.packed.edges, rows=(), predictions=())
    image = london.with_files(model_onnx=graph)
    packed = replace(london.packed, image=image, edges=blind)
    assert verify(london.services, london.definition, london.version, packed, SMALL).passed


def test_a_server_that_rounds_to_floats_is_refused_beside_splits(london: Packaged) -> None:
    found = check(london, started_by(london.image, ["/usr/bin/python3", "-c", ROUNDING]))
    assert not found.passed
    assert found.differing > found.edge_rows / 4


def test_both_taxi_models_share_all_layers_but_their_own(packaged: Packaged, london: Packaged) -> None:
    assert london.image.layers[:-1] == packaged.image.layers[:-1]


def test_a_classifier_is_right_on_every_row_and_reads_images(digits: Packaged) -> None:
    found = check(digits, digits.image)
    assert found.passed, found.problems
    assert (found.rows, found.edge_rows, found.images) == (540, 0, POSTED_IMAGES)
    assert found.worst_absolute == 0


def test_an_image_read_in_another_order_is_refused(digits: Packaged) -> None:
    found = check(digits, started_by(digits.image, ["/usr/bin/python3", "-c", MIRRORING]))
    assert not found.passed
    assert kinds(found) == {"as an image"}


def test_an_image_without_what_reads_pictures_is_refused(digits: Packaged) -> None:
    """Pillow's layer belongs to models that take images: this one was packaged as if it took none."""
    images, files = digits.services.images, model_files(digits.image)
    definition = replace(digits.definition, image=None)
    found = check(digits, images.assemble_model(definition, digits.version, files))
    assert not found.passed
    assert "No module named 'PIL'" in found.problems[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"image": ImageInput(4, 4, 16)}, "4×4 pixels is no row of 64 columns", id="size"),
        pytest.param({"runtime": "score"}, "reads request bodies itself", id="a score.py"),
    ],
)
def test_an_image_that_does_not_fit_the_model_is_refused(
    digits: Packaged, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says):
        package(digits.services, replace(digits.definition, **changes), digits.version)  # type: ignore[arg-type]
