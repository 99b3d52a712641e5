"""What a test needs and may lack: a person's machine skips the test, saying so; CI fails, it must have it."""

import os
from typing import NoReturn

import pytest


def lack(what: str) -> NoReturn:
    """Skips the test for want of `what`; in CI, where ./run has set everything up, it fails instead."""
    if os.environ.get("CI"):
        pytest.fail(f"CI lacks what ./run sets up: {what}")
    pytest.skip(what)
