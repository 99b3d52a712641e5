"""What a step's source shows by form alone."""

from __future__ import annotations

import pytest

from edgeferry.domain.step_source import find_source_faults

IMPORTS = "import os, glob, shutil\nfrom os import listdir\nfrom collections import Counter\n"


def lines(body: str) -> list[int]:
    """The lines of the findings, counted from the first after the imports."""
    offset = IMPORTS.count("\n")
    return [each.line - offset for each in find_source_faults(IMPORTS + body)]


@pytest.mark.parametrize(
    "body",
    [
        "for f in p.iterdir():\n    read(f)",
        "x = [f for f in os.listdir(d)]",
        "x = {f: 1 for f in listdir(d)}",
        "x = next(p.glob('*.csv'))",
        "x = list(enumerate(p.rglob('*')))",
        "x = sorted(os.listdir(d) for d in ds)",
        "x = pd.concat(map(pd.read_csv, glob.iglob('*')))",
        "files = list(p.glob('*'))\nfirst = files[0]",
        "def f():\n    return d.glob('*')",
        "with os.scandir(d) as entries:\n    x = [e for e in entries]",
        "for f in p.glob('*'):\n    f.unlink()\nelse:\n    pass\nfor f in p.glob('*'):\n    rows.append(f)",
    ],
)
def test_the_order_of_a_folder_is_seen(body: str) -> None:
    found = lines(body)
    assert len(found) == 1
    assert "sorted" in find_source_faults(IMPORTS + body)[0].fault.fix
    text = body.splitlines()[found[0] - 1]
    assert any(word in text for word in ("glob", "listdir", "iterdir", "scandir"))


@pytest.mark.parametrize(
    "body",
    [
        "for f in sorted(p.iterdir()):\n    read(f)",
        "x = sorted(f for f in os.listdir(d) if f)",
        "x = sorted([*p.glob('a'), *p.glob('b')], key=str)",
        "x = sorted(list(p.glob('a')) + list(p.glob('b')))",
        "x = set(listdir(d))\ny = {f for f in listdir(d)}",
        "x = len(list(p.glob('*')))",
        "x = any(f.suffix for f in p.iterdir())",
        "x = Counter(f.suffix for f in p.iterdir())",
        "x = max(p.glob('*'), key=os.path.getmtime)",
        "if os.listdir(d):\n    pass",
        "x = not os.listdir(d)",
        "x = 'a' in os.listdir(d)",
        "files = list(p.glob('*'))\nfiles.sort()",
        "files: list = glob.glob('*')\nfor f in sorted(files):\n    read(f)",
        "files = os.listdir(d)\nprint(len(files))",
        "with os.scandir(d) as entries:\n    x = sorted(e.name for e in entries)",
        "for f in p.glob('*.tmp'):\n    f.unlink()",
        "for f in p.glob('*'):\n    if f.is_dir():\n        shutil.rmtree(f)\n    else:\n        f.unlink()",
        "x = re.glob('a')",
        "x = tree.walk()",
    ],
)
def test_an_order_that_is_settled_or_means_nothing_is_not(body: str) -> None:
    assert lines(body) == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("import mlflow\nmlflow.autolog()", 2),
        ("import mlflow.sklearn\nmlflow.sklearn.autolog(log_models=True)", 2),
        ("import mlflow\nmlflow.autolog(log_models=flag)", 2),
        ("from mlflow import sklearn as s\n\ns.log_model(m)", 3),
        ("from mlflow.pyfunc import log_model\nlog_model(m)", 2),
    ],
)
def test_interfaces_that_azure_mls_server_lacks_are_seen(source: str, line: int) -> None:
    assert [(each.fault.rule, each.line) for each in find_source_faults(source)] == [("log-model", line)]


@pytest.mark.parametrize(
    "source",
    [
        "import mlflow\nmlflow.autolog(log_models=False, silent=True)",
        "import mlflow\nmlflow.sklearn.save_model(m, 'x')\nmlflow.log_artifacts('x', 'model')",
        "import mine\nmine.log_model(m)",
        "def log_model(m): ...\nlog_model(1)",
    ],
)
def test_the_portable_way_passes(source: str) -> None:
    assert find_source_faults(source) == ()


def test_what_python_cannot_read_is_said_with_its_line() -> None:
    found = find_source_faults("a = 1\nb = = 2\n")
    assert [(each.fault.rule, each.line) for each in found] == [("not-python", 2)]
    assert find_source_faults("a = '\0'")[0].fault.rule == "not-python"
