"""Release: join a pushed image with its evidence in one signed entry of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.fields import nearest
from edgeferry.domain.image import Image
from edgeferry.domain.model import COMPANION, DEVICE_AGENT, ModelVersion
from edgeferry.domain.release import Entry, release_name
from edgeferry.domain.verification import Verification
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.evidence import render_verification


def find_elsewhere(release: Entry) -> str:
    """Where an agent's image is that is not in our registry, named by the digest that was released; "" for
    all that are to be there."""
    image = str(release.body.get("image") or "")
    is_pinned = image.endswith(f"@{release.body['digest']}")
    return image if is_pinned and release.body["model"] == DEVICE_AGENT else ""


def release(
    services: Services,
    version: ModelVersion,
    image: Image,
    verification: Verification,
    companion: Entry,
    user: str,
) -> tuple[Entry, bool]:
    """The release entry of a model's version, and whether it is new. `companion`: the release of the one that
    comes with it to a fleet without any; it is no part of the model, and another one makes no new release.
    Errors as `sign_release`."""
    more = {
        "registered_model": version.model,
        "run_id": version.run_id,
        "metrics": dict(version.metrics),
        "cases_sha256": image.labels["io.edgeferry.cases-sha256"],
        "model_sha256": image.labels["io.edgeferry.model-sha256"],
        COMPANION: {"release": companion.subject, "digest": companion.body["digest"]},
    }
    return sign_release(services, image, verification, version.version, user, more)


def sign_release(
    services: Services,
    image: Image,
    verification: Verification,
    version: str,
    user: str,
    more: Mapping[str, Any] | None = None,
) -> tuple[Entry, bool]:
    """The release entry of a pushed image, and whether it is new; RefusedError when the image is not in the
    registry or its verification did not pass."""
    if not verification.passed:
        raise RefusedError(
            f"{image.name} version {version} did not pass verification",
            fix=f"see why with: edgeferry verify {image.name}",
        )
    if not services.registry.has(image.name, image.digest):
        raise RefusedError(
            f"{services.registry.reference(image.name, image.digest)} is not in the registry",
            fix=f"edgeferry push {image.name}",
        )
    subject = release_name(image.name, version, image.digest)
    body = {
        "model": image.name,
        "version": version,
        "metrics": {},
        "digest": image.digest,
        "config_digest": image.config_digest,
        "size_bytes": image.size_bytes,
        "cases_sha256": "",
        "verification_sha256": hashlib.sha256(render_verification(verification)).hexdigest(),
        **(more or {}),
    }
    return append_release(services, subject, body, user)


def append_release(services: Services, subject: str, body: dict[str, Any], user: str) -> tuple[Entry, bool]:
    """The release entry that says so, and whether it is new."""
    for entry in reversed(services.ledger.entries("release", subject)):
        if _is_same(services, entry.body, body) and not services.ledger.distrust(entry):
            return entry, False
    return services.ledger.append("release", subject, body, user), True


def _is_same(services: Services, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether they say the same, and a fleet without a companion can get the one that was named before."""
    named = before.get(COMPANION)
    if COMPANION not in now or not isinstance(named, Mapping) or "release" not in named:
        return before == now
    return before == {**now, COMPANION: named} and services.registry.has(COMPANION, named["digest"])


def find_release(services: Services, name: str) -> Entry:
    """The newest release called `name`, or the newest of the model `name`; UsageError when there is none."""
    entries = services.ledger.entries("release")
    for entry in reversed(entries):
        if name in (entry.subject, entry.body.get("model")):
            return entry
    names = {str(text) for entry in entries for text in (entry.subject, entry.body.get("model"))}
    if (meant := nearest(name, names)).startswith("did you mean"):
        raise UsageError(f"there is no release {name}", fix=meant)
    known = ", ".join(sorted({entry.subject for entry in entries})) or "none yet"
    raise UsageError(
        f"there is no release {name}",
        fix=f"releases in the ledger: {known}; make one with: edgeferry release MODEL",
    )


def find_entry(services: Services, subject: str) -> Entry | None:
    """The newest entry of the release called exactly that; None when there is none."""
    return next(iter(reversed(services.ledger.entries("release", subject))), None)
