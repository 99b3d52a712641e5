"""What a test needs and may lack: a person's machine skips the test, saying so; CI fails, it must have it."""

import importlib.util
import os
from typing import NoReturn

import pytest


def lack(what: str) -> NoReturn:
    """Skips the test for want of `what`; in CI, where ./run has set everything up, it fails instead."""
    if os.environ.get("CI"):
        pytest.fail(f"CI lacks what ./run sets up: {what}")
    pytest.skip(what)


def need(module: str, distribution: str) -> None:
    """Lacks what the distribution is for where it is not installed; nothing big is imported."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # of the package around it
        found = None
    if found is None:
        lack(distribution)
