"""A small valid project, edits that break it in one place each, and edits that leave it valid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

MODEL = "models/demo/model.yaml"
PIPELINE = "models/demo/pipeline.yml"
PREPARE = "models/demo/components/prepare.yml"
TRAIN = "models/demo/components/train.yml"
REGISTER = "models/demo/components/register.yml"
CONDA = "models/demo/environment/conda.yml"
CHECKS = "models/demo/smoke/checks.yml"
PREPARE_PY = "models/demo/src/prepare.py"
TRAIN_PY = "models/demo/src/train.py"
SAMPLE = "models/demo/given/sample.csv"

_COMPONENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: demo_{name}
version: "1"
inputs:
{inputs}
outputs:
{outputs}
code: ../src
environment:
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04
  conda_file: ../environment/conda.yml
command: >-
  python {name}.py {arguments}
"""

VALID = {
    "edgeferry.toml": "",
    MODEL: """\
description: A demonstration
prediction_column: predicted_y
latency_ms: 250
tolerance:
  rtol: 1e-9
""",
    PIPELINE: """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: demo
experiment_name: demo
inputs:
  raw:
    type: uri_folder
    path: ./data
  rate: 0.5
  model_name: demo
outputs:
  registered:
    type: uri_file
settings:
  default_compute: azureml:cpu-cluster
jobs:
  prepare:
    type: command
    component: ./components/prepare.yml
    inputs:
      raw: ${{parent.inputs.raw}}
  train:
    type: command
    component: ./components/train.yml
    inputs:
      rows: ${{parent.jobs.prepare.outputs.rows}}
      rate: ${{parent.inputs.rate}}
  register:
    type: command
    component: ./components/register.yml
    inputs:
      model: ${{parent.jobs.train.outputs.model}}
      metrics: ${{parent.jobs.train.outputs.metrics}}
      name: ${{parent.inputs.model_name}}
    outputs:
      version: ${{parent.outputs.registered}}
""",
    PREPARE: _COMPONENT.format(
        name="prepare",
        inputs="  raw:\n    type: uri_folder",
        outputs="  rows:\n    type: uri_folder",
        arguments="--raw ${{inputs.raw}} --rows ${{outputs.rows}}",
    ),
    TRAIN: _COMPONENT.format(
        name="train",
        inputs="  rows:\n    type: uri_folder\n  rate:\n    type: number\n    default: 0.1\n"
        "  note:\n    type: string\n    optional: true",
        outputs="  model:\n    type: mlflow_model\n  metrics:\n    type: uri_file",
        arguments="--rows ${{inputs.rows}} --rate ${{inputs.rate}} $[[--note '${{inputs.note}}']] "
        "--model ${{outputs.model}} --metrics ${{outputs.metrics}}",
    ),
    REGISTER: _COMPONENT.format(
        name="register",
        inputs="  model:\n    type: mlflow_model\n  metrics:\n    type: uri_file\n  name:\n    type: string",
        outputs="  version:\n    type: uri_file",
        arguments="--model ${{inputs.model}} --metrics ${{inputs.metrics}} --name ${{inputs.name}} "
        "--version ${{outputs.version}}",
    ),
    CONDA: """\
name: demo
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
      - pandas==3.1.1
      - mlflow-skinny==3.15.0
""",
    CHECKS: "- refused:\n    id: text\n    data: [[x]]\n",
    PREPARE_PY: """\
import sys
from pathlib import Path


def read(folder):
    return [path.read_text() for path in sorted(Path(folder).glob("*.csv"))]
""",
    TRAIN_PY: """\
import mlflow

mlflow.autolog(log_models=False)
mlflow.sklearn.save_model(None, "model")
""",
    "models/demo/data/a.csv": "x,y\n1,2\n",
    "models/demo/given/model/MLmodel": json.dumps(
        {"signature": {"inputs": json.dumps([{"type": "double", "name": name} for name in ("x", "z")])}}
    ),
    SAMPLE: "x,z,y\n1,2,3\n",
}


