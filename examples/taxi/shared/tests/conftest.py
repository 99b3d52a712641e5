"""Lets the tests import the shared steps as the pipelines do: from src/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
