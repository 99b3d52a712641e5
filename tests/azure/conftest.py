"""What needs a real subscription: skipped, with the reason, where none is given."""

from __future__ import annotations

import os

import pytest


def need(*names: str) -> dict[str, str]:
    """The values of EDGEFERRY_TEST_AZURE_NAME for each name; skips the test, naming what is not set."""
    found = {name: os.environ.get(f"EDGEFERRY_TEST_AZURE_{name}", "") for name in names}
    missing = [f"EDGEFERRY_TEST_AZURE_{name}" for name, value in found.items() if not value]
    if missing:
        pytest.skip(f"needs a real Azure subscription: {', '.join(missing)} not set")
    return found


@pytest.fixture
def given() -> dict[str, str]:
    """EDGEFERRY_TEST_AZURE_SUBSCRIPTION, _RESOURCE_GROUP and _WORKSPACE."""
    return need("SUBSCRIPTION", "RESOURCE_GROUP", "WORKSPACE")
