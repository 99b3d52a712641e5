"""A verification as the evidence attached to its image. Format `edgeferry.verification/1`, ours.

Canonical JSON: the release in the ledger holds the sha256 of these bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from edgeferry.domain.model import Tolerance
from edgeferry.domain.verification import Verification
from edgeferry.errors import UsageError
from edgeferry.wire.canonical import render_canonical

FORMAT = "edgeferry.verification/1"
VERIFICATION_TYPE = "application/vnd.edgeferry.verification.v1+json"
"""Artifact type under which it is attached."""


def render_verification(verification: Verification) -> bytes:
    """The exact bytes of a verification; ValueError when a number is not finite."""
    return render_canonical({"format": FORMAT, **asdict(verification)})


def parse_verification(body: bytes) -> Verification:
    """The verification in these bytes; UsageError when they are none."""
    try:
        said: dict[str, Any] = json.loads(body)
        if said.pop("format") != FORMAT:
            raise ValueError("its format is another")
        tolerance = said.pop("tolerance")
        problems = tuple(str(problem) for problem in said.pop("problems"))
        return Verification(
            **said,
            problems=problems,
            tolerance=Tolerance(float(tolerance["rtol"]), float(tolerance["atol"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"this is no verification of format {FORMAT}: {error}",
            fix="verify the image with this version of edgeferry",
        ) from error
