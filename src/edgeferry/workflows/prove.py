"""Prove: the image of a version that answers as the pipeline predicted, and the verification that shows it.

The image itself, run under a device's limits, decides whether a graph may answer for its model: nothing else
sees what a device will see. When the graph's answers are off, and only `auto` chose it, the library that
trained the model gets its turn, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeferry.domain.image import Image
from edgeferry.domain.model import ModelDefinition, ModelVersion
from edgeferry.domain.verification import Verification
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.workflows.package import Packed, package
from edgeferry.workflows.push import find_verification
from edgeferry.workflows.verify import verify

_OFF = "its ONNX graph does not answer within the tolerance"


@dataclass(frozen=True)
class Proof:
    """An image and its verification, passed or not; `fresh` when it ran just now."""

    image: Image
    verification: Verification
    fresh: bool


def prove(
    services: Services,
    definition: ModelDefinition,
    version: ModelVersion,
    packed: Packed,
    *,
    afresh: bool = False,
) -> Proof:
    """The first runtime's proof that passed, or the failed one of the image that packaging gives.

    What the registry says passed is not run again, unless `afresh`.
    """
    first = _prove_one(services, definition, version, packed, afresh)
    if first.verification.passed or not first.verification.differing:
        return first
    for other in _instead(services, definition, version, packed):
        services.say(f"{_OFF}: {first.verification.problems[0]}; trying the library that trained it")
        second = _prove_one(services, definition, version, other, afresh)
        if second.verification.passed:
            return second
        services.say("the library answers otherwise than the pipeline predicted as well")
    return first


def find_proof(
    services: Services, definition: ModelDefinition, version: ModelVersion, packed: Packed
) -> Proof | None:
    """The proof that the registry holds for this version; None when there is none."""
    known = find_verification(services, packed.image)
    if known:
        return Proof(packed.image, known, fresh=False)
    for other in _instead(services, definition, version, packed):
        known = find_verification(services, other.image)
        if known:
            return Proof(other.image, known, fresh=False)
    return None


def _prove_one(
    services: Services, definition: ModelDefinition, version: ModelVersion, packed: Packed, afresh: bool
) -> Proof:
    known = None if afresh else find_verification(services, packed.image)
    if known:
        return Proof(packed.image, known, fresh=False)
    return Proof(packed.image, verify(services, definition, version, packed), fresh=True)


def _instead(
    services: Services, definition: ModelDefinition, version: ModelVersion, packed: Packed
) -> Iterator[Packed]:
    """The image with the library, when `auto` chose the graph and the model can be run by a library."""
    if definition.runtime != "auto" or packed.image.labels["io.edgeferry.runtime"] != "onnx":
        return
    try:
        yield package(services, definition, version, no_graph=_OFF)
    except RefusedError:
        return
