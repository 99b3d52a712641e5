"""The companion's image: assembled, verified and pushed like a model's."""

from __future__ import annotations

from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.image import Image
from edgeferry.errors import OutsideError, RefusedError
from edgeferry.ports import Services
from edgeferry.ports_models import Reply, RunningModule
from edgeferry.wire.verdict import COMPANION_PORT

READY_S = 30.0
_POLL_S = 0.02
_NOWHERE = (
    "HostName=hub.invalid;DeviceId=verify;ModuleId=companion;SharedAccessKey=AAAA;GatewayHostName=127.0.0.1"
)


def carry_companion(services: Services, limits: DeviceClass) -> tuple[Image, int]:
    """The companion's image in the registry, and the bytes uploaded; one that is there was verified before.

    RefusedError, and nothing pushed, when it does not start and answer under a device's limits.
    """
    image = services.images.assemble_companion()
    if services.registry.has(image.name, image.digest):
        return image, 0
    with services.stage.run(image, {"EdgeHubConnectionString": _NOWHERE}, limits, COMPANION_PORT) as module:
        reply = _await_reply(services, module)
        if reply is None or reply.status != 200 or reply.body != b'{"verdicts": {}}':
            said = f"answered {reply.status}" if reply else "did not answer"
            raise RefusedError(
                f"the companion's image {said}; it is {module.state()}: {module.logs()[-300:].strip()}",
                fix="report this: the companion ships with edgeferry",
            )
    return image, services.registry.push(image)


def _await_reply(services: Services, module: RunningModule) -> Reply | None:
    deadline = services.now() + READY_S
    while services.now() < deadline and module.state() == "running":
        try:
            return module.ask("GET", "/verdict")
        except OutsideError:
            services.sleep(_POLL_S)
    return None
