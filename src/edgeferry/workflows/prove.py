"""Prove: the image of a version that answers as the pipeline predicted, and the verification that shows it.

The image itself, run under a device's limits, decides whether a graph may answer for its model: nothing else
sees what a device will see. When the graph's answers are off, and only `auto` chose it, the library that
trained the model gets its turn, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeferry.domain.device_class import DeviceClass
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
    limits: DeviceClass,
    *,
    afresh: bool = False,
) -> Proof:
    """The first runtime's proof that passed, or the failed one of the image that packaging gives.

    What the registry says passed is not run again, unless `afresh`.
    """
    first = _prove_one(services, definition, version, packed, limits, afresh)
    if first.verification.passed or not first.verification.differing:
        return first
    for other in _instead(services, definition, version, packed):
        services.say(f"{_OFF}: {first.verification.problems[0]}; trying the library that trained it")
        second = _prove_one(services, definition, version, other, limits, afresh)
        if second.verification.passed:
            return second
        services.say("the library answers otherwise than the pipeline predicted as well")
    return first


def find_proof(
    services: Services,
    definition: ModelDefinition,
    version: ModelVersion,
    packed: Packed,
    limits: DeviceClass,
) -> Proof | None:
    """The proof that the registry holds for this version under such limits or tighter ones; None when it
    holds none."""
    known = _known(services, packed.image, limits)
    if known:
        return known
    for other in _instead(services, definition, version, packed):
        known = _known(services, other.image, limits)
        if known:
            return known
    return None


def _prove_one(
    services: Services,
    definition: ModelDefinition,
    version: ModelVersion,
    packed: Packed,
    limits: DeviceClass,
    afresh: bool,
) -> Proof:
    known = None if afresh else _known(services, packed.image, limits)
    return known or Proof(packed.image, verify(services, definition, version, packed, limits), fresh=True)


def _known(services: Services, image: Image, limits: DeviceClass) -> Proof | None:
    """What the registry says passed under such limits or tighter ones."""
    known = find_verification(services, image)
    if known is None or known.memory_bytes > limits.memory_bytes:
        return None
    return Proof(image, known, fresh=False)


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
