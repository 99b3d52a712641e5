"""A device needs the core's dependencies and no extra's."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.commands import late_modules

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DEVELOPMENT = "dev"


def extra_modules() -> set[str]:
    """Top-level modules of the distributions that only extras name, `azure.ai.ml` and its kin as `azure`."""
    lines = [
        line
        for extra, wanted in PROJECT["optional-dependencies"].items()
        if extra != DEVELOPMENT
        for line in wanted
    ]
    names = {re.split(r"[\[<>=~ ]", line)[0].lower() for line in lines} - {"edgeferry"}
    found = importlib.metadata.packages_distributions().items()
    return {module for module, of in found if names & {name.lower() for name in of}}


BLOCKED = """
import sys
blocked = {blocked!r}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
{then}
"""


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(
            "blocked |= {'typer', 'lark', 'yaml'}; import edgeferry.device.__main__", id="the agent"
        ),
        pytest.param(
            "sys.argv = ['edgeferry', 'agent', '--help']; from edgeferry.cli.main import main; main()",
            id="its commands",
        ),
        pytest.param(
            f"import importlib; [importlib.import_module(name) for name in {late_modules()}]", id="all else"
        ),
    ],
)
def test_a_device_needs_nothing_of_the_extras(then: str) -> None:
    blocked = extra_modules()
    assert {"filelock", "uvicorn", "mlflow", "azure", "sqlalchemy"} <= blocked
    program = BLOCKED.format(blocked=blocked, then=then)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
