"""Images run on a real engine, under a device's limits, and every trace of it gone afterwards."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.stage import EngineStage, RunningContainer
from edgeferry.domain.device_class import SMALL
from edgeferry.domain.image import Image
from edgeferry.domain.model import Column, Tolerance
from edgeferry.domain.smoke import CaseSet
from edgeferry.engine import Engine
from edgeferry.errors import EngineError, OutsideError
from edgeferry.wire.cases import render_cases
from edgeferry.wire.deployment import SCORE_PORT
from edgeferry.wire.serving import (
    Health,
    ModelCard,
    parse_health,
    parse_score_response,
    render_model_card,
    render_score_request,
)
from tests.adapters.test_images import DEFINITION, VERSION
from tests.graphs import linear_graph

pytestmark = pytest.mark.engine

EXACT = Tolerance(1e-9, 0.0)


@pytest.fixture
def image(images: LayeredImages, tmp_path: Path) -> Image:
    """A model image of this test alone, so that no other holds it."""
    card = ModelCard("taxi", "3", (Column("distance", "double"), Column("hour", "double")), EXACT, "fare")
    files = {
        "model.onnx": linear_graph([2.0, 1.0], 1.0),
        "model.json": render_model_card(card),
        "cases.json": render_cases(CaseSet("taxi", "3", EXACT, 250, ())),
    }
    return images.assemble_model(DEFINITION, replace(VERSION, run_id=str(tmp_path)), files)


@pytest.fixture
def stage(engine_url: str, tmp_path: Path) -> EngineStage:
    return EngineStage(lambda: Engine(engine_url), tmp_path / "scratch")


def await_health(module: RunningContainer) -> Health:
    """What it says of itself once it is ready: it answers before, too."""
    deadline = time.monotonic() + 60
    while True:
        try:
            health = parse_health(module.ask("GET", "/health").body)
            if health.ready:
                return health
        except EngineError:
            assert module.state() == "running", module.logs()
        assert time.monotonic() < deadline, module.logs()
        time.sleep(0.05)


def left_on(engine_url: str, image: Image) -> list[str]:
    """Containers and images on the engine that are this image's."""
    client = docker.APIClient(base_url=engine_url)
    try:
        containers = client.containers(all=True, filters={"ancestor": image.config_digest})
        images = [row["Id"] for row in client.images(all=True) if row["Id"] == image.config_digest]
        return [row["Names"][0] for row in containers] + images
    finally:
        client.close()


def test_the_very_image_runs_and_answers_and_leaves_nothing(
    stage: EngineStage, image: Image, engine_url: str, tmp_path: Path
) -> None:
    with stage.run(image, {"EDGEFERRY_DIGEST": image.digest}, SMALL, SCORE_PORT) as module:
        health = await_health(module)
        assert (health.ready, health.digest) == (True, image.digest)
        assert module.image_id == image.config_digest
        reply = module.ask("POST", "/score", render_score_request([[2.0, 7.0]]))
        assert (reply.status, parse_score_response(reply.body)) == (200, (12.0,))
        assert 0 < reply.latency_ms < 1000
        assert left_on(engine_url, image)
    assert left_on(engine_url, image) == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_it_is_held_to_the_device_class(stage: EngineStage, image: Image, engine_url: str) -> None:
    with stage.run(image, {}, SMALL, SCORE_PORT) as module:
        client = docker.APIClient(base_url=engine_url)
        try:
            said = client.inspect_container(module.container)
        finally:
            client.close()
    host = said["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Init"]) == (True, ["ALL"], True)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (536870912, 536870912, 1_000_000_000)
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert host["PortBindings"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"
    assert said["Config"]["User"] == "65532:65532"
    assert said["Config"]["Labels"]["edgeferry.sandbox"].startswith("verify-")


def test_a_module_that_ends_says_how_and_why(stage: EngineStage, image: Image) -> None:
    with stage.run(image, {"EDGEFERRY_MODEL_DIR": "/nowhere"}, SMALL, SCORE_PORT) as module:
        deadline = time.monotonic() + 60
        while module.state() == "running":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert module.state() == "exited (2)"
        assert "/nowhere/model.json cannot be read" in module.logs()
        with pytest.raises(EngineError) as caught:
            module.ask("GET", "/health")
        assert caught.value.retryable


def test_an_error_inside_still_leaves_nothing(stage: EngineStage, image: Image, engine_url: str) -> None:
    with pytest.raises(KeyError), stage.run(image, {}, SMALL, SCORE_PORT):
        raise KeyError("inside")
    assert left_on(engine_url, image) == []


def test_an_image_that_the_engine_had_before_stays(stage: EngineStage, image: Image, engine_url: str) -> None:
    with stage.run(image, {}, SMALL, SCORE_PORT):
        client = docker.APIClient(base_url=engine_url)
        try:
            client.tag(image.config_digest, "edgeferry-tests/kept", "1")
            with stage.run(image, {}, SMALL, SCORE_PORT):
                pass
        finally:
            client.close()
    engine = Engine(engine_url)
    try:
        assert engine.image("edgeferry-tests/kept:1") is not None
        engine.remove_image("edgeferry-tests/kept:1")
    finally:
        engine.close()
    assert left_on(engine_url, image) == []


def test_a_layer_that_changed_on_disk_is_not_run_though_the_engine_holds_the_true_one(
    stage: EngineStage, image: Image, tmp_path: Path
) -> None:
    model = image.layers[-1]
    body = bytearray(Path(model.path).read_bytes())
    body[600] ^= 1  # inside the first file
    changed = tmp_path / "changed"
    changed.write_bytes(body)
    other = replace(image, layers=(*image.layers[:-1], replace(model, path=str(changed))))
    with stage.run(image, {}, SMALL, SCORE_PORT):
        refused = pytest.raises(OutsideError, match=r"the model layer in .*/changed has changed on disk")
        with refused as caught, stage.run(other, {}, SMALL, SCORE_PORT):
            pytest.fail("it ran")
    assert "package again" in caught.value.fix


def test_an_image_that_is_not_what_its_digest_says_is_not_run(
    stage: EngineStage, image: Image, engine_url: str
) -> None:
    other = replace(image, config=image.config.replace(b"65532:65532", b"00000:00000"))
    with (
        pytest.raises(EngineError, match=f"not {image.config_digest}"),
        stage.run(other, {}, SMALL, SCORE_PORT),
    ):
        pytest.fail("it ran")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves it to gc
def test_an_engine_that_is_not_there_is_said_so(image: Image, tmp_path: Path) -> None:
    stage = EngineStage(lambda: Engine(f"unix://{tmp_path}/none.sock"), tmp_path / "scratch")
    with pytest.raises(EngineError, match="no engine answers"), stage.run(image, {}, SMALL, SCORE_PORT):
        pytest.fail("it ran")
    gc.collect()
