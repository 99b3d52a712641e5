"""The companion's image and its releases: assembled, verified, pushed and signed like a model's."""

from __future__ import annotations

from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.image import Image
from edgeferry.domain.model import COMPANION, Tolerance
from edgeferry.domain.release import Entry
from edgeferry.domain.verification import Verification
from edgeferry.errors import OutsideError
from edgeferry.ports import Services
from edgeferry.ports_models import Reply, RunningModule
from edgeferry.wire.verdict import COMPANION_PORT
from edgeferry.workflows.push import find_verification, push
from edgeferry.workflows.release import sign_release

READY_S = 30.0
_POLL_S = 0.02
_NOWHERE = (
    "HostName=hub.invalid;DeviceId=verify;ModuleId=companion;SharedAccessKey=AAAA;GatewayHostName=127.0.0.1"
)


def carry_companion(services: Services, limits: DeviceClass) -> tuple[Image, Verification, int]:
    """The companion's image in the registry, what it showed, and the bytes uploaded; one that is there was
    verified before.

    RefusedError, and nothing pushed, when it does not start and answer under a device's limits.
    """
    image = services.images.assemble_companion()
    known = find_verification(services, image) if services.registry.has(image.name, image.digest) else None
    if known is not None:
        return image, known, 0
    verification = _verify(services, image, limits)
    return image, verification, push(services, image, verification)


def release_companion(services: Services, limits: DeviceClass, user: str) -> tuple[Entry, bool]:
    """The release entry of the companion that comes with this edgeferry, and whether it is new; its image is
    in the registry. Errors as `carry_companion`."""
    image, verification, _ = carry_companion(services, limits)
    return sign_release(services, image, verification, verification.version, user)


def released_companion(services: Services, limits: DeviceClass, user: str) -> Entry:
    """The companion's newest release that counts and that this registry holds; made where there is none."""
    for entry in reversed(services.ledger.entries("release")):
        if entry.body.get("model") != COMPANION or services.ledger.distrust(entry):
            continue
        if services.registry.has(COMPANION, entry.body["digest"]):
            return entry
    return release_companion(services, limits, user)[0]


def _verify(services: Services, image: Image, limits: DeviceClass) -> Verification:
    """Whether it starts and answers under a device's limits."""
    began_s = services.now()
    problems: tuple[str, ...] = ()
    with services.stage.run(image, {"EdgeHubConnectionString": _NOWHERE}, limits, COMPANION_PORT) as module:
        reply = _await_reply(services, module)
        if reply is None or reply.status != 200 or reply.body != b'{"verdicts": {}}':
            said = f"answered {reply.status}" if reply else "did not answer"
            problems = (f"it {said}; it is {module.state()}: {module.logs()[-300:].strip()}",)
        image_id = module.image_id
    return Verification(
        model=image.name,
        version=image.labels["io.edgeferry.version"],
        digest=image.digest,
        config_digest=image.config_digest,
        image_id=image_id,
        device_class=limits.name,
        memory_bytes=limits.memory_bytes,
        tolerance=Tolerance(0.0, 0.0),
        passed=not problems,
        problems=problems,
        rows=0,
        single_rows=0,
        worst_relative=0.0,
        worst_absolute=0.0,
        ready_s=round(services.now() - began_s, 3),
        latency_ms=0.0,
        runtime=COMPANION,
        runtime_reason="it starts, and answers what it knows",
    )


def _await_reply(services: Services, module: RunningModule) -> Reply | None:
    deadline = services.now() + READY_S
    while services.now() < deadline and module.state() == "running":
        try:
            return module.ask("GET", "/verdict")
        except OutsideError:
            services.sleep(_POLL_S)
    return None
