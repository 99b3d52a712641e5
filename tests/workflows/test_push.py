"""Pushing the verified example: only what passed, with its evidence attached, and once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeferry.domain.image import Image
from edgeferry.domain.verification import Verification
from edgeferry.errors import RefusedError
from edgeferry.wire.evidence import VERIFICATION_TYPE, render_verification
from edgeferry.workflows.cases import fetch_cases
from edgeferry.workflows.push import find_verification, push

from .conftest import Packaged


@pytest.fixture
def image(packaged: Packaged, request: pytest.FixtureRequest) -> Image:
    """The image under a name of this test alone."""
    return replace(packaged.image, name=f"t{abs(hash(request.node.name))}")


@pytest.fixture
def verification(packaged: Packaged, image: Image) -> Verification:
    """What verifying it says; that it does is another test's concern."""
    return Verification(
        model=packaged.definition.name,
        version=packaged.version.version,
        digest=image.digest,
        config_digest=image.config_digest,
        image_id=image.config_digest,
        device_class="small",
        memory_bytes=1,
        tolerance=packaged.definition.tolerance,
        passed=True,
        problems=(),
        rows=10,
        single_rows=10,
        worst_relative=0.0,
        worst_absolute=0.0,
        ready_s=1.0,
        latency_ms=1.0,
    )


def test_a_verified_image_is_pushed_with_its_verification_and_only_once(
    packaged: Packaged, image: Image, verification: Verification
) -> None:
    services = packaged.services
    assert find_verification(services, image) is None
    assert push(services, image, verification) == image.size_bytes
    assert services.registry.has(image.name, image.digest)
    assert find_verification(services, image) == verification
    assert fetch_cases(services, image.name, image.digest, image.labels["io.edgeferry.cases-sha256"])
    assert fetch_cases(services, image.name, image.digest, "0" * 64) is None
    assert push(services, image, verification) == 0


def test_an_image_that_did_not_pass_is_not_pushed(
    packaged: Packaged, image: Image, verification: Verification
) -> None:
    failed = replace(verification, passed=False, problems=("row 8: expected 4.0, answered 4.5",))
    with pytest.raises(RefusedError, match="row 8: expected 4") as caught:
        push(packaged.services, image, failed)
    assert caught.value.exit_code == 1
    assert not packaged.services.registry.has(image.name, image.digest)


@pytest.mark.parametrize("part", ["digest", "config_digest"])
def test_the_verification_of_another_image_does_not_count(
    packaged: Packaged, image: Image, verification: Verification, part: str
) -> None:
    with pytest.raises(RefusedError, match="the verification is of"):
        push(packaged.services, image, replace(verification, **{part: "sha256:" + "0" * 64}))  # type: ignore[arg-type]
    assert not packaged.services.registry.has(image.name, image.digest)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"passed": False}, id="one that did not pass"),
        pytest.param({"config_digest": "sha256:" + "0" * 64}, id="one of another image"),
    ],
)
def test_what_else_is_attached_is_not_taken_for_a_pass(
    packaged: Packaged, image: Image, verification: Verification, changes: dict[str, object]
) -> None:
    registry = packaged.services.registry
    registry.push(image)
    registry.attach(image.name, image.digest, VERIFICATION_TYPE, b"no verification")
    other = replace(verification, **changes)  # type: ignore[arg-type]
    registry.attach(image.name, image.digest, VERIFICATION_TYPE, render_verification(other))
    assert find_verification(packaged.services, image) is None
