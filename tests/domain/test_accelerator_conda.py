"""The conda file of an accelerator project: what is changed, for which reason, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeferry.adapters.documents import load_document
from edgeferry.domain.accelerator_conda import PYTHON, REGISTRY, Port, port_conda
from edgeferry.domain.component_file import parse_conda
from edgeferry.domain.finding import refuse_found

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared/reference/fixtures/reference-accelerator/conda.yml"

PLAIN = """\
name: cabs   # ours
dependencies:
  - python=3.8
  - pip
  - pip:
    - pandas==3.1.1
    # how far it goes
    - mlflow==2.1.1
"""


def ported(tmp_path: Path, text: str, imported: set[str] | None = None) -> Port:
    (tmp_path / "conda.yml").write_text(text)
    document = load_document(tmp_path / "conda.yml", refuse_found)
    assert document is not None
    listed = yaml.safe_load(text)["dependencies"]
    return port_conda(
        text, listed, document.line, imported or set(), "c.yml", "models/m/environment/conda.yml"
    )


def requirements(port: Port) -> set[str]:
    python, found = parse_conda(yaml.safe_load(port.text))
    assert python == PYTHON
    return set(found) - set(REGISTRY)


@pytest.mark.parametrize(
    ("line", "imported", "kept"),
    [
        pytest.param("    - pandas==3.1.1", set(), {"pandas==3.1.1"}, id="a library is kept"),
        pytest.param("    - mlflow==2.1.1", set(), set(), id="another MLflow shares no registry"),
        pytest.param("    - SQLAlchemy<2", set(), set(), id="nor does what MLflow stands on"),
        pytest.param("    - azure-ai-ml==1.5.0", set(), set(), id="what submits is not for steps"),
        pytest.param("    - azure-identity", {"azure"}, {"azure-identity"}, id="unless a step imports it"),
        pytest.param("    - mlflow-extra==1", set(), {"mlflow-extra==1"}, id="a name that only begins so"),
    ],
)
def test_a_pip_requirement(tmp_path: Path, line: str, imported: set[str], kept: set[str]) -> None:
    text = f"dependencies:\n  - python=3.11\n  - pip:\n{line}\n"
    port = ported(tmp_path, text, imported)
    assert requirements(port) == kept
    assert [str(each.origin) for each in port.placed] == ([] if kept else ["c.yml:4"])


@pytest.mark.parametrize(
    ("item", "requirement"),
    [
        ("numpy=1.26.4", "numpy==1.26.4"),
        ("numpy>=1.26", "numpy>=1.26"),
        ("conda-forge::lightgbm==4.7.0", "lightgbm==4.7.0"),
        ("xgboost", "xgboost"),
    ],
)
def test_a_conda_package_becomes_pips(tmp_path: Path, item: str, requirement: str) -> None:
    port = ported(tmp_path, f"dependencies:\n  - python=3.11\n  - {item}\n  - pip:\n    - pandas\n")
    assert requirements(port) == {"pandas", requirement}
    assert requirement in port.placed[0].reason


def test_a_file_without_pip_gets_it(tmp_path: Path) -> None:
    assert requirements(ported(tmp_path, "dependencies:\n  - python=3.9\n  - numpy=2.4.6\n")) == {
        "numpy==2.4.6"
    }


def test_comments_and_what_is_not_changed_stay(tmp_path: Path) -> None:
    port = ported(tmp_path, PLAIN)
    assert "name: cabs   # ours" in port.text
    assert "    # how far it goes" in port.text
    assert requirements(port) == {"pandas==3.1.1"}
    assert [(each.what, each.origin.line) for each in port.placed] == [
        ("python=3.8", 3),
        ("mlflow==2.1.1", 8),
    ]


@pytest.mark.parametrize(
    ("requirement", "told"), [("scikit-learn==1.2.0", True), ("scikit-learn==1.5.2", False)]
)
def test_a_library_too_old_for_this_python_is_told_of(tmp_path: Path, requirement: str, told: bool) -> None:
    port = ported(tmp_path, f"dependencies:\n  - python=3.11\n  - pip:\n    - {requirement}\n")
    assert [str(edit.origin) for edit in port.edits] == (["models/m/environment/conda.yml:4"] if told else [])
    assert requirement in port.text


def test_the_versions_are_those_that_the_examples_run_with() -> None:
    text = (ROOT / "examples" / "taxi" / "shared" / "environment" / "conda.yml").read_text()
    python, found = parse_conda(yaml.safe_load(text))
    assert (python, set(REGISTRY) - set(found)) == (PYTHON, set())


def test_the_references_own_file_can_be_read_afterwards(tmp_path: Path) -> None:
    if not REFERENCE.is_file():
        pytest.skip("the reference's conda file is not here: ../shared/reference")
    port = ported(tmp_path, REFERENCE.read_text())
    assert requirements(port) == {"pandas", "scikit-learn==1.2.0"}
    assert ["scikit-learn==1.2.0" in edit.problem for edit in port.edits] == [True]