@dataclass(frozen=True)
class Expected:
    """A finding: its rule, the line (its number, all its text, or a part of it), words that are said."""

    rule: str
    at: str | int
    says: str = ""
    file: str = ""
    """When it is not the edited one."""


@dataclass(frozen=True)
class Edit:
    """One change of the valid project: `old` becomes `new` in `file` (all of it when `old` is empty)."""

    id: str
    file: str
    old: str
    new: str
    expected: tuple[Expected, ...] = ()


def fault(id: str, file: str, old: str, new: str, *expected: Expected) -> Edit:
    """An edit that must be found, all of it and nothing else."""
    assert expected
    return Edit(id, file, old, new, expected)


def write_project(root: Path, edit: Edit | None = None) -> Path:
    """The project's folder below `root`, with the edit made."""
    files = dict(VALID)
    if edit:
        if edit.old:
            assert files[edit.file].count(edit.old) == 1, f"{edit.old!r} must stand once in {edit.file}"
            files[edit.file] = files[edit.file].replace(edit.old, edit.new)
        else:
            files[edit.file] = edit.new
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    return root


def line_of(text: str, at: str | int) -> int:
    """The number of the line that `at` names."""
    if isinstance(at, int):
        return at
    lines = text.splitlines()
    whole = [number for number, line in enumerate(lines, start=1) if line.strip() == at]
    found = whole or [number for number, line in enumerate(lines, start=1) if at in line]
    assert len(found) == 1, f"{at!r} stands in {len(found)} lines"
    return found[0]


E = Expected
ROWS = "rows: ${{parent.jobs.prepare.outputs.rows}}"
RAW = "raw: ${{parent.inputs.raw}}"
RATE = "rate: ${{parent.inputs.rate}}"
NAME = "name: ${{parent.inputs.model_name}}"
METRICS = "metrics: ${{parent.jobs.train.outputs.metrics}}"
PROVIDED = "    outputs:\n      version: ${{parent.outputs.registered}}\n"
PIP = "      - pandas==3.1.1\n"
RANDOM = "a1B2c3D4e5F6g7H8" * 3
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N"
PEM = "-----BEGIN " + "PRIVATE KEY-----"
AUTOLOG = "mlflow.autolog(log_models=False)"
SORTED = 'sorted(Path(folder).glob("*.csv"))'
UNUSED_RAW = E("unused-input", "raw:", "no step uses")
UNUSED_RATE = E("unused-input", "rate: 0.5", "no step uses")


def condition(id: str, text: str, rule: str, says: str) -> Edit:
    line = f"target_condition: {json.dumps(text)}"
    before = "prediction_column: predicted_y\n"
    return fault(id, MODEL, before, f"{before}{line}\n", E(rule, "target_condition", says))


def listing(id: str, expression: str, imported: str = "") -> Edit:
    """The step's source reads its folder in the machine's order, by `expression`."""
    text = VALID[PREPARE_PY].replace("import sys", f"import sys{imported}").replace(SORTED, expression)
    return fault(id, PREPARE_PY, "", text, E("directory-order", expression, "sorted"))


