"""Lets the tests import the steps as the pipeline does: from src/, here and in the shared folder."""

import sys
from pathlib import Path

for folder in (Path(__file__).parents[1], Path(__file__).parents[3] / "shared"):
    sys.path.insert(0, str(folder / "src"))
