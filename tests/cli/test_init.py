"""`edgeferry init`, as typed by somebody who brings a model: what it says can be pasted, and then works."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tests.cli.shell import Shell

ROWS = "flow,head\n" + "1,2\n" * 10


def fix_of(done: CompletedProcess[str]) -> str:
    """What the command that failed says is to be done."""
    assert done.returncode, done.stdout
    return done.stderr.split("fix: ")[-1].strip()


def paste(command: str, shell: Shell) -> str:
    """What it prints."""
    program = f"{shlex.quote(sys.executable)} -m edgeferry"
    done = subprocess.run(
        ["sh", "-euc", f'edgeferry() {{ {program} "$@"; }}; {command}'],
        cwd=shell.where,
        env={**shell.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in a folder that a fix made a project of, beside a model and its sample."""
    folder = tmp_path_factory.mktemp("init")
    shell = Shell(folder / "home", folder / "work")
    shell.where.mkdir()
    (folder / "wear.pkl").write_bytes(pickle.dumps([1.0, 2.0]))
    (folder / "sample.csv").write_text(ROWS)
    told = fix_of(shell.run(*BRING)).partition(";")[0].partition("here: ")[2]
    assert told == "edgeferry init . --from-model ../wear.pkl --sample ../sample.csv"
    assert "  cd " not in paste(told, shell)
    return shell


BRING = ("init", "--from-model", "../wear.pkl", "--sample", "../sample.csv")


def test_a_newer_file_of_a_model_that_was_given_goes_in_the_place_of_the_older(shell: Shell) -> None:
    folder, given = shell.where.parent, shell.where / "models/wear/given"
    (folder / "wear.pkl").write_bytes(pickle.dumps([3.0, 4.0]))
    (folder / "sample.csv").write_text(ROWS + "3,4\n")
    fix = fix_of(shell.run(*BRING)).partition("a newer version of it: ")[2]
    copies = "cp ../wear.pkl models/wear/given/model.pkl && cp ../sample.csv models/wear/given/sample.csv"
    assert fix == f"{copies} && edgeferry ship wear"
    paste(copies, shell)
    assert (given / "model.pkl").read_bytes() == (folder / "wear.pkl").read_bytes()
    assert (given / "sample.csv").read_text() == (folder / "sample.csv").read_text()

    (folder / "wear.pkl").write_bytes(pickle.dumps([5.0, 6.0]))
    words = ("--project", "work", "init", "--from-model", "wear.pkl", "--sample", "sample.csv")
    elsewhere = fix_of(shell.run(*words, where=folder))
    assert "cp wear.pkl work/models/wear/given/model.pkl && edgeferry ship wear --project work" in elsewhere


def test_a_further_model_ends_with_whom_to_give_it_and_who_approves(shell: Shell) -> None:
    assert shell.done("init", "--model", "fan", USER="ann").splitlines()[-3:] == [
        "  edgeferry validate fan",
        "  edgeferry devices tag device-1 models.fan=true   # who shall have it",
        "  edgeferry ship fan --approve-as ann",
    ]


@pytest.mark.parametrize("command", ["ship x", "status", "up"])
def test_where_there_is_no_project_the_fix_begins_one(shell: Shell, tmp_path: Path, command: str) -> None:
    assert "edgeferry init NAME" in fix_of(shell.run(*command.split(), where=tmp_path))
    beside = fix_of(shell.run(*command.split(), where=shell.where.parent))
    assert "cd work; or begin another: edgeferry init NAME" in beside


def test_of_two_files_the_one_that_is_missing_is_named(shell: Shell) -> None:
    done = shell.run("init", "--from-model", "../nix.pkl", "--sample", "../sample.csv")
    assert (done.returncode, "nix.pkl" in done.stderr, "sample.csv" in done.stderr) == (2, True, False)


def test_a_column_that_is_no_input_is_named_and_remembered(shell: Shell, tmp_path: Path) -> None:
    fitted = LinearRegression().fit(np.eye(3, 2), [1.0, 2.0, 3.0])
    (tmp_path / "tide.pkl").write_bytes(pickle.dumps(fitted))
    (tmp_path / "tide.csv").write_text("flow,head,level\n" + "1,2,3\n" * 10)
    bring = ("init", "--from-model", str(tmp_path / "tide.pkl"), "--sample", str(tmp_path / "tide.csv"))
    refused = shell.run(*bring)
    assert "tide.pkl takes 2 columns and does not name them" in refused.stderr
    assert "add --target level" in refused.stderr
    taken = shell.run(*bring, "--target", "level")
    assert (taken.returncode, "in this order: flow, head" in taken.stderr) == (0, True)
    assert json.loads(shell.run("validate", "tide", "--output", "json").stdout)["findings"] == []

    (shell.where / "models/tide/given/sample.csv").write_text("flow,head,level\n1,high,3\n")
    found = json.loads(shell.run("validate", "tide", "--output", "json").stdout)["findings"]
    assert [(one["rule"], one["line"]) for one in found] == [("wrong-sample", 2)]


def test_a_sample_that_lacks_a_column_of_the_signature_is_told_at_once_and_by_validate(
    shell: Shell, tmp_path: Path
) -> None:
    inputs = [{"type": "double", "name": name} for name in ("flow", "head", "level")]
    optional = {"type": "double", "name": "site", "required": False}
    saved = json.dumps({"signature": {"inputs": json.dumps([*inputs, optional])}})
    (tmp_path / "MLmodel").write_text(saved)
    refused = shell.run("init", "--from-model", str(tmp_path), "--sample", "../sample.csv")
    assert "sample.csv lacks level, which " in refused.stderr

    placed = shell.where / "models/wear/given/model/MLmodel"
    placed.parent.mkdir()
    placed.write_text(saved)
    found = json.loads(shell.run("validate", "wear", "--output", "json").stdout)["findings"]
    assert [(one["rule"], one["severity"]) for one in found] == [("missing-column", "error")]
