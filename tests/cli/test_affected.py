"""`edgeferry affected`, as typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.test_ci import ROOT, run
from tests.repositories import make_repository


def test_a_change_is_told_with_its_path_and_an_unknown_revision_with_the_fix(tmp_path: Path) -> None:
    repository = make_repository(tmp_path.resolve())
    project = tmp_path / "digits"
    shutil.copytree(ROOT / "examples" / "digits", project, ignore=shutil.ignore_patterns(".edgeferry"))
    repository.commit()
    repository.write("digits/models/digits/smoke/more.yml", "")
    repository.write("common/thing.txt", "")
    code, out, err = run(project, "affected", "--output", "json", "--also", "../common")
    assert code == 0, err
    (model,) = json.loads(out)["models"]
    assert json.loads(out)["since"] == "main"
    assert {each["path"] for each in model["reasons"]} == {
        "common/thing.txt",
        "digits/models/digits/smoke/more.yml",
    }
    code, out, _ = run(project, "affected")
    assert (code, "shared by all" in out, "smoke/more.yml" in out) == (0, False, True)
    code, _, err = run(project, "affected", "--since", "nowhere")
    assert code == 2
    assert "git fetch" in err
