"""How an accelerator project serves its model: Dockerfile, requirements, `score.py`, sample request; and the
same for our server. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from edgeferry.domain.accelerator import Edit, Origin, Placed

_ARGUMENTS = {
    "model_folder": "the model layer is the folder that the pipeline registered",
    "model_registered_name": "the image says itself which model and version it is",
    "model_file_name": "as MODEL_FILE_NAME for score.py",
    "score_file": "score in model.yaml",
}
_GIVEN = {
    "AZUREML_MODEL_DIR": "the server sets it: the folder that the pipeline registered",
    "AZUREML_ENTRY_SCRIPT": "score in model.yaml",
    "MODEL_NAME": "the server sets it: the model's name",
    "MODEL_VERSION": "the server sets it",
}
_SERVER = frozenset(
    {
        "azureml-inference-server-http",
        "azureml-defaults",
        "azureml-core",
        "azureml-mlflow",
        "gunicorn",
        "flask",
    }
    | {"inference-schema", "applicationinsights", "mlflow", "mlflow-skinny"}
)
_HARMLESS = re.compile(r"pip\d?\s+install|python\d?\s+-m\s+pip|mkdir|chown|chmod|conda\s|rm\s|^\s*$")
_LOG_FOLDER = "/tmp/model-log"
DEFAULT_MODEL_FILE = "model.pkl"


@dataclass
class Serving:
    """What the Dockerfile says, placed."""

    environment: dict[str, str] = field(default_factory=dict)
    """What `score.py` finds in its environment besides what the server sets."""
    placed: list[Placed] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)


def read_dockerfile(text: str, file: str, model: str, arguments: Mapping[str, str]) -> Serving:
    """The Dockerfile's instructions placed; `arguments`: what the pipelines in devops/ give it."""
    made = Serving()
    known: dict[str, str] = {}
    for number, word, rest in _instructions(text):
        origin = Origin(file, number)

        def keep(what: str, value: str, place: str, reason: str, origin: Origin = origin) -> None:
            made.placed.append(Placed(what, value, place, reason, origin))

        match word:
            case "FROM":
                keep("FROM", rest, "", "every model has our base, server and its own requirements")
            case "ARG":
                name, _, default = rest.partition("=")
                known[name.strip()] = arguments.get(name.strip(), default.strip().strip("\"'"))
                reason = _ARGUMENTS.get(name.strip(), "a build argument; nothing is built from this file")
                keep(f"ARG {name.strip()}", known[name.strip()], "", reason)
            case "ENV":
                for name, value in _pairs(rest):
                    _keep_variable(made, name, _fill(value, known), model, origin)
            case "EXPOSE":
                keep("EXPOSE", rest, "", "every model answers on 8080; the device reports the host's port")
            case "RUN" if not _HARMLESS.search(rest):
                problem = (
                    f"the image is made with `RUN {rest[:60]}`, and nothing is built from this file any more"
                )
                fix = (
                    f"if the model needs it, write models/{model}/Dockerfile: ARG BASE, FROM ${{BASE}}, and "
                    "this RUN in its exec form (docs/serving.md)"
                )
                made.edits.append(Edit(origin, problem, fix))
            case _:
                keep(word, rest[:60], "", "our server's image is made without a Dockerfile")
    return made


def _keep_variable(made: Serving, name: str, value: str, model: str, origin: Origin) -> None:
    place, reason = "", _GIVEN.get(name, "")
    if not reason:
        place, reason = f"models/{model}/serve/score.py", "set before the team's score.py is imported"
        if name == "MODEL_LOG_PATH":
            value, reason = (
                _LOG_FOLDER,
                "on devices only /tmp can be written; the server keeps captures itself",
            )
        if name == "MODEL_FILE_NAME":
            value = value or DEFAULT_MODEL_FILE
        made.environment[name] = value
    made.placed.append(Placed(f"ENV {name}", value, place, reason, origin))


def render_score(environment: Mapping[str, str], module: str) -> str:
    """The `score.py` that our server calls: it sets the environment, and hands over to the team's own."""
    lines = [
        '"""What the server calls: the team\'s own script, in the environment of its Dockerfile."""',
        "",
        "import os",
        "import sys",
        "",
        'sys.path.insert(0, os.path.join(os.path.dirname(__file__), "scoring"))',
        *(f"os.environ.setdefault({_quoted(name)}, {_quoted(value)})" for name, value in environment.items()),
        "",
        f"from {module} import init, run  # noqa: E402",
        "",
        '__all__ = ["init", "run"]',
    ]
    return "\n".join(lines) + "\n"


def port_requirements(text: str, file: str, imported: AbstractSet[str]) -> tuple[str, list[Placed]]:
    """The requirements of `score.py` without those of Azure ML's server that it does not import itself."""
    kept: list[str] = []
    placed: list[Placed] = []
    for number, line in enumerate(text.splitlines(), 1):
        name = re.sub(r"[-_.]+", "-", re.split(r"[\[=<>~!; ]", line.strip())[0]).lower()
        if (
            name in _SERVER
            and name.replace("-", "_") not in imported
            and name.partition("-")[0] not in imported
        ):
            placed.append(Placed(line.strip(), "", "", "our server answers instead", Origin(file, number)))
        else:
            kept.append(line)
    return "\n".join(kept).strip() + "\n", placed


def render_checks(sample: object, origin: Origin) -> tuple[str, list[Edit]]:
    """`smoke/checks.yml` with the sample request, whose answer nobody knows: asked twice, it is answered
    alike. An edit instead when it is no request."""
    rows = sample.get("data") if isinstance(sample, Mapping) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list | dict) for row in rows):
        fix = 'write {"data": [[…], …]}, rows of the model\'s columns in order, or no file at all'
        return "[]\n", [Edit(origin, "the sample request is no list of rows below `data`", fix)]
    body = json.dumps({"data": rows})
    return (
        "# The sample request. No answer to it was written down: `equal` with `expected` would check one\n"
        "# (docs/smoke.md); the held-out rows of each version have theirs.\n"
        "- same:\n"
        "    id: sample-request\n"
        "    requests:\n"
        f"      - {body}\n"
        f"      - {body}\n"
    ), []


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, instruction and the rest of it; comments are passed over, continued lines joined."""
    begun, number = "", 0
    for at, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#") or (not stripped and not begun):
            continue
        if not begun:
            number = at
        begun += stripped.removesuffix("\\").strip() + " "
        if not stripped.endswith("\\"):
            word, _, rest = begun.strip().partition(" ")
            yield number, word.upper(), rest.strip()
            begun = ""


def _pairs(rest: str) -> list[tuple[str, str]]:
    """`A=1 B="two words"`, or the old form `A 1`."""
    pairs = re.findall(r'(\w+)=("[^"]*"|\'[^\']*\'|\S*)', rest)
    if pairs:
        return [(name, value.strip("\"'")) for name, value in pairs]
    name, _, value = rest.partition(" ")
    return [(name, value.strip())]


def _fill(value: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], ""), value)


def _quoted(text: str) -> str:
    return json.dumps(text)
