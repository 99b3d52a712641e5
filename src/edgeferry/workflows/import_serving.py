"""How one model of an accelerator project is served, carried over: `score.py` behind our server, the sample
request as a smoke case."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from edgeferry.domain.accelerator import Edit, Entry, Origin, Placed
from edgeferry.domain.accelerator_serving import (
    port_requirements,
    read_dockerfile,
    render_checks,
    render_score,
)
from edgeferry.domain.accelerator_source import find_score_edits, read_source
from edgeferry.ports_projects import NewProject
from edgeferry.workflows.import_source import Ported, Source


def import_serving(
    source: Source, entry: Entry, saves: Sequence[Origin], target: NewProject, made: Ported
) -> str:
    """The path of `score.py` in the model's folder, "" when it has none; what serves it is in `target`.
    `saves`: where the model's steps save it in whatever format MLflow likes best."""
    folder, new = f"model/{entry.model}", f"models/{entry.model}"
    inside = source.below(folder)
    _port_sample(source, entry, inside, target, made)
    wanted = entry.get("SCORE_FILE_NAME")
    script = next(
        (file for file in inside if wanted and posixpath.basename(file) == posixpath.basename(wanted)), ""
    )
    if wanted and not script:
        problem = f"there is no {wanted} below {folder}/"
        fix = f"add {folder}/scoring/{wanted}, or take SCORE_FILE_NAME away: our server needs no score.py"
        raise source.refuse(entry.origin("SCORE_FILE_NAME"), problem, fix)
    environment = dict(source.template.environment)
    docker = next((file for file in inside if posixpath.basename(file).lower() == "dockerfile"), "")
    if docker:
        read = read_dockerfile(source.tree.text(docker), docker, entry.model, source.pipelines.arguments)
        environment = {**read.environment, **environment}
        made.placed += read.placed
        made.edits += read.edits
    if not script:
        return ""
    wants = environment.get("MODEL_FILE_NAME", "")
    if wants and not wants.endswith(".skops"):
        problem = f"MLflow 3 saves a model of scikit-learn as model.skops, and score.py opens {wants}"
        fix = 'add serialization_format="cloudpickle" to the call: then it is model.pkl'
        made.edits += [Edit(origin, problem, fix) for origin in saves]
    text = source.tree.text(script)
    stem = posixpath.basename(script).removesuffix(".py")
    reading, edit = read_source(text, script)
    made.edits += [edit] if edit else []
    home = posixpath.dirname(script)
    for file in inside:
        if file.startswith(f"{home}/") and (home != folder or file.endswith(".py")):
            target.copy(file, f"{new}/serve/scoring/{posixpath.relpath(file, home)}")
    target.write(f"{new}/serve/score.py", render_score(environment, f"scoring.{stem}"))
    made.edits += find_score_edits(text, f"{new}/serve/scoring/{posixpath.basename(script)}")
    reason = "as it is; serve/score.py sets its environment and hands over to it"
    made.placed.append(Placed("score.py", wanted, f"{new}/serve/scoring/", reason, Origin(script)))
    listed = next((file for file in inside if posixpath.basename(file) == "requirements.txt"), "")
    if listed:
        imported = reading.imports if reading else frozenset()
        kept, placed = port_requirements(source.tree.text(listed), listed, imported)
        target.write(f"{new}/serve/requirements.txt", kept)
        made.placed += placed
    return "serve/score.py"


def _port_sample(
    source: Source, entry: Entry, inside: Sequence[str], target: NewProject, made: Ported
) -> None:
    wanted = entry.get("TEST_FILE_PATH")
    if not wanted:
        return
    path = posixpath.normpath(posixpath.join(f"model/{entry.model}", wanted))
    found = next(
        (
            file
            for file in (path, *inside)
            if file in source.files and file.endswith(posixpath.basename(path))
        ),
        "",
    )
    if not found:
        fix = f"models/{entry.model}/smoke/checks.yml: write checks by hand (docs/smoke.md), or none"
        made.edits.append(Edit(entry.origin("TEST_FILE_PATH"), f"there is no sample request {path}", fix))
        return
    document = source.tree.document(found)
    text, edits = render_checks(document.content, Origin(found, 1))
    made.edits += edits
    if not edits:
        target.write(f"models/{entry.model}/smoke/checks.yml", text)
