"""Images assembled for real: base, dependencies, server, model."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
import uv

from edgeferry.adapters.base import USER, DebianBase
from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.layers import LayerStore
from edgeferry.domain.image import Image, Layer
from edgeferry.domain.model import ImageInput, ModelDefinition, ModelVersion, Tolerance
from edgeferry.errors import OutsideError, UsageError
from edgeferry.wire.oci import digest_of, parse_manifest

DEFINITION = ModelDefinition(
    name="nyc_taxi",
    description="",
    folder="/nowhere",
    pipeline="/nowhere/pipeline.yml",
    registered_model="nyc_taxi",
    model_artifact="model",
    held_out="predictions.csv",
    prediction_column="predicted",
    tolerance=Tolerance(1e-9, 0.0),
    latency_ms=250,
    smoke_cases=10,
    target_condition="",
)
VERSION = ModelVersion("nyc_taxi", "3", "run-1", {}, ())
FILES = {"model.onnx": b"graph", "model.json": b"{}", "cases.json": b"[]"}


class KeptBase(DebianBase):
    """The base of another store, so that a test about the other layers need not make it again."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def layer(self, architecture: str) -> Layer:
        return self._layer


def names(layer: Layer) -> list[str]:
    with tarfile.open(layer.path) as tar:
        return [member.name for member in tar if member.isfile()]


@pytest.fixture(scope="module")
def image(images: LayeredImages) -> Image:
    return images.assemble_model(DEFINITION, VERSION, FILES)


def test_a_model_image_has_four_layers_each_with_its_own_content(image: Image) -> None:
    assert [layer.title for layer in image.layers] == ["base", "dependencies", "server", "model"]
    _, dependencies, server, model = image.layers
    assert "opt/edgeferry/lib/onnxruntime/__init__.py" in names(dependencies)
    assert "opt/edgeferry/server/edgeferry/device/modules/server.py" in names(server)
    assert names(model) == [f"opt/edgeferry/model/{name}" for name in sorted(FILES)]
    assert model.digest == model.diff_id


def test_a_model_image_has_a_folder_for_captures_that_its_user_may_write_to(image: Image) -> None:
    with tarfile.open(image.layers[2].path) as tar:
        folder = tar.getmember("var/lib/edgeferry/captures")
    assert folder.isdir()
    assert (f"{folder.uid}:{folder.gid}", folder.mode) == (USER, 0o755)


def test_dependencies_come_without_tests_programs_and_what_makes_graphs(image: Image) -> None:
    parts = [name.split("/") for name in names(image.layers[1])]
    assert not [part for part in parts if {"tests", "bin", ".lock"} & set(part)]
    assert not [part for part in parts if part[3:5] == ["onnxruntime", "transformers"]]


