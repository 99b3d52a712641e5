"""The command line where nothing runs: what is refused, how, and with which exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeferry.cli.console import Output, Terminal, render_table
from tests.faults import FAULTS, PIPELINE, write_project
from tests.typed import clean_environment, typed

ROOT = Path(__file__).parents[2]


def run(state: Path, *arguments: str, where: Path = ROOT / "examples" / "taxi") -> tuple[int, str, str]:
    done = typed(*arguments, environment=clean_environment(EDGEFERRY_STATE=str(state)), where=where)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        pytest.param(["ship", "nyc_tax"], "no model `nyc_tax`", "nyc_taxi", id="misspelt model"),
        pytest.param(
            ["ship", "nyc_taxi", "-i", "raw_data"], "NAME=VALUE", "raw_data=value", id="input without value"
        ),
        pytest.param(
            ["train", "nyc_taxi", "-i", "rawdata=x"], "no input `rawdata`", "raw_data", id="misspelt input"
        ),
        pytest.param(["status"], "hub.connection_string is not set", "edgeferry up", id="nothing started"),
        pytest.param(
            ["ship", "nyc_taxi"],
            "registry.host is not set",
            "edgeferry up",
            id="nothing started, before training",
        ),
        pytest.param(["status", "--env"], "--env names nothing", "--env NAME", id="env without its name"),
        pytest.param(
            ["train", "nyc_taxi", "--place", "azureml"],
            "azure.subscription_id is not set",
            "fix: choose an environment with --env",
            id="a workspace that nobody named, which up does not start",
        ),
        pytest.param(["verify", "nyc_taxi"], "MLflow does not know", "edgeferry train", id="not trained"),
        pytest.param(["shp"], "No such command", "ship", id="misspelt command"),
    ],
)
def test_a_newcomers_mistake_gets_exit_code_2_and_a_way_out(
    tmp_path: Path, arguments: list[str], problem: str, fix: str
) -> None:
    code, out, err = run(tmp_path, *arguments)
    assert code == 2
    assert problem in err
    assert fix in err
    assert out == ""


def test_outside_a_project_the_error_says_where_to_go(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "status", where=tmp_path)
    assert code == 2
    assert "--project" in err


@pytest.mark.parametrize("form", [["--output", "json"], ["--output=json"], ["-o", "json"]])
def test_an_error_is_json_where_json_was_asked_for(tmp_path: Path, form: list[str]) -> None:
    code, out, _ = run(tmp_path, "status", *form)
    assert code == 2
    facts = json.loads(out)
    assert facts["ok"] is False
    assert "edgeferry up" in facts["fix"]


@pytest.mark.parametrize(
    ("words", "problem", "fix"),
    [
        pytest.param("shp", "No such command 'shp'. Did you mean 'ship'?", "edgeferry --help", id="command"),
        pytest.param("ship --tiemout 3", "--input, --timeout", "edgeferry ship --help", id="option"),
        pytest.param("plan", "Missing argument 'release'", "edgeferry plan --help", id="argument missing"),
        pytest.param("up --devices x", "'--devices'", "edgeferry up --help", id="value"),
        pytest.param("devices shw", "Did you mean 'show'?", "edgeferry devices --help", id="in a group"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_as_every_error_is(
    tmp_path: Path, words: str, problem: str, fix: str
) -> None:
    code, out, err = run(tmp_path, *words.split(), "--output", "json")
    facts = json.loads(out)
    assert (code, facts["ok"], facts["fix"]) == (2, False, fix)
    assert problem in facts["problem"]
    code, out, err = run(tmp_path, *words.split())
    assert (code, out, f"  fix: {fix}\n" in err, problem in err) == (2, "", True, True)


def test_a_hub_that_is_down_is_the_outside_world(tmp_path: Path) -> None:
    started = {
        "hub.connection_string": "HostName=127.0.0.1:1;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA"
    }
    (tmp_path / "sandbox.json").write_text(json.dumps({"settings": started}))
    code, _, err = run(tmp_path, "status")
    assert code == 3
    assert "did not answer" in err
    assert "edgeferry up" in err


def test_settings_are_shown_with_their_source_and_secrets_masked(tmp_path: Path) -> None:
    started = {"registry.password": "hunter2"}
    (tmp_path / "sandbox.json").write_text(json.dumps({"settings": started}))
    code, out, err = run(tmp_path, "config", "show", "--output", "json")
    assert code == 0
    assert "hunter2" not in out + err
    facts = json.loads(out)
    shown = {name: (facts[name]["value"], facts[name]["source"]) for name in facts}
    assert shown["registry.password"] == ("********", "this machine (edgeferry up)")
    assert shown["registry.prefix"] == ("taxi", "edgeferry.toml")
    assert facts["registry.password"]["meaning"] == "its password"


def seeded(root: Path, id_: str) -> Path:
    return write_project(root, next(edit for edit in FAULTS if edit.id == id_))


def test_validate_names_file_line_and_fix_and_exits_1_on_an_error(tmp_path: Path) -> None:
    where = seeded(tmp_path / "project", "output that does not exist")
    code, out, err = run(tmp_path, "validate", where=where)
    assert code == 1
    assert (
        f"{PIPELINE}:26: error: step `prepare` has no output `rowz` (dangling-reference)\n"
        "  fix: did you mean `rows`?\n"
    ) in out
    assert "1 error, 0 warnings" in err
    code, out, _ = run(tmp_path, "validate", "demo", "--output", "json", where=where)
    assert code == 1
    facts = json.loads(out)
    assert (facts["ok"], facts["models"], facts["errors"], facts["warnings"]) == (False, ["demo"], 1, 0)
    assert facts["findings"] == [
        {
            "file": PIPELINE,
            "line": 26,
            "severity": "error",
            "rule": "dangling-reference",
            "problem": "step `prepare` has no output `rowz`",
            "fix": "did you mean `rows`?",
        }
    ]


def test_validate_exits_0_on_warnings_unless_they_count(tmp_path: Path) -> None:
    where = seeded(tmp_path / "project", "glob of a path")
    code, out, _ = run(tmp_path, "validate", where=where)
    assert code == 0
    assert "prepare.py:6: warning: " in out
    code, _, err = run(tmp_path, "validate", "--strict", where=where)
    assert code == 1
    assert "0 errors, 1 warning" in err


def test_validate_shows_brackets_and_no_secret(tmp_path: Path) -> None:
    _, out, _ = run(tmp_path, "validate", where=seeded(tmp_path / "a", "package of conda"))
    assert "`uvicorn[standard]` is not a pip package" in out
    code, out, err = run(tmp_path, "validate", where=seeded(tmp_path / "b", "password as an input"))
    assert code == 1
    assert "`db_password` holds a secret in the clear" in out
    assert "hunter2" not in out + err


def test_validate_of_a_model_that_is_not_there_is_a_wrong_usage(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "validate", "nyc_tax")
    assert code == 2
    assert "did you mean `nyc_taxi`?" in err


def test_up_starts_nothing_for_an_environment_with_a_hub_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "edgeferry.toml").write_text("")
    (tmp_path / "environments" / "prod.toml").write_text('[hub]\nhost = "prod.example"\n')
    code, _, err = run(tmp_path / "state", "up", "--env", "prod", where=tmp_path)
    assert code == 2
    assert "hub.host is set by environments/prod.toml" in err
    assert "nothing was started" in err
    assert not (tmp_path / "state").exists()


def test_ctrl_c_before_the_command_has_begun_ends_it_without_a_traceback(tmp_path: Path) -> None:
    code = """
import edgeferry.__main__, signal, sys
class Press:
    def find_spec(*_): signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
edgeferry.__main__.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""


@pytest.mark.parametrize("where", ["in the command", "before it"])
def test_ctrl_c_is_said_and_has_an_exit_code_of_its_own(tmp_path: Path, where: str) -> None:
    code = "import edgeferry.cli.main as m, signal; press = lambda: signal.raise_signal(signal.SIGINT); "
    lift = "['probe']" if where == "in the command" else "press()"
    code += f"m.lift_root_options = lambda a: {lift}; m.app.command('probe')(press); m.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_long_title_and_a_name_stay_whole_in_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    title, name = (
        "/a/folder/whose/name/is/longer/than/the/table",
        "a-name-that-must-stay-one-word-to-be-copied",
    )
    table = render_table(title, ["name", "meaning"], [[name, "word " * 30]])
    Terminal(Output.TABLE).answer([], [table])
    out = capsys.readouterr().out
    assert title in out
    assert name in out
