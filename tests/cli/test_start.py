"""How a command starts: it reads in what it uses, and lists of commands say what the commands say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeferry.cli.commands import LISTED
from tests.commands import ROOT
from tests.typed import clean_environment

TAXI = Path(__file__).parents[2] / "examples" / "taxi"
EXTRAS = {
    "alembic",
    "azure",
    "copier",
    "mlflow",
    "numpy",
    "onnx",
    "pandas",
    "pyarrow",
    "sqlalchemy",
    "uvicorn",
}
SERVERS = {"cryptography", "docker", "httpx", "paho", "requests", "ssl", "starlette"}
"""What speaks to engines, servers and devices."""
ALL = EXTRAS | SERVERS | {"lark", "yaml", "edgeferry.adapters", "edgeferry.wiring", "edgeferry.workflows"}

PROGRAM = """
import sys
from edgeferry.__main__ import main
try:
    main()
finally:
    print("", *sys.modules, sep="\\n", file=sys.stderr)
"""


def read_in(line: str) -> set[str]:
    """The modules that a fresh process has read in once it has run the command."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *line.split()],
        capture_output=True,
        text=True,
        cwd=TAXI,
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines())


@pytest.mark.parametrize(
    ("line", "heavy"),
    [
        pytest.param("--version", ALL | {"rich"}, id="the version"),
        pytest.param("--help", ALL, id="the list of commands"),
        pytest.param("plan --help", EXTRAS | SERVERS | {"yaml"}, id="a command's help"),
        pytest.param("ci github --help", EXTRAS | SERVERS | {"yaml"}, id="the help of a command in a group"),
        pytest.param("validate", EXTRAS | SERVERS, id="a command that reads the project"),
        pytest.param("devices --help", EXTRAS | SERVERS, id="a group's help"),
    ],
)
def test_a_command_reads_in_no_library_that_it_does_not_use(line: str, heavy: set[str]) -> None:
    assert read_in(line) & heavy == set()


def test_commands_are_listed_as_their_modules_have_them() -> None:
    assert {each.name: each.about for each in LISTED} == {
        name: command.help.partition("\n\n")[0] for name, command in ROOT.commands.items()
    }
