"""`edgeferry ship` of several models, as typed: real commands and real training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from edgeferry.cli.ship import ship
from edgeferry.errors import UsageError
from tests.cli.test_ci import run
from tests.repositories import Repository, make_repository

PIPELINE = """
type: pipeline
inputs: {{}}
outputs: {{registered: {{type: uri_file}}}}
jobs:
  only:
    type: command
    component: ./component.yml
    outputs: {{registered: "${{{{parent.outputs.registered}}}}"}}
"""
COMPONENT = """
name: only
type: command
command: {command}
outputs: {{registered: {{type: uri_file}}}}
environment: {{image: any, conda_file: ./conda.yml}}
"""
CONDA = "name: none\ndependencies:\n- python\n- pip\n- pip: []\n"
WRITES_NOTHING = "printf nothing > ${{outputs.registered}}; exit 3"


def add_model(repository: Repository, name: str, command: str) -> None:
    folder = f"models/{name}"
    repository.write(f"{folder}/model.yaml", "prediction_column: y\n")
    repository.write(f"{folder}/pipeline.yml", PIPELINE.format())
    repository.write(f"{folder}/component.yml", COMPONENT.format(command=json.dumps(command)))
    repository.write(f"{folder}/conda.yml", CONDA)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = make_repository(tmp_path.resolve() / "project")
    made.write("edgeferry.toml", '[registry]\nhost = "127.0.0.1:9"\n[train]\n')
    made.write(".gitignore", ".edgeferry\n")
    return made


def test_one_that_fails_stops_no_other_and_the_worst_exit_code_is_the_answer(repository: Repository) -> None:
    add_model(repository, "fails", WRITES_NOTHING)
    add_model(repository, "fails_too", f"sleep 1; {WRITES_NOTHING}")
    add_model(repository, "broken", "true")
    repository.write("models/broken/model.yaml", "nonsense: 1\n")
    repository.commit()
    code, out, err = run(repository.root, "ship", "--all", "--output", "json", "--at-once", "2")
    facts = json.loads(out)
    assert [(each["model"], each["exit_code"]) for each in facts["models"]] == [
        ("broken", 2),
        ("fails", 1),
        ("fails_too", 1),
    ], err
    assert (code, facts["ok"]) == (2, False)
    assert "unknown key `nonsense`" in facts["models"][0]["problem"]
    assert "step only failed" in facts["models"][2]["problem"]
    lines = err.splitlines()
    assert any(line.startswith("fails     │") and "only: failed" in line for line in lines), err
    assert "3 models of 3 did not arrive" in err

    repository.git("rm", "-rqf", "models/broken")
    repository.commit()
    repository.append("models/fails/component.yml", "# edited\n")
    code, out, err = run(repository.root, "ship", "--changed", "--since", "HEAD")
    assert code == 1
    assert "fails touched since HEAD" in err
    assert "fails_too" not in out


def test_an_interrupt_ends_all_of_them_and_starts_no_other(repository: Repository, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    for name in ("one", "two", "waits"):
        add_model(
            repository, name, f"echo $$ > {marks}/{name}; sleep 600; echo > ${{{{outputs.registered}}}}"
        )
    command = [sys.executable, "-m", "edgeferry", "--project", str(repository.root)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    child = subprocess.Popen(
        [*command, "ship", "--all", "--at-once", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while len([path for path in marks.iterdir() if path.read_text()]) < 2 and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            child.kill()
    assert child.returncode == 130, said
    assert {path.name for path in marks.iterdir()} == {"one", "two"}
    for path in marks.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    assert "one   │" in said
    assert said.count("the run is ended") == 2
    assert list((repository.root / ".edgeferry" / "steps").glob("*.running")) == []


@pytest.mark.parametrize(
    "words",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"model": "one", "all_": True}, id="one and all"),
        pytest.param({"all_": True, "changed": True}, id="all and those that changed"),
        pytest.param({"model": "one", "since": "main"}, id="one since"),
        pytest.param({"all_": True, "since": "main"}, id="all since"),
    ],
)
def test_ship_takes_one_model_or_all_or_those_that_changed(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="ship takes one model"):
        ship(cast(Any, None), **words)
