"""Release: join a pushed image with its evidence in one signed entry of the ledger."""

from __future__ import annotations

import hashlib
from typing import Any

from edgeferry.domain.image import Image
from edgeferry.domain.model import ModelVersion
from edgeferry.domain.release import Entry, release_name
from edgeferry.domain.verification import Verification
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.evidence import render_verification


def release(
    services: Services,
    version: ModelVersion,
    image: Image,
    verification: Verification,
    companion: Image,
    user: str,
) -> tuple[Entry, bool]:
    """The release entry, and whether it is new; RefusedError when the image is not in the registry or its
    verification did not pass."""
    if not verification.passed:
        raise RefusedError(
            f"{image.name} version {version.version} did not pass verification",
            fix=f"see why with: edgeferry verify {image.name}",
        )
    for each in (image, companion):
        if not services.registry.has(each.name, each.digest):
            raise RefusedError(
                f"{services.registry.reference(each.name, each.digest)} is not in the registry",
                fix=f"edgeferry push {image.name}",
            )
    subject = release_name(image.name, version.version, image.digest)
    body = _body(version, image, verification, companion)
    for entry in reversed(services.ledger.entries("release", subject)):
        if entry.body == body and not services.ledger.distrust(entry):
            return entry, False
    return services.ledger.append("release", subject, body, user), True


def find_release(services: Services, name: str) -> Entry:
    """The newest release called `name`, or the newest of the model `name`; UsageError when there is none."""
    entries = services.ledger.entries("release")
    for entry in reversed(entries):
        if name in (entry.subject, entry.body.get("model")):
            return entry
    known = ", ".join(sorted({entry.subject for entry in entries})) or "none yet"
    raise UsageError(
        f"there is no release {name}",
        fix=f"releases in the ledger: {known}; make one with: edgeferry release MODEL",
    )


def find_entry(services: Services, subject: str) -> Entry | None:
    """The newest entry of the release called exactly that; None when there is none."""
    return next(iter(reversed(services.ledger.entries("release", subject))), None)


def _body(
    version: ModelVersion, image: Image, verification: Verification, companion: Image
) -> dict[str, Any]:
    return {
        "model": image.name,
        "registered_model": version.model,
        "version": version.version,
        "run_id": version.run_id,
        "metrics": dict(version.metrics),
        "digest": image.digest,
        "config_digest": image.config_digest,
        "size_bytes": image.size_bytes,
        "cases_sha256": image.labels["io.edgeferry.cases-sha256"],
        "model_sha256": image.labels["io.edgeferry.model-sha256"],
        "verification_sha256": hashlib.sha256(render_verification(verification)).hexdigest(),
        "companion": {"digest": companion.digest, "config_digest": companion.config_digest},
    }
