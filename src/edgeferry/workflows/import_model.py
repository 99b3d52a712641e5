"""One model of an accelerator project, carried over: steps, pipeline, libraries, serving, smoke cases."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeferry.domain.accelerator import Edit, Entry, Origin, Placed
from edgeferry.domain.accelerator_component import Home, Recording, code_of, port_component, retype
from edgeferry.domain.accelerator_conda import port_conda
from edgeferry.domain.accelerator_config import choose_target
from edgeferry.domain.accelerator_pipeline import (
    Carried,
    Job,
    below,
    find_predictions,
    make_pipeline,
    model_name_of,
    sources_of,
)
from edgeferry.domain.accelerator_source import Reading, find_step_edits, read_source
from edgeferry.domain.fields import members
from edgeferry.domain.pipeline import FOLDERS, PATHS
from edgeferry.ports_projects import Located, NewProject
from edgeferry.wire.yaml_text import Map, Note, render_yaml, to_node
from edgeferry.workflows.import_serving import import_serving
from edgeferry.workflows.import_source import Ported, Source

_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
_MODULE = re.compile(r"python\d?\s+-m\s+([\w.]+)")
_COLUMN = "prediction"
_HELD_OUT = "predictions.csv"
_PER_MODEL = (
    "CONDA_PATH",
    "ENV_BASE_IMAGE_NAME",
    "EXPERIMENT_BASE_NAME",
    "MODEL_BASE_NAME",
    "SCORE_FILE_NAME",
)


@dataclass(frozen=True)
class _Step:
    """A step, and what its component and its Python say."""

    component: str
    document: Located
    code: str
    module: str
    reading: Reading | None

    @property
    def content(self) -> Mapping[str, Any]:
        return members(self.document.content)

    @property
    def folders(self) -> list[str]:
        """Its folder outputs."""
        outputs = members(self.content.get("outputs"))
        return [name for name, spec in outputs.items() if members(spec).get("type", "uri_folder") in FOLDERS]


@dataclass(frozen=True)
class _Move:
    """A model on its way: where it comes from, what is known of it, where it goes."""

    source: Source
    entry: Entry
    """The first of its entries, whose values count."""
    job: Job
    steps: Mapping[str, _Step]
    registering: str
    """The step that registers a version; "" without one."""
    predictions: tuple[str, str]
    """The step that predicts held-out rows, and its output with them; both "" without one."""
    target: NewProject
    made: Ported
    """What has become of it so far."""


def import_model(source: Source, entries: Sequence[Entry], job: Job, target: NewProject) -> Ported:
    """The model's folder is in `target`; `entries`: its entries, one an environment."""
    made = Ported()
    first = entries[0]
    _compare(entries, made)
    job = _without_compute(entries, job, made)
    steps = {name: _read_step(source, step, made) for name, step in job.steps.items()}
    registering = next((name for name in reversed(steps) if _reads(steps[name], "registers")), "")
    predicting = [name for name, step in steps.items() if _reads(step, "predicts")]
    predictions = find_predictions(job, predicting, lambda name: steps[name].folders)
    move = _Move(source, first, job, steps, registering, predictions, target, made)
    _port_steps(move)
    _port_pipeline(move)
    conda = _port_conda(move)
    saves = [
        Origin(step.module, line) for step in steps.values() if step.reading for line in step.reading.saves
    ]
    score = import_serving(source, first, saves, target, made)
    reading = steps[predictions[0]] if predictions[0] else None
    model = _describe(entries, made, job, reading, score)
    model |= {"description": job.description} if job.description else {}
    target.write(f"models/{first.model}/model.yaml", _yaml(model))
    source.say(f"{first.model}: {len(steps)} steps, {conda}")
    return made


def _reads(step: _Step, what: str) -> bool:
    return bool(step.reading and getattr(step.reading, what))


def _read_step(source: Source, step: Mapping[str, Any], made: Ported) -> _Step:
    component = step["component"]
    document = source.tree.document(component)
    content = members(document.content)
    code = code_of(content, component, source.reporting(component, document))
    match = _MODULE.search(str(content.get("command", "")))
    module = f"{match[1].replace('.', '/')}.py" if match else ""
    path = posixpath.normpath(posixpath.join(code, module)) if module else ""
    if path and path not in source.files:
        line = document.line(("command",))
        problem = f"the command runs {match[1] if match else ''}, and there is no {path}"
        raise source.refuse(Origin(component, line), problem, "add the file, or correct the command")
    reading = None
    if path:
        text = source.tree.text(path)
        reading, edit = read_source(text, path)
        made.edits += [edit] if edit else []
        made.edits += find_step_edits(text, path)
        made.folders.add(path.partition("/")[0])
    if code:
        made.folders.add(code.partition("/")[0])
    tops = {file.partition("/")[0] for file in source.files if "/" in file}
    made.folders |= (reading.imports if reading else frozenset()) & tops
    return _Step(component, document, code, path, reading)


