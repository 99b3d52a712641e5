"""The first minutes: a new project, and a model that somebody has, proven on a device."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tests.e2e.conftest import CommandLine

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

DEVICE = "device-2"


@pytest.fixture(scope="module")
def shop(edgeferry: CommandLine) -> CommandLine:
    """A project that `init` began, on the servers and devices that are there."""
    assert edgeferry("up", "--devices", "2").code == 0
    folder = edgeferry.project.parent
    command = [sys.executable, "-m", "edgeferry", "init", "shop"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return replace(edgeferry, project=folder / "shop")


def prove(shop: CommandLine, model: str) -> None:
    """The model is shipped by what `edgeferry` says, and proven on the one device that is to have it."""
    told = shop()
    assert f"edgeferry devices tag device-1 models.{model}=true" in told.out, told.err
    assert shop("devices", "tag", DEVICE, f"models.{model}=true").code == 0
    shipped = shop("ship", model, "--approve-as", "ann", "--output", "json")
    assert shipped.code == 0, shipped.err
    assert [each["state"] for each in shipped.facts["rollout"]["devices"]] == ["Succeeded"]
    (smoke,) = shipped.facts["smoke"]
    assert (smoke["device"], smoke["state"]) == (DEVICE, "Passed")
    assert shop("devices", "tag", DEVICE, f"models.{model}=").code == 0


def test_a_new_project_is_proven_on_a_device_as_it_was_written(shop: CommandLine) -> None:
    prove(shop, "cold_store")


def test_a_model_that_somebody_has_is_proven_on_a_device_without_a_pipeline_of_theirs(
    shop: CommandLine, tmp_path: Path
) -> None:
    rows = pd.DataFrame(np.random.default_rng(1).uniform(0, 9, (12, 2)), columns=["flow", "head"])
    fitted = LinearRegression().fit(rows, rows["flow"] * 2 - rows["head"])
    (tmp_path / "pump.pkl").write_bytes(pickle.dumps(fitted))
    rows.assign(power=0).to_csv(tmp_path / "rows.csv", index=False)
    begun = shop("init", "--from-model", str(tmp_path / "pump.pkl"), "--sample", str(tmp_path / "rows.csv"))
    assert begun.code == 0, begun.err
    assert "a pickle: loading it runs whatever code it holds" in begun.err
    prove(shop, "pump")
