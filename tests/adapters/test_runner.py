"""The local runner: real processes, a real registry of models; steps without packages, to be quick."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.domain.pipeline import Pipeline, Run
from edgeferry.errors import DefinitionError, UsageError
from tests.step_sources import COPY, COUNT

UV = str(Path(sys.executable).parent / "uv")
COMPONENT = """
type: command
name: {name}
inputs:
  given: {{type: {kind}}}
  word: {{type: string, default: hello}}
outputs:
  out: {{type: uri_folder}}
code: ../src
environment: {{image: python, conda_file: ../conda.yml}}
command: python {name}.py ${{{{inputs.given}}}} ${{{{outputs.out}}}} ${{{{inputs.word}}}}
"""
PIPELINE = """
type: pipeline
display_name: demo
inputs:
  data: {type: uri_folder, path: ./data}
  word: hello
jobs:
  copy:
    component: ./components/copy.yml
    inputs: {given: "${{parent.inputs.data}}", word: "${{parent.inputs.word}}"}
  count:
    component: ./components/count.yml
    inputs: {given: "${{parent.jobs.copy.outputs.out}}"}
"""


RECORDS = """
import json, sys
open(sys.argv[2], "w").write(json.dumps({"name": "demo", "version": "7", "run_id": "r"}))
"""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database: making one takes seconds."""
    folder = tmp_path_factory.mktemp("migrated")
    MlflowTracking(f"sqlite:///{folder}/mlflow.db", folder / "artifacts", folder).prepare("none")
    return folder / "mlflow.db"


class Place:
    """A model folder with two small steps, and a runner with a state of its own."""

    def __init__(self, folder: Path, migrated: Path) -> None:
        self.model = folder / "models" / "demo"
        self.state = folder / "state"
        self.said: list[str] = []
        for name in ("components", "src", "data"):
            (self.model / name).mkdir(parents=True)
        self.write("model.yaml", "prediction_column: total")
        self.write("pipeline.yml", PIPELINE)
        self.write("components/copy.yml", COMPONENT.format(name="copy", kind="uri_folder"))
        self.write("components/count.yml", COMPONENT.format(name="count", kind="uri_folder"))
        self.write("src/copy.py", COPY)
        self.write("src/count.py", COUNT)
        self.write("data/a.txt", "four")
        self.write("conda.yml", "dependencies: [python, pip]")
        self.state.mkdir()
        shutil.copy(migrated, self.state / "mlflow.db")
        self.tracking = MlflowTracking(
            f"sqlite:///{self.state}/mlflow.db", self.state / "artifacts", self.state / "downloads"
        )
        self.runner = LocalRunner(self.state, self.tracking, UV, self.said.append)

    def write(self, name: str, text: str) -> None:
        (self.model / name).write_text(textwrap.dedent(text), "utf-8")

    def pipeline(self) -> Pipeline:
        project = ProjectFolder(self.model.parents[1])
        return project.load_pipeline(project.load_model("demo"))

    def run(self, **inputs: str) -> Run:
        return self.runner.run(self.pipeline(), inputs, lambda _: None)

    def states(self, **inputs: str) -> list[str]:
        return [step.state for step in self.run(**inputs).steps]


@pytest.fixture
def place(tmp_path: Path, migrated: Path) -> Place:
    return Place(tmp_path, migrated)


def test_steps_run_in_order_and_hand_on_their_outputs(place: Place) -> None:
    run = place.run()
    assert [(step.name, step.state) for step in run.steps] == [("copy", "ran"), ("count", "ran")]
    assert (Path(run.steps[1].outputs["out"]) / "total.txt").read_text() == "4"
    assert Path(run.steps[0].log).read_text() == "copied with hello\n"
    assert run.registered is None
    assert len(place.said) == 1


def test_the_same_again_runs_nothing(place: Place) -> None:
    first = place.run()
    again = place.run()
    assert [step.state for step in again.steps] == ["reused", "reused"]
    assert [step.outputs for step in again.steps] == [step.outputs for step in first.steps]


