"""Component files of an accelerator project, so that they run here: the team's own text but for the lines
that name places. Pure; lines are those of the file's own keys."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeferry.domain.accelerator import Origin, Placed
from edgeferry.domain.finding import Fault, Report
from edgeferry.domain.pipeline import REFERENCE, SHELL

RECORDER = "src.record_version"
"""The module that runs a registering step and notes what it registered."""
PREDICTIONS = "held_out_predictions"
"""The input that a registering step is given: the folder with the pipeline's predictions."""


@dataclass(frozen=True)
class Home:
    """Where a component was, and where it goes: paths below the two projects."""

    file: str
    place: str
    image: str
    conda: str
    """The conda file in the new project."""

    @property
    def origin(self) -> Origin:
        """The component in the old project."""
        return Origin(self.file)

    def relative(self, path: str) -> str:
        """A path of the new project, from the component's folder."""
        return posixpath.relpath(path or ".", posixpath.dirname(self.place))


@dataclass(frozen=True)
class Recording:
    """What the registering step must be told besides."""

    model_name: str
    """A literal, or `${{inputs.…}}`."""
    has_predictions: bool


def code_of(document: Mapping[str, object], file: str, report: Report) -> str:
    """The component's code folder, below the project; "" for the whole project. A fault when it leads out."""
    code = document.get("code")
    if code is None:
        return ""
    if not isinstance(code, str):
        report(Fault("wrong-value", "`code` is no text", "write `code: ./../../../`", ("code",)))
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(file), code))
    if path.startswith(("..", "/")) or ":" in code:
        fix = "name a folder of the project, such as ./../../../"
        report(Fault("outside-project", f"`code: {code}` leads out of the project", fix, ("code",)))
        return ""
    return "" if path == "." else path


def port_component(
    text: str,
    document: Mapping[str, object],
    lines: Mapping[str, int],
    home: Home,
    code: str,
    recording: Recording | None,
    report: Report,
) -> tuple[str, list[Placed]]:
    """The component's text at its new place; `lines`: of its top-level keys."""
    environment = [
        "environment:",
        f"  image: {home.image}",
        f"  conda_file: {home.relative(home.conda)}",
    ]
    blocks: dict[str, list[str]] = {"environment": environment}
    if document.get("code") is not None:
        blocks["code"] = [f"code: {home.relative(code)}"]
    placed = [
        Placed(key, _shown(document.get(key)), f"{home.place}: {key}", reason, Origin(home.file, lines[key]))
        for key, reason in (
            ("code", "the project; its .amlignore lets src/ through and nothing else"),
            ("environment", "an image and a conda file, which need no workspace to be known"),
        )
        if key in lines
    ]
    if recording:
        blocks |= _record(text, document, lines, recording, report)
        reason = f"{RECORDER} runs the team's command, then notes which version it registered"
        placed.append(
            Placed(
                "command", "", f"{home.place}: command", reason, Origin(home.file, lines.get("command", 0))
            )
        )
    return _replace(text, lines, blocks), placed


def retype(text: str, line: int, old: str, new: str) -> str:
    """The text with that line's type replaced: a folder is declared where a file is given, or the other way
    round, which Azure ML lets pass."""
    lines = text.splitlines()
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines) + "\n"


def _record(
    text: str, document: Mapping[str, object], lines: Mapping[str, int], recording: Recording, report: Report
) -> dict[str, list[str]]:
    """The registering step's `command`, with its new input and output."""
    command = " ".join(str(document.get("command", "")).split())
    if SHELL.search(REFERENCE.sub("", command)):
        fix = "write the command without | & ; < > ( ) $ ` * ?, or put them into a script of its own"
        report(Fault("unreadable-command", "the registering command needs a shell", fix, ("command",)))
        return {}
    before = [f"--model-name {recording.model_name}", "--registered ${{outputs.registered}}"]
    if recording.has_predictions:
        before.append(f"--predictions ${{{{inputs.{PREDICTIONS}}}}}")
    made = {
        "command": [
            "command: >-",
            f"  python -m {RECORDER}",
            *(f"  {each}" for each in before),
            f"  -- {command}",
        ]
    }
    added = {"outputs": {"registered": "uri_file"}}
    if recording.has_predictions:
        added["inputs"] = {PREDICTIONS: "uri_folder"}
    for section, ports in added.items():
        made[section] = _with_ports(text, document, lines, section, ports)
    return made


def _with_ports(
    text: str,
    document: Mapping[str, object],
    lines: Mapping[str, int],
    section: str,
    ports: Mapping[str, str],
) -> list[str]:
    """The section's lines with these ports first."""
    present = isinstance(document.get(section), dict) and bool(document[section])
    old = _block(text, lines, section)[1:] if present else []
    first = next((line for line in old if line.strip() and not line.lstrip().startswith("#")), "  x")
    indent = first[: len(first) - len(first.lstrip())]
    new = [line for name, kind in ports.items() for line in (f"{indent}{name}:", f"{indent}  type: {kind}")]
    return [f"{section}:", *new, *old]


def _block(text: str, lines: Mapping[str, int], key: str) -> list[str]:
    """The lines from the key to the next one."""
    every = text.splitlines()
    start, end = _extent(lines, key, len(every))
    return every[start:end]


def _extent(lines: Mapping[str, int], key: str, length: int) -> tuple[int, int]:
    start = lines[key] - 1
    return start, min([line - 1 for line in lines.values() if line - 1 > start], default=length)


def _replace(text: str, lines: Mapping[str, int], blocks: Mapping[str, list[str]]) -> str:
    """The text with the blocks of these keys replaced; those of new keys stand before `command`, else last.
    Comments between two keys stay."""
    every = text.splitlines()
    starts = {line - 1: key for key, line in lines.items()}
    made: list[str] = []
    added = [line for key, block in blocks.items() if key not in lines for line in block]
    skipping = False
    for number, line in enumerate(every):
        key = starts.get(number, "")
        if key:
            skipping = key in blocks
            if key == "command":
                made += added
                added = []
            if skipping:
                made += blocks[key]
        if not skipping or re.match(r"#|\s*$", line):
            made.append(line)
    return "\n".join([*made, *added]).rstrip() + "\n"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else ""