FAULTS = [
    # rows given with a model
    fault("column that the sample lacks", SAMPLE, "x,z,y", "x,Z,y", E("missing-column", 1, "lacks z")),
    fault("sample that cannot be read", SAMPLE, "x,z,y", "x,x,y", E("wrong-sample", 1, "two columns x")),
    # references
    fault(
        "step that does not exist",
        PIPELINE,
        ROWS,
        "rows: ${{parent.jobs.prepar.outputs.rows}}",
        E("dangling-reference", "prepar.outputs", "did you mean `prepare`"),
    ),
    fault(
        "output that does not exist",
        PIPELINE,
        ROWS,
        "rows: ${{parent.jobs.prepare.outputs.rowz}}",
        E("dangling-reference", "outputs.rowz", "did you mean `rows`"),
    ),
    fault(
        "pipeline input that does not exist",
        PIPELINE,
        RATE,
        "rate: ${{parent.inputs.rat}}",
        E("dangling-reference", "inputs.rat}}", "did you mean `rate`"),
        UNUSED_RATE,
    ),
    fault(
        "pipeline output that does not exist",
        PIPELINE,
        "parent.outputs.registered",
        "parent.outputs.registerd",
        E("dangling-reference", "registerd", "did you mean `registered`"),
        E("unprovided-output", "registered:"),
    ),
    fault(
        "reference of no known form",
        PIPELINE,
        ROWS,
        "rows: ${{jobs.prepare.rows}}",
        E("dangling-reference", "jobs.prepare.rows", "cannot follow"),
    ),
    fault(
        "step that waits for itself",
        PIPELINE,
        ROWS,
        "rows: ${{parent.jobs.train.outputs.model}}",
        E("cycle", "rows: $", "train → train"),
    ),
    fault(
        "steps that wait for each other",
        PIPELINE,
        RAW,
        "raw: ${{parent.jobs.train.outputs.model}}",
        E("cycle", "raw: $", "prepare → train → prepare"),
        UNUSED_RAW,
    ),
    # kinds
    fault(
        "file wired to a folder",
        PIPELINE,
        "model: ${{parent.jobs.train.outputs.model}}",
        "model: ${{parent.jobs.train.outputs.metrics}}",
        E("kind-mismatch", "model: ${{parent.jobs", "uri_file is given where mlflow_model is wanted"),
    ),
    fault(
        "folder wired to a file",
        PIPELINE,
        METRICS,
        "metrics: ${{parent.jobs.train.outputs.model}}",
        E("kind-mismatch", "metrics: ${{parent.jobs", "mlflow_model is given where uri_file is wanted"),
    ),
    fault(
        "output of another kind than the step that takes it",
        PREPARE,
        "  rows:\n    type: uri_folder",
        "  rows:\n    type: uri_file",
        E("kind-mismatch", ROWS, "uri_file is given", PIPELINE),
    ),
    fault(
        "output of another kind than the pipeline's",
        PIPELINE,
        "  registered:\n    type: uri_file",
        "  registered:\n    type: uri_folder",
        E("kind-mismatch", "version: ${{", "uri_file is given"),
    ),
    fault(
        "text wired to a number",
        PIPELINE,
        "rate: 0.5",
        "rate: fast",
        E("kind-mismatch", RATE, "string is given where number is wanted"),
    ),
    fault(
        "literal of another type",
        PIPELINE,
        RATE,
        "rate: fast",
        E("kind-mismatch", "      rate: fast", "no number"),
        UNUSED_RATE,
    ),
    fault(
        "default of another type", TRAIN, "default: 0.1", "default: slow", E("kind-mismatch", "default: slow")
    ),
    # keys
    fault(
        "unknown key of the pipeline",
        PIPELINE,
        "type: pipeline",
        "type: pipeline\ntyype: x",
        E("unknown-key", "tyype: x", "did you mean `type`"),
    ),
    fault(
        "unknown key of settings",
        PIPELINE,
        "default_compute",
        "default_computer",
        E("unknown-key", "default_computer", "did you mean `default_compute`"),
        E("no-compute", "prepare:"),
        E("no-compute", "train:"),
        E("no-compute", "register:"),
    ),
    fault(
        "unknown key of a step",
        PIPELINE,
        "    component: ./components/prepare.yml",
        "    component: ./components/prepare.yml\n    inptus: {}",
        E("unknown-key", "inptus: {}", "did you mean `inputs`"),
    ),
    fault(
        "unknown key of a pipeline's input",
        PIPELINE,
        "path: ./data",
        "path: ./data\n    mod: ro_mount",
        E("unknown-key", "mod: ro_mount", "did you mean `mode`"),
    ),
    fault(
        "unknown key of a component",
        PREPARE,
        "code: ../src",
        "code: ../src\nis_determinstic: true",
        E("unknown-key", "is_determinstic", "did you mean `is_deterministic`"),
    ),
    fault(
        "unknown key of a component's input",
        PREPARE,
        "  raw:\n",
        "  raw:\n    descripton: x\n",
        E("unknown-key", "descripton", "did you mean `description`"),
    ),
    fault(
        "unknown key of the environment",
        PREPARE,
        "  image:",
        "  imagge: x\n  image:",
        E("unknown-key", "imagge: x", "did you mean `image`"),
    ),
    fault(
        "unknown key of the model",
        MODEL,
        "latency_ms",
        "latency",
        E("unknown-key", "latency", "`latency_ms`"),
    ),
    fault("unknown key of the tolerance", MODEL, "rtol", "rtoll", E("unknown-key", "rtoll", "`rtol`")),
    fault(
        "unknown key of the conda file",
        CONDA,
        "channels",
        "chanels",
        E("unknown-key", "chanels", "`channels`"),
    ),
    fault(
        "key twice",
        MODEL,
        "latency_ms: 250",
        "latency_ms: 250\nlatency_ms: 9",
        E("duplicate-key", "latency_ms: 9", "twice"),
    ),
    fault(
        "key twice, deep inside",
        PIPELINE,
        RAW,
        f"{RAW}\n      raw: again",
        E("duplicate-key", "raw: again"),
        E("fixed-path", RAW),
        UNUSED_RAW,
    ),
    fault(
        "step without a component",
        PIPELINE,
        "    component: ./components/train.yml\n",
        "",
        E("missing-key", "train:", "`component` is missing"),
    ),
    fault(
        "model without its prediction column",
        MODEL,
        "prediction_column: predicted_y\n",
        "",
        E("missing-key", 1, "`prediction_column` is missing"),
    ),
    # values
    fault("text for a number", MODEL, "rtol: 1e-9", "rtol: small", E("wrong-value", "rtol: small")),
    fault(
        "unknown type",
        PREPARE,
        "  raw:\n    type: uri_folder",
        "  raw:\n    type: uri_foldr",
        E("wrong-value", "uri_foldr", "did you mean `uri_folder`"),
    ),
    fault(
        "a check of an unknown kind",
        CHECKS,
        "",
        "- refused:\n    id: a\n    data: 1\n- rising:\n    id: b\n",
        E("wrong-value", 4, "'rising' is not a kind of check"),
    ),
    fault(
        "a check without room between",
        CHECKS,
        "",
        "- between:\n    id: a\n    low: 2\n    high: 1\n    data: [[1]]\n",
        E("wrong-value", 4, "high 1 is below low 2"),
    ),
    fault("checks that are no list", CHECKS, "", "refused:\n", E("wrong-value", 1, "not a list")),
    fault(
        "name that cannot be referred to",
        PIPELINE,
        "rate: 0.5",
        "rate: 0.5\n  top-speed: 1",
        E("wrong-name", "top-speed", "no name"),
        E("unused-input", "top-speed"),
    ),
    fault(
        "pipeline of another type",
        PIPELINE,
        "type: pipeline",
        "type: command",
        E("unsupported-job", 2, "not a pipeline job"),
    ),
    fault(
        "step of another type",
        PIPELINE,
        "  prepare:\n    type: command",
        "  prepare:\n    type: sweep",
        E("unsupported-job", "type: sweep", "no command"),
    ),
    fault(
        "component of another type",
        PREPARE,
        "type: command",
        "type: pipeline",
        E("unsupported-job", "type: pipeline"),
    ),
    fault("no YAML", MODEL, "tolerance:", "tolerance", E("not-yaml", "rtol", "not YAML")),
    fault("a list where names are wanted", CONDA, "", "- python\n", E("not-yaml", 1, "not a mapping")),
    # what a workspace knows
    fault(
        "component of a workspace",
        PIPELINE,
        "./components/train.yml",
        "azureml:train:1",
        E("workspace-only", "azureml:train:1"),
    ),
    fault(
        "environment of a workspace",
        PREPARE,
        "environment:\n  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04\n"
        "  conda_file: ../environment/conda.yml",
        "environment: azureml:sklearn@latest",
        E("workspace-only", "azureml:sklearn@latest"),
    ),
    # inputs and outputs
    fault(
        "input without value",
        PIPELINE,
        f"      {NAME}\n",
        "",
        E("missing-input", 31, "gives no value to the input `name`"),
        E("unused-input", "model_name: demo"),
    ),
    fault(
        "pipeline input without value",
        PIPELINE,
        "model_name: demo",
        "model_name:",
        E("missing-input", "model_name:", "no value"),
    ),
    fault(
        "input that is not declared",
        PIPELINE,
        RATE,
        f"{RATE}\n      colour: red",
        E("unknown-input", "colour: red", "known here: note, rate, rows"),
    ),
    fault("path inside a step", PIPELINE, RAW, "raw: ./data", E("fixed-path", "raw: ./data"), UNUSED_RAW),
    fault(
        "default of a path",
        PREPARE,
        "  raw:\n",
        "  raw:\n    default: ./data\n",
        E("fixed-path", "default: ./data"),
    ),
    fault(
        "nothing said of compute",
        PIPELINE,
        "settings:\n  default_compute: azureml:cpu-cluster\n",
        "",
        E("no-compute", "prepare:", "default_compute"),
        E("no-compute", "train:"),
        E("no-compute", "register:"),
    ),
    fault(
        "output that no step provides",
        PIPELINE,
        PROVIDED,
        "",
        E("unprovided-output", "registered:", "no step"),
    ),
    fault(
        "pipeline that does not say what it registered",
        PIPELINE,
        "",
        VALID[PIPELINE].replace(PROVIDED, "").replace("outputs:\n  registered:\n    type: uri_file\n", ""),
        E("missing-key", 1, "`registered` is missing"),
    ),
    fault(
        "output that two steps provide",
        PIPELINE,
        RATE,
        f"{RATE}\n    outputs:\n      metrics: ${{{{parent.outputs.registered}}}}",
        E("unprovided-output", "registered:", "train and register"),
    ),
    fault(
        "input that the command does not use",
        PREPARE,
        "inputs:\n",
        "inputs:\n  hue:\n    type: string\n    default: a\n",
        E("unused-input", "hue:", "does not use `hue`"),
    ),
    fault(
        "output that the command is not told of",
        PREPARE,
        "outputs:\n",
        "outputs:\n  log:\n    type: uri_file\n",
        E("unused-output", "log:", "not told of `log`"),
    ),
    fault(
        "pipeline input that no step uses",
        PIPELINE,
        "rate: 0.5",
        "rate: 0.5\n  speed: 1",
        E("unused-input", "speed: 1", "no step uses the input `speed`"),
    ),
    # commands
    fault(
        "undeclared output in the command",
        PREPARE,
        "${{outputs.rows}}",
        "${{outputs.rowz}}",
        E("undeclared-in-command", "command: >-", "did you mean `rows`"),
        E("unused-output", "rows:"),
    ),
    fault(
        "undeclared input in the command",
        PREPARE,
        "${{inputs.raw}}",
        "${{inputs.rawr}}",
        E("undeclared-in-command", "command: >-", "did you mean `raw`"),
        E("unused-input", "raw:"),
    ),
    fault(
        "undeclared input in an optional group",
        TRAIN,
        "${{inputs.note}}",
        "${{inputs.nota}}",
        E("undeclared-in-command", "command: >-", "did you mean `note`"),
        E("unused-input", "note:"),
    ),
    fault(
        "unknown root in the command",
        PREPARE,
        "${{outputs.rows}}",
        "${{output.rows}}",
        E("undeclared-in-command", "command: >-", "cannot fill in"),
        E("unused-output", "rows:"),
    ),
    fault(
        "optional input outside a group",
        TRAIN,
        "$[[--note '${{inputs.note}}']]",
        "--note '${{inputs.note}}'",
        E("optional-outside-group", "command: >-", "may be absent"),
    ),
    fault(
        "open quotation mark",
        PREPARE,
        "python prepare.py",
        "python 'prepare.py",
        E("unreadable-command", "command: >-", "quotation"),
    ),
    # secrets
    fault(
        "password as an input",
        PIPELINE,
        "rate: 0.5",
        "rate: 0.5\n  db_password: hunter2",
        E("plain-secret", "db_password", "keyvault://"),
        E("unused-input", "db_password"),
    ),
    fault(
        "connection string as an input",
        PIPELINE,
        "model_name: demo",
        f"model_name: a;AccountKey={RANDOM}",
        E("plain-secret", "model_name:", "keyvault://"),
    ),
    fault(
        "token as an input of a step",
        PIPELINE,
        RATE,
        f"{RATE}\n      note: {JWT}",
        E("plain-secret", "note: eyJ", "keyvault://"),
    ),
    fault(
        "token as a variable of a component",
        PREPARE,
        "code: ../src",
        "code: ../src\nenvironment_variables:\n  API_TOKEN: abc",
        E("plain-secret", "API_TOKEN", "keyvault://"),
    ),
    fault(
        "key as a variable of a step",
        PIPELINE,
        RATE,
        f"{RATE}\n    environment_variables:\n      STORAGE_KEY: abc",
        E("plain-secret", "STORAGE_KEY", "keyvault://"),
    ),
    fault(
        "key in a command",
        PREPARE,
        "python prepare.py",
        "python prepare.py --id AKIA" + "IOSFODNN7EXAMPLE",
        E("plain-secret", "command: >-", "looks like a key"),
    ),
    fault(
        "private key in a description", MODEL, "A demonstration", f"'{PEM}'", E("plain-secret", "description")
    ),
    fault(
        "password of a package index",
        CONDA,
        PIP,
        f"{PIP}      - --index-url https://me:s3cr3" + "t@host/simple\n",
        E("plain-secret", "--index-url"),
        E("conda-requirement", "--index-url", "not a package requirement"),
    ),
    # paths
    fault("data that is not there", PIPELINE, "path: ./data", "path: ./dataa", E("missing-file", "./dataa")),
    fault(
        "absolute path that is not there",
        PIPELINE,
        "path: ./data",
        "path: /no/such/data",
        E("missing-file", "/no/such"),
    ),
    fault(
        "path out of the project that is not there",
        PIPELINE,
        "path: ./data",
        "path: ../../../no-data",
        E("missing-file", "no-data"),
    ),
    fault(
        "file wanted, folder there",
        PIPELINE,
        "    type: uri_folder\n    path",
        "    type: uri_file\n    path",
        E("missing-file", "path: ./data", "is a folder"),
        E("kind-mismatch", RAW),
    ),
    fault(
        "component that is not there",
        PIPELINE,
        "components/train.yml",
        "components/trian.yml",
        E("missing-file", "trian.yml"),
    ),
    fault("code that is not there", PREPARE, "../src", "../sourc", E("missing-file", "../sourc")),
    fault(
        "conda file that is not there", PREPARE, "conda.yml", "conda.yaml", E("missing-file", "conda.yaml")
    ),
    fault(
        "pipeline that is not there",
        MODEL,
        "latency_ms",
        "pipeline: no.yml\nlatency_ms",
        E("missing-file", "no.yml"),
    ),
    fault(
        "absolute path",
        PIPELINE,
        "path: ./data",
        "path: /usr/share",
        E("absolute-path", "/usr/share", "this machine only"),
    ),
    fault(
        "path out of the project",
        PIPELINE,
        "path: ./data",
        "path: ../../..",
        E("outside-project", "../../.."),
    ),
    fault(
        "path out of the model",
        MODEL,
        "latency_ms",
        "held_out: ../x.csv\nlatency_ms",
        E("outside-model", "../x.csv"),
    ),
    fault(
        "runtime without its file",
        MODEL,
        "latency_ms",
        "runtime: own\nlatency_ms",
        E("serving-conflict", "runtime: own", "needs a Dockerfile"),
    ),
    # libraries
    fault(
        "open version of Python", CONDA, "python=3.11", "python>=3.9", E("conda-requirement", "python>=3.9")
    ),
    fault(
        "package of conda",
        CONDA,
        "  - pip\n",
        "  - pip\n  - uvicorn[standard]\n",
        E("conda-requirement", "uvicorn[standard]"),
    ),
    fault("option of pip", CONDA, PIP, f"{PIP}      - -r more.txt\n", E("conda-requirement", "-r more.txt")),
    # target conditions
    condition("condition nobody can read", "tags.line ==", "wrong-value", "column 12"),
    condition("condition on modules", "FROM devices.modules WHERE a = 1", "wrong-value", "for modules"),
    condition("function that Azure lacks", "LOWER(tags.line) = 'a'", "unportable-condition", "LOWER()"),
    condition("double quotes", 'tags.line = "a"', "unportable-condition", "write 'a'"),
    condition("reported property", "properties.reported.x = 1", "unportable-condition", "reported.x"),
    condition("exclusion of a tag's value", "tags.line != 'a'", "missing-tag", "is_defined(tags.line)"),
    # what would leave
    fault(
        "key in the code",
        "models/demo/src/hub.pem",
        "",
        "x",
        E("key-in-code", "code: ../src", "hub.pem", PREPARE),
    ),
    fault(
        "key in the code, by content",
        "models/demo/src/notes.txt",
        "",
        f"{PEM}\n",
        E("key-in-code", "code: ../src", "holds a private key", PREPARE),
    ),
    fault(
        "code folder that takes a repository along",
        "models/demo/src/.git/config",
        "",
        "x",
        E("wide-code", "code: ../src", ".git", PREPARE),
    ),
    fault(
        "code folder above the project",
        PREPARE,
        "code: ../src",
        "code: ../../../..",
        E("wide-code", "code: ../../../..", "holds this project and more"),
        E("outside-project", "code: ../../../.."),
    ),
    # sources
    listing("glob of a path", 'Path(folder).glob("*.csv")'),
    listing("rglob of a path", 'list(Path(folder).rglob("*.csv"))'),
    listing("iterdir", "Path(folder).iterdir()"),
    listing("os.listdir", "os.listdir(folder)", "\nimport os"),
    listing("os.scandir under another name", "look(folder)", "\nfrom os import scandir as look"),
    listing("glob.glob", 'glob.glob(f"{folder}/*")', "\nimport glob"),
    fault(
        "autolog of models",
        TRAIN_PY,
        AUTOLOG,
        "mlflow.autolog()",
        E("log-model", "autolog", "log_models=False"),
    ),
    fault(
        "log_model",
        TRAIN_PY,
        'mlflow.sklearn.save_model(None, "model")',
        'mlflow.sklearn.log_model(None, "model")',
        E("log-model", "log_model(", "save_model"),
    ),
    fault(
        "log_model under another name",
        TRAIN_PY,
        "import mlflow",
        "import mlflow\nfrom mlflow.sklearn import log_model as keep\nkeep(1)",
        E("log-model", "keep(1)", "mlflow.sklearn.log_model"),
    ),
    fault("no Python", TRAIN_PY, "", "a = (\n", E("not-python", 1)),
]