@pytest.mark.parametrize(
    ("change", "states"),
    [
        pytest.param(lambda p: p.write("data/a.txt", "other"), ["ran", "ran"], id="data of the same name"),
        pytest.param(lambda p: p.write("data/b.txt", "more"), ["ran", "ran"], id="another data file"),
        pytest.param(lambda p: p.write("src/copy.py", COPY + "#"), ["ran", "ran"], id="code of both"),
        pytest.param(
            lambda p: p.write("components/count.yml", COMPONENT.format(name="count", kind="mlflow_model")),
            ["reused", "reused"],
            id="a type that changes no byte",
        ),
        pytest.param(
            lambda p: p.write(
                "components/count.yml",
                COMPONENT.format(name="count", kind="uri_folder") + "environment_variables: {A: b}",
            ),
            ["reused", "ran"],
            id="a variable of the second step",
        ),
        pytest.param(
            lambda p: p.write("README.md", "hello"), ["reused", "reused"], id="a file beside the code"
        ),
        pytest.param(
            lambda p: (p.model / "src/__pycache__").mkdir() or p.write("src/__pycache__/x.pyc", ""),
            ["reused", "reused"],
            id="bytecode",
        ),
        pytest.param(
            lambda p: p.write("pipeline.yml", PIPELINE + "settings: {force_rerun: true}"),
            ["ran", "ran"],
            id="a wish to run all again",
        ),
        pytest.param(
            lambda p: p.write(
                "components/copy.yml",
                COMPONENT.format(name="copy", kind="uri_folder") + "is_deterministic: false",
            ),
            ["ran", "reused"],
            id="a step that is never the same, with the same output",
        ),
    ],
)
def test_only_what_a_change_reaches_runs_again(
    place: Place, change: Callable[[Place], None], states: list[str]
) -> None:
    place.run()
    change(place)
    assert place.states() == states


def test_an_override_runs_what_it_reaches_and_the_old_value_is_still_kept(place: Place) -> None:
    place.run()
    assert place.states(word="bye") == ["ran", "reused"]
    assert place.states() == ["reused", "reused"]


def test_an_output_that_somebody_changed_is_not_taken_over(place: Place) -> None:
    kept = Path(place.run().steps[1].outputs["out"]) / "total.txt"
    kept.chmod(0o644)
    kept.write_text("5")
    run = place.run()
    assert [step.state for step in run.steps] == ["reused", "ran"]
    assert (Path(run.steps[1].outputs["out"]) / "total.txt").read_text() == "4"


def test_other_packages_in_the_environment_run_everything_again(place: Place) -> None:
    place.run()
    place.write("conda.yml", "dependencies: [python, {pip: [six==1.17.0]}]")
    assert place.states() == ["ran", "ran"]
    python = place.runner.python_of(place.pipeline())
    version = subprocess.run(
        [python, "-c", "import six; print(six.__version__)"], capture_output=True, text=True
    )
    assert version.stdout == "1.17.0\n"


def test_a_failed_step_ends_the_run_with_its_status_and_log(place: Place) -> None:
    place.write("src/copy.py", "print('before')\nraise SystemExit('the data is odd')")
    run = place.run()
    failed = run.failed
    assert failed is not None
    assert [step.name for step in run.steps] == ["copy"]
    assert failed.reason == "ended with exit status 1"
    assert Path(failed.log).read_text() == "before\nthe data is odd\n"
    place.write("src/copy.py", COPY)
    assert place.states() == ["ran", "ran"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(
            "no-such-program ${{inputs.given}}", "could not start no-such-program", id="no such program"
        ),
        pytest.param("kill -9 $$", "was ended by SIGKILL", id="killed"),
        pytest.param("rmdir ${{outputs.out}}", "did not write its output `out`", id="no output"),
    ],
)
def test_a_failure_says_what_happened(place: Place, command: str, reason: str) -> None:
    text = COMPONENT.format(name="copy", kind="uri_folder")
    place.write("components/copy.yml", text[: text.index("command:")] + f"command: {command}\n")
    failed = place.run().failed
    assert failed is not None
    assert reason in failed.reason


def test_two_runs_at_once_share_the_work(place: Place, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    place.write("src/copy.py", COPY + f"import time; open({str(ran)!r}, 'a').write('x'); time.sleep(0.1)")
    pipeline = place.pipeline()
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: place.runner.run(pipeline, {}, lambda _: None), range(2)))
    assert ran.read_text() == "x"
    assert sorted(run.steps[0].state for run in runs) == ["ran", "reused"]


def test_steps_see_the_registry_of_models_and_none_of_our_secrets(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFERRY_REGISTRY__PASSWORD", "secret")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MY_TOKEN", "mine")
    place.write("src/copy.py", "import json, os\nprint(json.dumps(dict(os.environ)))")
    seen = json.loads(Path(place.run().steps[0].log).read_text())
    assert seen["MLFLOW_TRACKING_URI"] == place.tracking.uri
    assert seen["MLFLOW_EXPERIMENT_NAME"] == "demo"
    assert seen["MY_TOKEN"] == "mine"
    assert "EDGEFERRY_REGISTRY__PASSWORD" not in seen
    assert "PYTHONDONTWRITEBYTECODE" not in seen


def test_a_step_works_on_a_copy_of_its_code(place: Place) -> None:
    place.write("src/copy.py", COPY + "open('left-behind.txt', 'w').close()")
    place.run()
    assert not (place.model / "src/left-behind.txt").exists()


