"""Images of programs of ours, the companion and the agent, and their releases: assembled, tried, pushed and
signed like a model's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.image import Image
from edgeferry.domain.model import COMPANION, DEVICE_AGENT, Tolerance
from edgeferry.domain.release import Entry, release_name
from edgeferry.domain.verification import Verification
from edgeferry.errors import OutsideError, UsageError
from edgeferry.ports import Json, Services
from edgeferry.ports_models import Reply, RunningModule
from edgeferry.wire.verdict import COMPANION_PORT
from edgeferry.workflows.push import find_verification, push
from edgeferry.workflows.release import append_release, sign_release

READY_S = 30.0
_POLL_S = 0.02
_NOWHERE = (
    "HostName=hub.invalid;DeviceId=verify;ModuleId=companion;SharedAccessKey=AAAA;GatewayHostName=127.0.0.1"
)
_NO_PORT = 1
"""The agent listens nowhere; the stage publishes a port all the same."""
_PINNED = re.compile(r"(?P<name>[^@\s]+?)(?::(?P<tag>[\w.-]+))?@(?P<digest>sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class _Found:
    """What came of trying a program."""

    problem: str
    reason: str
    """What a program shows that has no problem."""


def carry_program(services: Services, name: str, limits: DeviceClass) -> tuple[Image, Verification, int]:
    """The program's image in the registry, what it showed, and the bytes uploaded; one that is there was
    verified before. `name`: `companion` or `agent`.

    RefusedError, and nothing pushed, when it does not start and answer under a device's limits.
    """
    assemble = services.images.assemble_agent if name == DEVICE_AGENT else services.images.assemble_companion
    image = assemble()
    known = find_verification(services, image) if services.registry.has(image.name, image.digest) else None
    if known is not None:
        return image, known, 0
    verification = _verify(services, image, name, limits)
    return image, verification, push(services, image, verification)


def release_program(services: Services, name: str, limits: DeviceClass, user: str) -> tuple[Entry, bool]:
    """The release entry of the program that comes with this edgeferry, and whether it is new; its image is
    in the registry. Errors as `carry_program`."""
    image, verification, _ = carry_program(services, name, limits)
    return sign_release(services, image, verification, verification.version, user)


def release_agent(services: Services, fleet: Fleet, image: str, user: str) -> tuple[Entry, bool]:
    """The release of the agent that the fleet's devices run: ours that comes with this edgeferry, or IoT
    Edge's, whose `image` is named by its digest. UsageError when it is not, or is named for our agent."""
    if fleet.runtime.kind != "iotedge":
        if image:
            raise UsageError(
                f"{image} is not released: the fleet's devices run edgeferry's agent, which comes with it",
                fix="leave --image out, or set device.runtime to iotedge",
            )
        return release_program(services, DEVICE_AGENT, fleet.limits, user)
    pinned = _PINNED.fullmatch(image)
    if pinned is None:
        raise UsageError(
            f"{image or 'no image'} names no digest of IoT Edge's agent, and a tag may name another tomorrow",
            fix=f"--image {fleet.runtime.agent_image}@sha256:…, as `docker buildx imagetools inspect` says",
        )
    version, digest = pinned["tag"] or "0", pinned["digest"]
    body: Json = {
        "model": DEVICE_AGENT,
        "version": version,
        "metrics": {},
        "image": image,
        "digest": digest,
        "config_digest": "",
        "size_bytes": 0,
        "cases_sha256": "",
        "verification_sha256": "",
    }
    return append_release(services, release_name(DEVICE_AGENT, version, digest), body, user)


def released_companion(services: Services, limits: DeviceClass, user: str) -> Entry:
    """The companion's newest release that counts and that this registry holds; made where there is none."""
    for entry in reversed(services.ledger.entries("release")):
        if entry.body.get("model") != COMPANION or services.ledger.distrust(entry):
            continue
        if services.registry.has(COMPANION, entry.body["digest"]):
            return entry
    return release_program(services, COMPANION, limits, user)[0]


def _verify(services: Services, image: Image, name: str, limits: DeviceClass) -> Verification:
    """Whether it starts, and does what can be seen of it, under a device's limits."""
    began_s = services.now()
    port = _NO_PORT if name == DEVICE_AGENT else COMPANION_PORT
    env = {} if name == DEVICE_AGENT else {"EdgeHubConnectionString": _NOWHERE}
    with services.stage.run(image, env, limits, port) as module:
        found = _try_agent(services, module) if name == DEVICE_AGENT else _try_companion(services, module)
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
        passed=not found.problem,
        problems=(found.problem,) if found.problem else (),
        rows=0,
        single_rows=0,
        worst_relative=0.0,
        worst_absolute=0.0,
        ready_s=round(services.now() - began_s, 3),
        latency_ms=0.0,
        runtime=name,
        runtime_reason=found.reason,
    )


def _try_companion(services: Services, module: RunningModule) -> _Found:
    reply = _await_reply(services, module)
    problem = ""
    if reply is None or reply.status != 200 or reply.body != b'{"verdicts": {}}':
        said = f"answered {reply.status}" if reply else "did not answer"
        problem = f"it {said}; it is {module.state()}: {module.logs()[-300:].strip()}"
    return _Found(problem, "it starts, and answers what it knows")


def _try_agent(services: Services, module: RunningModule) -> _Found:
    """Without arguments it tells what it wants: all that it imports is there."""
    deadline = services.now() + READY_S
    while module.state() == "running" and services.now() < deadline:
        services.sleep(_POLL_S)
    said = module.logs()
    problem = "" if "--state" in said else f"it does not start; it is {module.state()}: {said[-300:].strip()}"
    return _Found(problem, "it starts, and tells what it wants")


def _await_reply(services: Services, module: RunningModule) -> Reply | None:
    deadline = services.now() + READY_S
    while services.now() < deadline and module.state() == "running":
        try:
            return module.ask("GET", "/verdict")
        except OutsideError:
            services.sleep(_POLL_S)
    return None
