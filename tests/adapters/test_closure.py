"""Which modules go into an image: exactly those its program imports, and none that its image cannot serve."""

from __future__ import annotations

import ast
import importlib.resources
import sys
from pathlib import Path

import pytest

from edgeferry.adapters.closure import load_closure
from edgeferry.errors import EdgeferryError

IMPORT_NAMES = {"pillow": "PIL", "paho-mqtt": "paho", "typing-extensions": "typing_extensions"}
LIBRARIES = {"runtime_library.py": {"pandas", "skops"}, "runtime_pyfunc.py": {"mlflow", "pandas"}}
"""What a layer of the model's own brings."""
PROGRAMS = {
    "server": "edgeferry.device.modules.server",
    "companion": "edgeferry.device.modules.companion",
    "agent": "edgeferry.device.__main__",
}


def roots(source: bytes) -> set[str]:
    """The top-level names that a source imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_server_takes_what_it_imports_and_their_packages() -> None:
    paths = set(load_closure("edgeferry.device.modules.server"))
    assert paths >= {
        "edgeferry/__init__.py",
        "edgeferry/errors.py",
        "edgeferry/device/__init__.py",
        "edgeferry/device/modules/__init__.py",
        "edgeferry/device/modules/server.py",
        "edgeferry/wire/__init__.py",
        "edgeferry/wire/serving.py",
    }
    assert not [
        path for path in paths if path.startswith(("edgeferry/hub/", "edgeferry/adapters/", "edgeferry/cli/"))
    ]
    assert "edgeferry/engine.py" not in paths


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_imports_nothing_that_its_image_lacks(program: str) -> None:
    folder = importlib.resources.files("edgeferry.adapters") / "requirements"
    files = [f"{program}.txt"] + (["images.txt"] if program == "server" else [])  # a layer of its own
    lines = [line for file in files for line in (folder / file).read_text("utf-8").splitlines()]
    names = {line.partition("==")[0] for line in lines if "==" in line and not line.startswith(("#", " "))}
    there = {IMPORT_NAMES.get(name, name) for name in names} | {"edgeferry"} | sys.stdlib_module_names
    for path, source in load_closure(PROGRAMS[program]).items():
        of_the_model = LIBRARIES.get(path.rpartition("/")[2], set())
        assert roots(source) <= there | of_the_model, path


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("import edgeferry.a.b", id="by its name"),
        pytest.param("from edgeferry.a.b import x", id="for something in it"),
        pytest.param("from edgeferry.a import b", id="from its package"),
        pytest.param("def f():\n    from edgeferry.a import b", id="inside a function"),
    ],
)
def test_an_imported_module_is_found_with_its_packages(tmp_path: Path, line: str) -> None:
    package = tmp_path / "edgeferry" / "a"
    package.mkdir(parents=True)
    for name in (
        "edgeferry/__init__.py",
        "edgeferry/a/__init__.py",
        "edgeferry/a/b.py",
        "edgeferry/unused.py",
    ):
        (tmp_path / name).touch()
    (tmp_path / "edgeferry" / "main.py").write_text(line)
    assert list(load_closure("edgeferry.main", tmp_path)) == [
        "edgeferry/__init__.py",
        "edgeferry/a/__init__.py",
        "edgeferry/a/b.py",
        "edgeferry/main.py",
    ]


def test_a_program_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(EdgeferryError, match="not part of this installation"):
        load_closure("edgeferry.device.modules.nothing")
