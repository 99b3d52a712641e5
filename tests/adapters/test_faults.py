"""All that is wrong with a project is found, at its line, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeferry.adapters.project import ProjectFolder
from edgeferry.domain.finding import RULES, Finding
from edgeferry.errors import DefinitionError
from tests.faults import FAULTS, PIPELINE, RANDOM, VALIDS, Edit, line_of, write_project

EXAMPLES = Path(__file__).parents[2] / "examples"


def find(root: Path) -> list[Finding]:
    return list(ProjectFolder(root).find_faults("demo"))


@pytest.mark.parametrize("edit", FAULTS, ids=lambda edit: edit.id)
def test_a_fault_is_found_at_its_line_and_nothing_else_is(tmp_path: Path, edit: Edit) -> None:
    root = write_project(tmp_path / "project", edit)
    found = find(root)
    expected = {
        (each.rule, each.file or edit.file, line_of((root / (each.file or edit.file)).read_text(), each.at))
        for each in edit.expected
    }
    assert {(each.rule, str(Path(each.file).relative_to(root)), each.line) for each in found} == expected
    for each in edit.expected:
        assert any(each.says in f"{one.problem} {one.fix}" for one in found if one.rule == each.rule)
    for one in found:
        assert one.fix
        assert one.severity == RULES[one.rule].severity
        assert not any(secret in f"{one.problem} {one.fix}" for secret in ("hunter2", RANDOM, "s3cr3t"))


@pytest.mark.parametrize("edit", VALIDS, ids=lambda edit: edit.id)
def test_a_valid_project_has_no_findings(tmp_path: Path, edit: Edit) -> None:
    assert find(write_project(tmp_path / "project", edit)) == []


@pytest.mark.parametrize(
    ("example", "model"), [("taxi", "nyc_taxi"), ("taxi", "london_taxi"), ("digits", "digits")]
)
def test_the_examples_have_no_findings(example: str, model: str) -> None:
    assert list(ProjectFolder(EXAMPLES / example).find_faults(model)) == []


def test_every_rule_is_broken_by_some_fault() -> None:
    assert {each.rule for edit in FAULTS for each in edit.expected} == set(RULES)


def test_what_is_found_as_an_error_in_a_document_also_stops_a_run(tmp_path: Path) -> None:
    edit = next(edit for edit in FAULTS if edit.id == "output that does not exist")
    project = ProjectFolder(write_project(tmp_path, edit))
    finding = project.find_faults("demo")[0]
    with pytest.raises(DefinitionError) as caught:
        project.load_pipeline(project.load_model("demo"))
    assert (caught.value.file, caught.value.line) == (finding.file, finding.line)
    assert caught.value.bare_problem == finding.problem
    assert caught.value.fix == finding.fix


def test_many_faults_are_found_at_once(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    pipeline = root / PIPELINE
    text = pipeline.read_text().replace("parent.inputs.raw}}", "parent.inputs.rwa}}")
    text = text.replace("jobs.train.outputs.model", "jobs.trian.outputs.model").replace(
        "type: pipeline", "tipe: 1"
    )
    pipeline.write_text(text)
    shutil.rmtree(root / "models/demo/environment")
    rules = [finding.rule for finding in find(root)]
    assert sorted(rules) == sorted(
        ["dangling-reference"] * 2 + ["unused-input", "unknown-key", "missing-key"] + ["missing-file"] * 3
    )
