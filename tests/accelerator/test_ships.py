"""A team's project from its folder to a device, as its owner would type it: imported, edited where the import
says so, trained, packaged, verified, rolled out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.accelerator.team import write_project
from tests.e2e.conftest import CommandLine, link_caches
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

SAVED = '            "model",\n'


def mend(project: Path, place: dict[str, Any], fix: str) -> bool:
    """Does what the import says, where that can be done on this machine; whether it could be."""
    file = project / place["file"]
    if "serialization_format" in fix:
        lines = file.read_text().splitlines(keepends=True)
        at = lines.index(SAVED, place["line"] - 1)
        lines.insert(at + 1, '            serialization_format="cloudpickle",\n')
        file.write_text("".join(lines))
        return True
    if "take the writing out" in fix:
        head, _, _ = file.read_text().partition("\n\ndef keep(")
        file.write_text(head.replace("    keep(rows)\n", "") + "\n")
        return True
    return False


def test_an_imported_project_ships_to_a_device_after_the_edits_that_it_names(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    need("azure.ai", "azure-ai-ml")
    assert pytestconfig.cache is not None
    root, state, new = write_project(tmp_path / "cabs"), tmp_path / "state", tmp_path / "cabs-edgeferry"
    kept = {"images": "images", "environments": "step-environments"}
    link_caches(state, {name: pytestconfig.cache.mkdir(folder) for name, folder in kept.items()})
    command = [sys.executable, "-m", "edgeferry", "import-accelerator", str(root), "--output", "json"]
    imported = subprocess.run(command, capture_output=True, text=True, check=False)
    assert imported.returncode == 0, imported.stderr
    facts = json.loads(imported.stdout)
    assert (facts["ok"], facts["project"], facts["models"]) == (True, str(new), ["nyc_taxi", "london_taxi"])
    assert len(facts["edits"]) <= 5
    left = []
    for edit in facts["edits"]:
        done = [mend(new, place, edit["fix"]) for place in edit["places"]]
        left += [] if all(done) else [edit["fix"]]
    assert [fix.partition(":")[0] for fix in left] == ["environments/dev.toml"]  # the subscription, for Azure
    edgeferry = CommandLine(new, state)
    try:
        assert edgeferry("validate", "--output", "json").facts["errors"] == 0
        assert edgeferry("up", "--devices", "1").code == 0
        assert edgeferry("devices", "tag", "device-1", "incremental=yes").code == 0
        shipped = edgeferry("ship", "nyc_taxi", "--approve-as", "ann", "--output", "json")
        assert shipped.code == 0, shipped.err
        (seen,) = [
            each for each in edgeferry("status", "--output", "json").facts if each["module"] == "nyc_taxi"
        ]
        assert (seen["state"], seen["verdict"]) == ("running", "Passed")
        cases = edgeferry("smoke", "show", "nyc_taxi", "--output", "json").facts["cases"]
        assert "sample-request" in json.dumps(cases)
    finally:
        edgeferry("down", "--wipe")