def _port_steps(move: _Move) -> None:
    source, entry, job, made = move.source, move.entry, move.job, move.made
    done: set[str] = set()
    image = entry.get("ENV_BASE_IMAGE_NAME") or _IMAGE
    for name, step in move.steps.items():
        if step.component in done:
            continue
        done.add(step.component)
        recording = None
        if name == move.registering:
            if step.code:
                problem = f"the registering step runs in {step.code}, and has to run in the whole project"
                origin = Origin(step.component, step.document.line(("code",)))
                raise source.refuse(origin, problem, "write `code: ./../../../`, and the command from there")
            given, literal = model_name_of(job, name)
            made.registered = literal or entry.get("MODEL_BASE_NAME") or entry.model
            shown = f"${{{{inputs.{given}}}}}" if given else made.registered
            recording = Recording(shown, bool(move.predictions[0]))
        home = Home(
            step.component,
            _component_place(entry.model, step.component),
            image,
            f"models/{entry.model}/environment/conda.yml",
        )
        lines = {key: step.document.line((key,)) for key in step.content}
        text, placed = port_component(
            _with_given_types(move, source.tree.text(step.component), name, home),
            step.content,
            lines,
            home,
            step.code,
            recording,
            source.reporting(step.component, step.document),
        )
        move.target.write(home.place, text)
        made.placed += placed
    if not move.registering:
        problem = f"no step of {entry.model} registers a model version by mlflow.register_model"
        fix = "register the model in the last step: without a version nothing can be packaged"
        made.edits.append(Edit(job.origin, problem, fix))
        made.registered = entry.get("MODEL_BASE_NAME") or entry.model


def _with_given_types(move: _Move, text: str, name: str, home: Home) -> str:
    """The component's text, in which inputs are declared as what the steps before give."""
    step = move.steps[name]
    for input_, (giver, output) in sources_of(move.job.steps[name]).items():
        wanted = members(members(step.content.get("inputs")).get(input_)).get("type")
        given = members(members(move.steps[giver].content.get("outputs")).get(output)).get("type")
        if wanted in PATHS and given in PATHS and (wanted in FOLDERS) is not (given in FOLDERS):
            line = step.document.line(("inputs", input_, "type"))
            text = retype(text, line, wanted, given)
            place, origin = f"{home.place}: inputs.{input_}.type", Origin(step.component, line)
            move.made.placed.append(Placed(wanted, given, place, f"that is what {giver} gives", origin))
    return text


def _component_place(model: str, component: str) -> str:
    return f"models/{model}/components/{posixpath.basename(component)}"


def _port_pipeline(move: _Move) -> None:
    source, entry, job, made = move.source, move.entry, move.job, move.made
    folder = f"models/{entry.model}"
    data: dict[str, str] = {}

    def place_data(path: str) -> str | None:
        old = posixpath.normpath(path) if path else ""
        inside = source.below(old)
        if not (inside or old in source.files):
            return None
        mine = old.startswith(f"mlops/{entry.model}/")
        new = f"{folder}/{posixpath.relpath(old, f'mlops/{entry.model}')}" if mine else old
        for file in inside or [old]:
            data[file] = new + file.removeprefix(old)
        reason = "the pipeline's data, which --input replaces"
        made.placed.append(Placed("data", path, new, reason, job.origin))
        return posixpath.join(".", below(new, of=folder))

    carried = Carried(
        entry.model,
        move.registering,
        move.predictions,
        lambda component: "./" + below(_component_place(entry.model, component), of=folder),
        place_data,
    )
    document, placed, edits = make_pipeline(job, carried)
    for old, new in data.items():
        if not new.startswith(f"{folder}/") and old.partition("/")[0] in made.folders:
            continue  # goes along with the code
        move.target.copy(old, new)
    move.target.write(f"{folder}/pipeline.yml", _yaml(document))
    made.placed += placed
    made.edits += edits


