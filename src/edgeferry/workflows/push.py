"""Push: a verified image and its verification into the registry. What did not verify is not pushed."""

from __future__ import annotations

from edgeferry.domain.image import Image
from edgeferry.domain.verification import Verification
from edgeferry.errors import RefusedError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.cases import CASES_TYPE
from edgeferry.wire.evidence import VERIFICATION_TYPE, parse_verification, render_verification


def push(services: Services, image: Image, verification: Verification) -> int:
    """The bytes of the image that were uploaded; its verification and its smoke cases are attached to it.

    RefusedError when the verification did not pass or is another image's.
    """
    if (verification.digest, verification.config_digest) != (image.digest, image.config_digest):
        raise RefusedError(
            f"the verification is of {verification.digest}, the image is {image.digest}",
            fix=f"verify the image itself: edgeferry verify {image.name}",
        )
    if not verification.passed:
        problem = verification.problems[0] if verification.problems else "not every row was asked"
        raise RefusedError(
            f"{image.name} version {verification.version} did not pass verification: {problem}",
            fix=f"mend the model, then: edgeferry verify {image.name}",
        )
    with services.work(f"push {image.name}", image.size_bytes, "bytes") as advance:
        uploaded = services.registry.push(image, advance)
    services.registry.attach(image.name, image.digest, VERIFICATION_TYPE, render_verification(verification))
    if image.cases:
        services.registry.attach(image.name, image.digest, CASES_TYPE, image.cases)
    return uploaded


def find_verification(services: Services, image: Image) -> Verification | None:
    """The newest verification that this very image passed, from the registry; None when there is none."""
    for body in reversed(services.registry.attached(image.name, image.digest, VERIFICATION_TYPE)):
        try:
            verification = parse_verification(body)
        except UsageError:
            continue
        same = (verification.digest, verification.config_digest) == (image.digest, image.config_digest)
        if same and verification.passed:
            return verification
    return None
