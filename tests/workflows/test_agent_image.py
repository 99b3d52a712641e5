"""The agent's image reaches the registry once it was seen to start, and only then."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edgeferry.adapters.images import LayeredImages
from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.stage import EngineStage
from edgeferry.domain.device_class import DEVICE_CLASSES
from edgeferry.domain.image import Image
from edgeferry.engine import Engine
from edgeferry.errors import RefusedError
from edgeferry.ports import Services, show_nobody
from edgeferry.workflows.agent_image import carry_agent

pytestmark = pytest.mark.engine
LIMITS = DEVICE_CLASSES["small"]


class OtherImages:
    """Images whose agent is another program."""

    def __init__(self, image: Image) -> None:
        self._image = image

    def assemble_agent(self) -> Image:
        return self._image


def services(images: Any, registry: RegistryClient, engine_url: str, folder: Path) -> Services:
    nothing: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    stage = EngineStage(lambda: Engine(engine_url), folder)
    given = {"images": images, "registry": registry, "stage": stage, "now": time.time, "sleep": time.sleep}
    given["work"] = show_nobody
    return Services(**nothing | given)


def test_the_agent_is_pushed_once(
    images: LayeredImages, registry: RegistryClient, engine_url: str, tmp_path: Path
) -> None:
    place = services(images, registry, engine_url, tmp_path)
    image, uploaded = carry_agent(place, LIMITS)
    assert uploaded > 10_000_000
    assert registry.has(image.name, image.digest)
    assert carry_agent(place, LIMITS) == (image, 0)


def test_a_program_that_is_no_agent_is_not_pushed(
    images: LayeredImages, registry: RegistryClient, engine_url: str, tmp_path: Path
) -> None:
    other = images.assemble_companion()
    with pytest.raises(RefusedError, match="does not start"):
        carry_agent(services(OtherImages(other), registry, engine_url, tmp_path), LIMITS)
    assert not registry.has(other.name, other.digest)
