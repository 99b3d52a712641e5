"""The agent's image: assembled, tried and pushed like a model's."""

from __future__ import annotations

from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.image import Image
from edgeferry.errors import RefusedError
from edgeferry.ports import Services

READY_S = 30.0
_POLL_S = 0.05
_NO_PORT = 1
"""The agent listens nowhere; the stage publishes a port all the same."""


def carry_agent(services: Services, limits: DeviceClass) -> tuple[Image, int]:
    """The agent's image in the registry, and the bytes uploaded; one that is there was tried before.

    RefusedError, and nothing pushed, when the program does not start under a device's limits.
    """
    image = services.images.assemble_agent()
    if services.registry.has(image.name, image.digest):
        return image, 0
    with services.stage.run(image, {}, limits, _NO_PORT) as module:
        deadline = services.now() + READY_S
        while module.state() == "running" and services.now() < deadline:
            services.sleep(_POLL_S)
        said = module.logs()
        if "--state" not in said:  # without arguments it tells what it wants: all it imports is there
            raise RefusedError(
                f"the agent's image does not start; it is {module.state()}: {said[-300:].strip()}",
                fix="report this: the agent ships with edgeferry",
            )
    return image, services.registry.push(image)
