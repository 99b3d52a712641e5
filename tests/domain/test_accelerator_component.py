"""Component files of an accelerator project: which lines change, and that all others stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgeferry.adapters.documents import load_document
from edgeferry.domain.accelerator_component import Home, Recording, code_of, port_component
from edgeferry.domain.component_file import parse_component
from edgeferry.domain.finding import Fault, refuse_found
from edgeferry.errors import DefinitionError

REFERENCE = Path(__file__).parents[3] / "shared/reference/fixtures/reference-accelerator/components"
HOME = Home(
    "mlops/m/components/x.yml", "models/m/components/x.yml", "img:1", "models/m/environment/conda.yml"
)
STEP = """\
type: command
name: x
# what it is given
inputs:
    model_name:
        type: string
code: ./../../../
environment: azureml:env@latest

# and what it runs
command: >-
  python -m src.m_src.x.x
  --model_name ${{inputs.model_name}}
"""
RECORDING = Recording("${{inputs.model_name}}", True)


def ported(
    tmp_path: Path, text: str, recording: Recording | None = None, found: list[Fault] | None = None
) -> str:
    (tmp_path / "x.yml").write_text(text)
    document = load_document(tmp_path / "x.yml", refuse_found)
    assert document is not None
    content = yaml.safe_load(text)
    lines = {key: document.line((key,)) for key in content}
    report = (lambda fault: pytest.fail(str(fault))) if found is None else found.append
    return port_component(text, content, lines, HOME, "", recording, report)[0]


def test_only_code_and_environment_change(tmp_path: Path) -> None:
    text = ported(tmp_path, STEP)
    environment = "environment:\n  image: img:1\n  conda_file: ../environment/conda.yml\n"
    expected = STEP.replace("code: ./../../../", "code: ../../..")
    assert text == expected.replace("environment: azureml:env@latest\n", environment)


def test_a_registering_step_is_run_by_the_recorder_with_its_own_command(tmp_path: Path) -> None:
    text = ported(tmp_path, STEP, RECORDING)
    component = parse_component(yaml.safe_load(text))
    assert set(component.inputs) == {"held_out_predictions", "model_name"}
    assert component.outputs == {"registered": "uri_file"}
    assert component.command.endswith("-- python -m src.m_src.x.x --model_name ${{inputs.model_name}}")
    assert "# and what it runs" in text


def test_outputs_that_are_there_stay(tmp_path: Path) -> None:
    text = STEP.replace("code:", "outputs:\n  report:\n    type: uri_folder\ncode:")
    component = parse_component(yaml.safe_load(ported(tmp_path, text, Recording("m", False))))
    assert component.outputs == {"registered": "uri_file", "report": "uri_folder"}
    assert set(component.inputs) == {"model_name"}


def test_a_registering_command_that_needs_a_shell_is_told_of(tmp_path: Path) -> None:
    found: list[Fault] = []
    ported(tmp_path, STEP.replace("src.m_src.x.x", "src.m_src.x.x && true"), RECORDING, found)
    assert [(fault.rule, fault.key) for fault in found] == [("unreadable-command", ("command",))]


@pytest.mark.parametrize(
    ("code", "place"),
    [
        pytest.param("./../../../", "", id="the whole project"),
        pytest.param("../../../src", "src", id="a folder of it"),
        pytest.param("../src", "mlops/m/src", id="a folder of the model"),
        pytest.param(None, "", id="none"),
    ],
)
def test_the_code_folder_is_found(code: str | None, place: str) -> None:
    assert code_of({"code": code}, "mlops/m/components/x.yml", lambda fault: pytest.fail(str(fault))) == place


@pytest.mark.parametrize("code", ["../../../..", "/opt/code", "azureml:code:1", 7])
def test_code_that_leads_out_is_refused(code: object) -> None:
    found: list[Fault] = []
    code_of({"code": code}, "mlops/m/components/x.yml", found.append)
    assert [fault.key for fault in found] == [("code",)]


@pytest.mark.parametrize("name", ["prep", "transform", "train", "predict", "score", "register"])
def test_every_component_of_the_reference_is_one_of_ours_afterwards(tmp_path: Path, name: str) -> None:
    if not REFERENCE.is_dir():
        pytest.skip("the reference's components are not here: ../shared/reference")
    text = (REFERENCE / f"{name}.yml").read_text()
    with pytest.raises(DefinitionError, match="workspace only"):
        parse_component(yaml.safe_load(text))
    recording = RECORDING if name == "register" else None
    component = parse_component(yaml.safe_load(ported(tmp_path, text, recording)))
    assert component.code == "../../.."