def test_a_step_sees_the_files_that_azure_ml_would_be_sent_and_no_other(place: Place) -> None:
    place.write("src/.amlignore", "*.csv\n.amlignore\n")
    for name in ("src/deep", "src/.venv"):
        (place.model / name).mkdir()
    for name in ("src/rows.csv", "src/hub.pem", "src/deep/tool.sh", "src/.venv/x.py"):
        place.write(name, "x")
    (place.model / "src/deep/tool.sh").chmod(0o755)
    seen = "[(f.as_posix(), f.stat().st_mode & 0o111) for f in pathlib.Path('.').rglob('*') if f.is_file()]"
    place.write("src/copy.py", f"import pathlib, sys\nprint(sorted({seen}))")
    step = place.run().steps[0]
    last = Path(step.log).read_text().splitlines()[-1]
    assert last == "[('copy.py', 0), ('count.py', 0), ('deep/tool.sh', 73)]"
    place.write("src/rows.csv", "other")
    assert place.states()[0] == "reused"
    place.write("src/deep/tool.sh", "other")
    assert place.states()[0] == "ran"


def test_an_input_that_is_not_here_is_refused_before_anything_runs(place: Place) -> None:
    with pytest.raises(UsageError, match="no folder on this machine"):
        place.run(data="/nowhere")
    assert not (place.state / "steps").exists()


def test_packages_that_do_not_exist_are_refused_at_the_conda_file(place: Place) -> None:
    place.write("conda.yml", "dependencies: [{pip: [six==0.0.1]}]")
    with pytest.raises(DefinitionError, match=r"conda\.yml:1: these packages cannot be installed"):
        place.run()


def test_a_python_that_is_not_here_is_replaced_aloud(place: Place) -> None:
    place.write("conda.yml", "dependencies: [python=3.3]")
    assert place.states() == ["ran", "ran"]
    assert "wants Python 3.3, which is not here" in place.said[0]


def test_a_registering_step_that_recorded_nothing_has_failed(place: Place) -> None:
    place.write(
        "components/count.yml",
        COMPONENT.format(name="count", kind="uri_folder").replace(
            "out: {type: uri_folder}", "out: {type: uri_file}"
        ),
    )
    place.write("src/count.py", "import sys; open(sys.argv[2], 'w').write('{}')")
    tail = '    outputs: {out: "${{parent.outputs.registered}}"}\noutputs: {registered: {type: uri_file}}\n'
    place.write("pipeline.yml", PIPELINE + tail)
    failed = place.run().failed
    assert failed is not None
    assert "recorded no model version" in failed.reason


def test_what_was_trained_from_the_files_as_they_are_is_told_without_running_anything(place: Place) -> None:
    """One step that records a version: the registry of models is not asked for it."""
    out = "  registered: {type: uri_file}"
    component = COMPONENT.format(name="copy", kind="uri_folder").replace("  out: {type: uri_folder}", out)
    place.write("components/copy.yml", component.replace("outputs.out", "outputs.registered"))
    bound = '{given: "${{parent.inputs.data}}"}\n    outputs: {registered: "${{parent.outputs.registered}}"}'
    head = PIPELINE.partition("  copy:")[0].replace(
        "  word: hello\n", "  word: hello\noutputs:\n" + out + "\n"
    )
    place.write("pipeline.yml", f"{head}  copy:\n    component: ./components/copy.yml\n    inputs: {bound}\n")
    place.write("src/copy.py", RECORDS)
    assert place.runner.trained_version(place.pipeline()) is None, "nothing was trained here"
    assert place.states() == ["ran"]
    place.said.clear()
    assert place.runner.trained_version(place.pipeline()) == "7"
    place.write("data/a.txt", "other")
    assert place.runner.trained_version(place.pipeline()) == ""
    place.write("data/a.txt", "four")
    assert place.runner.trained_version(place.pipeline()) == "7"
    place.write("conda.yml", "dependencies: [python, pip, {pip: [nothing-of-that-name]}]")
    assert place.runner.trained_version(place.pipeline()) == "", "and no environment is made"
    assert place.said == []


def test_an_interrupt_ends_the_step_with_all_its_processes(place: Place, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    place.write(
        "src/copy.py",
        f"""
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(pids)!r} + ".new", "w").write(f"{{os.getpid()}} {{child.pid}}")
        os.rename({str(pids)!r} + ".new", {str(pids)!r})
        time.sleep(60)
        """,
    )
    script = f"""
from pathlib import Path
from edgeferry.adapters.project import ProjectFolder
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.tracking import MlflowTracking
state = Path({str(place.state)!r})
project = ProjectFolder(Path({str(place.model.parents[1])!r}))
tracking = MlflowTracking(f"sqlite:///{{state}}/mlflow.db", state / "a", state / "d")
pipeline = project.load_pipeline(project.load_model("demo"))
LocalRunner(state, tracking, {UV!r}, lambda _: None).run(pipeline, {{}}, lambda _: None)
"""
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as process:
        wait_for(pids.exists, 60)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert b"KeyboardInterrupt" in errors
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not runs(pid), 60)  # type: ignore[misc]
    assert not list((place.state / "steps").glob("*.running"))


def wait_for(fact: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether the process lives; one that ended but was not collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