def test_config_says_how_it_starts_and_who_it_is(image: Image) -> None:
    config = json.loads(image.config)
    assert config["config"]["User"] == "65532:65532"
    assert config["config"]["Entrypoint"] == ["/usr/bin/python3", "-m", "edgeferry.device.modules.server"]
    assert "PYTHONPATH=/opt/edgeferry/server:/opt/edgeferry/lib" in config["config"]["Env"]
    assert "PYTHONDONTWRITEBYTECODE=1" in config["config"]["Env"]
    assert config["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert config["config"]["Labels"] == image.labels
    assert image.labels == {
        "org.opencontainers.image.title": "nyc_taxi",
        "org.opencontainers.image.version": "3",
        "io.edgeferry.kind": "model",
        "io.edgeferry.model": "nyc_taxi",
        "io.edgeferry.version": "3",
        "io.edgeferry.run-id": "run-1",
        "io.edgeferry.runtime": "onnx",
        "io.edgeferry.runtime-reason": "converted to ONNX in doubles",
        "io.edgeferry.model-sha256": digest_of(b"graph").removeprefix("sha256:"),
        "io.edgeferry.cases-sha256": digest_of(b"[]").removeprefix("sha256:"),
        "edgeferry.handover": "/health",
        "edgeferry.health-port": "8080",
    }


def test_digests_join_manifest_config_and_layers(image: Image) -> None:
    assert image.digest == digest_of(image.manifest)
    manifest = parse_manifest(image.manifest)
    assert manifest.config.digest == image.config_digest == digest_of(image.config)
    assert [layer.digest for layer in manifest.layers] == [layer.digest for layer in image.layers]
    diff_ids = json.loads(image.config)["rootfs"]["diff_ids"]
    assert diff_ids == [layer.diff_id for layer in image.layers]
    assert image.tag == f"v3-{image.digest[7:15]}"


def test_the_same_inputs_give_the_same_digest_in_another_folder(image: Image, tmp_path: Path) -> None:
    fresh = LayeredImages(LayerStore(tmp_path), KeptBase(image.layers[0]), uv.find_uv_bin())
    again = fresh.assemble_model(DEFINITION, VERSION, dict(reversed(FILES.items())))
    assert (again.digest, again.config_digest) == (image.digest, image.config_digest)
    assert again.layers[1].path != image.layers[1].path


@pytest.mark.parametrize(
    ("version", "files"),
    [
        pytest.param(VERSION, {**FILES, "model.onnx": b"another"}, id="another graph"),
        pytest.param(ModelVersion("nyc_taxi", "4", "run-1", {}, ()), FILES, id="another version"),
    ],
)
def test_a_new_version_changes_the_model_layer_or_config_only(
    images: LayeredImages, image: Image, version: ModelVersion, files: Mapping[str, bytes]
) -> None:
    other = images.assemble_model(DEFINITION, version, files)
    assert other.digest != image.digest
    assert other.layers[:3] == image.layers[:3]


def test_every_module_of_python_and_its_packages_has_bytecode_that_no_time_outdates(image: Image) -> None:
    for layer, module in (
        (image.layers[0], "usr/lib/python3.11/asyncio/__pycache__/events.cpython-311.pyc"),
        (image.layers[1], "opt/edgeferry/lib/numpy/__pycache__/matlib.cpython-311.pyc"),
    ):
        with tarfile.open(layer.path) as tar:
            body = tar.extractfile(module)
            assert body is not None
            assert body.read(8) == MAGIC_NUMBER + b"\x01\x00\x00\x00"  # PEP 552: by hash, unchecked


def test_a_first_pull_is_below_seventy_megabytes(image: Image) -> None:
    assert image.size_bytes < 70_000_000


def test_the_companion_is_an_image_of_its_own_on_the_same_base(images: LayeredImages, image: Image) -> None:
    companion = images.assemble_companion()
    assert companion.name == "companion"
    assert companion.layers[0] == image.layers[0]
    assert any("paho" in name for name in names(companion.layers[1]))
    assert not any("onnxruntime" in name for name in names(companion.layers[1]))
    assert "opt/edgeferry/server/edgeferry/device/modules/companion.py" in names(companion.layers[2])
    assert json.loads(companion.config)["config"]["Entrypoint"][-1] == "edgeferry.device.modules.companion"
    assert companion.size_bytes < 35_000_000


def test_dependencies_for_arm64_are_fetched_on_any_machine(image: Image, tmp_path: Path) -> None:
    arm = LayeredImages(LayerStore(tmp_path), KeptBase(image.layers[0]), uv.find_uv_bin(), "arm64")
    companion = arm.assemble_companion()
    assert json.loads(companion.config)["architecture"] == "arm64"


def test_an_architecture_without_wheels_is_a_usage_error(store: LayerStore) -> None:
    with pytest.raises(UsageError, match="no images for armv7"):
        LayeredImages(store, DebianBase(store, "", print), uv.find_uv_bin(), "armv7")


def test_an_index_that_does_not_answer_is_said_so(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    fresh = LayeredImages(LayerStore(tmp_path), KeptBase(image.layers[0]), uv.find_uv_bin())
    with pytest.raises(OutsideError, match="dependencies could not be fetched") as caught:
        fresh.assemble_companion()
    assert caught.value.retryable


def test_a_model_that_takes_pictures_has_one_more_layer_and_shares_the_others(
    images: LayeredImages, image: Image
) -> None:
    pictures = images.assemble_model(replace(DEFINITION, image=ImageInput(8, 8, 16)), VERSION, FILES)
    assert len(pictures.layers) == len(image.layers) + 1
    assert [layer for layer in pictures.layers if layer in image.layers] == list(image.layers)
    assert "opt/edgeferry/lib/PIL/PngImagePlugin.py" in names(pictures.layers[2])
    assert not any("/PIL/" in name for layer in image.layers for name in names(layer))


def test_the_agent_is_an_image_that_runs_as_root_and_says_what_it_is(
    images: LayeredImages, image: Image
) -> None:
    agent = images.assemble_agent()
    assert agent.layers[0] == image.layers[0]
    assert [layer.title for layer in agent.layers] == ["base", "dependencies", "agent"]
    run = json.loads(agent.config)["config"]
    assert (run["Entrypoint"], run["User"]) == (["/usr/bin/python3", "-m", "edgeferry.device"], "0:0")
    assert agent.labels["edgeferry.agent"] == "true"
    there = names(agent.layers[2])
    assert "opt/edgeferry/server/edgeferry/device/__main__.py" in there
    assert not [name for name in there if "/cli/" in name or "/hub/" in name or "/modules/" in name]
    assert agent.size_bytes < 30_000_000
