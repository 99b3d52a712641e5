"""The example, trained on a real Azure ML workspace. Costs a machine for some minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "taxi"

pytestmark = pytest.mark.azure


def test_the_example_trains_and_registers_on_azure_ml(given: dict[str, str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "EDGEFERRY_STATE": str(tmp_path),
        "EDGEFERRY_TRAIN__PLACE": "azureml",
        "EDGEFERRY_AZURE__SUBSCRIPTION_ID": given["SUBSCRIPTION"],
        "EDGEFERRY_AZURE__RESOURCE_GROUP": given["RESOURCE_GROUP"],
        "EDGEFERRY_AZURE__WORKSPACE": given["WORKSPACE"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "edgeferry", "train", "nyc_taxi", "--deadline", "3600", "--output", "json"],
        cwd=EXAMPLE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3900,
    )
    assert done.returncode == 0, done.stderr
    trained = json.loads(done.stdout)
    assert trained["metrics"].keys() >= {"mse", "mae", "r2"}
    steps = ["prepare", "transform", "train", "predict", "score", "register"]
    assert [step["step"] for step in trained["steps"]] == steps
    assert "train |" in done.stderr, "no log was streamed"