def _port_conda(move: _Move) -> str:
    """A word about the conda file, which is in the move's target."""
    source, entry, made = move.source, move.entry, move.made
    file = posixpath.normpath(entry.get("CONDA_PATH") or f"mlops/{entry.model}/environment/conda.yml")
    if file not in source.files:
        origin = (
            entry.origin("CONDA_PATH") if entry.get("CONDA_PATH") else entry.origin("ML_MODEL_CONFIG_NAME")
        )
        raise source.refuse(origin, f"there is no conda file {file}", "add it, or correct CONDA_PATH")
    document = source.tree.document(file)
    dependencies = members(document.content).get("dependencies")
    if not isinstance(dependencies, list):
        line = document.line(("dependencies",))
        raise source.refuse(
            Origin(file, line), "`dependencies` is no list", "list python, pip and pip's packages"
        )
    imported = {name for step in move.steps.values() if step.reading for name in step.reading.imports}
    new = f"models/{entry.model}/environment/conda.yml"
    port = port_conda(source.tree.text(file), dependencies, document.line, imported, file, new)
    move.target.write(new, port.text)
    made.placed += port.placed
    made.edits += port.edits
    return f"{len(port.placed)} changes in conda.yml"


def _describe(
    entries: Sequence[Entry], made: Ported, job: Job, predicting: _Step | None, score: str
) -> dict[str, Any]:
    """The content of `model.yaml`."""
    first = entries[0]
    place = f"models/{first.model}/model.yaml"
    columns = predicting.reading.columns if predicting and predicting.reading else ()
    files = predicting.reading.files if predicting and predicting.reading else ()
    where = predicting.module if predicting else job.origin.file
    named = list(dict.fromkeys(name for name, _ in columns if "pred" in name.lower())) or [
        c for c, _ in columns
    ]
    column = named[0] if len(set(named)) == 1 else _COLUMN
    if len(set(named)) != 1:
        problem = (
            f"which column holds the predictions does not show ({', '.join(named) or 'none'} is written)"
        )
        fix = f"{place}: write its name as `prediction_column`, in place of {_COLUMN}"
        made.edits.append(Edit(Origin(where, columns[0][1] if columns else 1), problem, fix))
    names = list(dict.fromkeys(name for name, _ in files))
    if len(names) != 1:
        problem = (
            f"which file holds the predictions does not show ({', '.join(names) or 'no CSV'} is written)"
        )
        fix = f"let it write one CSV with the model's columns and {column}; {place}: name it in `held_out`"
        made.edits.append(Edit(Origin(where, files[0][1] if files else 1), problem, fix))
    for what, value, at, reason in (
        ("prediction_column", column, columns[:1], "the column that is given what the model predicts"),
        (
            "held_out",
            names[0] if names else _HELD_OUT,
            files[:1],
            "the file that the predictions are written to",
        ),
    ):
        line = at[0][1] if at else 0
        made.placed.append(Placed(what, value, f"{place}: {what}", reason, Origin(where, line)))
    target, edits = choose_target(entries)
    made.edits += edits
    model: dict[str, Any] = {
        "registered_model": made.registered,
        "model_artifact": "registered_model",
        "held_out": f"predictions/{names[0] if names else _HELD_OUT}",
        "prediction_column": column,
        "target_condition": target,
    }
    if score:
        model["score"] = score
    return model


def _compare(entries: Sequence[Entry], made: Ported) -> None:
    """An edit for each value of the model that differs between environments, of which a model has one."""
    for entry in entries[1:]:
        for key in _PER_MODEL:
            if entry.get(key) != entries[0].get(key):
                first, value = entries[0].environment, entries[0].get(key)
                problem = f"{key} of {entry.model} is another in {entry.environment} than in {first}"
                fix = f"it is {value!r} everywhere now; make it alike, or give the model another name"
                made.edits.append(Edit(entry.origin(key), problem, fix))


def _without_compute(entries: Sequence[Entry], job: Job, made: Ported) -> Job:
    """The job; where environments have clusters of their own it names none, since its own comes first."""
    if len({entry.get("CLUSTER_NAME") for entry in entries}) == 1:
        return job
    reason = "each environment has a cluster of its own, and the pipeline's would come first"
    value = str(job.settings.get("default_compute") or "")
    made.placed.append(Placed("default_compute", value, "environments/: azureml.compute", reason, job.origin))
    return replace(job, settings={**job.settings, "default_compute": None})


def _yaml(document: Mapping[str, Any]) -> str:
    node = to_node(document)
    assert isinstance(node, Map)
    head = Note("Imported; IMPORT.md says where each part comes from.")
    return render_yaml(Map((head, *node.entries)), {}, "")