VALIDS = [
    Edit(
        "target condition that says what becomes of devices without the tag",
        MODEL,
        "tolerance:",
        "target_condition: tags.line != 'a' OR NOT is_defined(tags.line)\ntolerance:",
    ),
    Edit("as it is", MODEL, "A demonstration", "Another demonstration"),
    Edit("number for an optional text in quotes", PIPELINE, RATE, f"{RATE}\n      note: '5'"),
    Edit("integer where a number is wanted", PIPELINE, "rate: 0.5", "rate: 1"),
    Edit("default left out of a step", TRAIN, "default: 0.1", "default: 2"),
    Edit(
        "model taken as a folder",
        REGISTER,
        "  model:\n    type: mlflow_model",
        "  model:\n    type: uri_folder",
    ),
    Edit("compute of the whole job", PIPELINE, "settings:\n  default_compute:", "compute:"),
    Edit("always run again", PIPELINE, "settings:\n", "settings:\n  force_rerun: true\n"),
    Edit("data of a workspace", PIPELINE, "path: ./data", "path: azureml:trips:1"),
    Edit("data of a store", PIPELINE, "path: ./data", "path: azureml://datastores/blob/paths/trips"),
    Edit("data at an address", PIPELINE, "path: ./data", "path: https://host/trips"),
    Edit("input with a mode", PIPELINE, "path: ./data", "path: ./data\n    mode: ro_mount"),
    Edit(
        "password in a vault",
        PREPARE,
        "code: ../src",
        "code: ../src\nenvironment_variables:\n  DB_PASSWORD: keyvault://vault/db-password",
    ),
    Edit(
        "variable that is no secret",
        PREPARE,
        "code: ../src",
        "code: ../src\nenvironment_variables:\n  SORT_KEY: trip_id\n  PAD_TOKEN: '[PAD]'",
    ),
    Edit("step that is never reused", PREPARE, "code: ../src", "code: ../src\nis_deterministic: false"),
    Edit("signs of the shell", PREPARE, "python prepare.py", "mkdir -p x && python prepare.py"),
    Edit("blanks in a reference", PREPARE, "${{inputs.raw}}", "${{ inputs.raw }}"),
    Edit("conda file without Python", CONDA, "  - python=3.11\n", ""),
    Edit("patch version of Python", CONDA, "python=3.11", "python=3.11.*"),
    Edit(
        "requirement with extras",
        CONDA,
        PIP,
        f"{PIP}      - 'uvicorn[standard]>=0.30; python_version > \"3\"'\n",
    ),
    Edit("no checks", CHECKS, "", ""),
    Edit("key that is ignored", "models/demo/src/.gitignore", "", "*.pem\n"),
    Edit("certificate in the code", "models/demo/src/ca.crt", "", "-----BEGIN CERTIFICATE-----\n"),
    Edit(
        "listing sorted later",
        PREPARE_PY,
        "import sys",
        'from pathlib import Path\n\n\ndef look(folder):\n    files = list(Path(folder).glob("*"))\n'
        "    files.sort()\n    return files\n\n\nimport sys",
    ),
    Edit(
        "listing counted",
        PREPARE_PY,
        "import sys",
        'import os\nprint(len(os.listdir(".")), "a" in os.listdir("."))',
    ),
    Edit(
        "listing of a set", PREPARE_PY, "import sys", 'import glob\nprint({name for name in glob.glob("*")})'
    ),
    Edit(
        "listing of files to remove",
        PREPARE_PY,
        "import sys",
        'from pathlib import Path\nfor file in Path(".").glob("*.tmp"):\n    file.unlink()',
    ),
    Edit(
        "folder asked whether it is empty",
        PREPARE_PY,
        "import sys",
        'import os\nif not os.listdir("."):\n    raise SystemExit("empty")',
    ),
    Edit(
        "two listings sorted as one",
        PREPARE_PY,
        SORTED,
        'sorted([*Path(folder).glob("a*"), *Path(folder).glob("b*")])',
    ),
    Edit("autolog of parameters only", TRAIN_PY, AUTOLOG, "mlflow.sklearn.autolog(log_models=False)"),
]
