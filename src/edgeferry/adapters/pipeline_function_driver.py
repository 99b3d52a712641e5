"""Runs the scripts of an accelerator project that submit a pipeline, up to where they submit it, and writes
down the job. A program of its own: `python pipeline_function_driver.py REQUEST.json`, in a copy of it.

It is offline: what reaches for the network or starts a program is ended, by an audit hook. That guards
against accidents; code that wants to get around it can. Each script runs in a fork, so that none sees
another's globals.

REQUEST: {"scripts": [{"module", "values", "answer"}], "fill_in"}.
ANSWER: {"job"} or {"problem", "kind", "file", "line"}.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path.cwd().resolve()
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
_PROGRAMS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.spawn", "os.startfile")


class Submitted(BaseException):
    """The job is here; nothing of the script runs any more."""

    def __init__(self, job: Any, experiment: str) -> None:
        super().__init__()
        self.job = job
        self.experiment = experiment


class Refused(BaseException):
    """The script did what it may not do here."""

    def __init__(self, kind: str, problem: str, file: str, line: int) -> None:
        super().__init__(problem)
        self.kind, self.problem, self.file, self.line = kind, problem, file, line


refusals: list[Refused] = []
"""Of this process, which is one script's."""


class Stand:
    """Stands in for whatever of Azure a script asks for: each part of it is one, and carries a name."""

    def __init__(self, name: str = "", given: Any = None) -> None:
        self.__dict__["name"] = name
        self.__dict__["given"] = given

    def __getattr__(self, part: str) -> Any:
        if part.startswith("__"):
            raise AttributeError(part)
        found = getattr(self.given, part, None)
        return found if found is not None else Stand(self.name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        for each in (*arguments, *named.values()):
            if hasattr(each, "jobs") and hasattr(each, "settings"):
                raise Submitted(each, str(named.get("experiment_name") or ""))
        first = next(iter((*arguments, *named.values())), "")
        if isinstance(first, str):
            return Stand(first)
        return Stand(str(getattr(first, "name", "")), first)

    def __str__(self) -> str:
        return str(self.__dict__["name"])

    def __iter__(self) -> Any:
        return iter(())


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    logging.disable(logging.CRITICAL)
    import azure.ai.ml
    import azure.identity

    azure.ai.ml.MLClient = lambda *arguments, **named: Stand("workspace")
    for name in dir(azure.identity):
        if name.endswith("Credential"):
            setattr(azure.identity, name, lambda *arguments, **named: Stand("credential"))
    sys.path.insert(0, str(HERE))
    children = []
    for script in request["scripts"]:
        child = os.fork()
        if child:
            children.append(child)
            continue
        try:
            answer = run(script["module"], script["values"], request["fill_in"])
            Path(script["answer"]).write_text(json.dumps(answer), "utf-8")
        finally:
            os._exit(0)
    for child in children:
        os.waitpid(child, 0)


def run(module: str, values: dict[str, str], fill_in: str) -> dict[str, Any]:
    """The job that the script submits, or what came in between."""
    fill_options(values, fill_in)
    sys.addaudithook(refuse)
    sys.argv = [module]
    answer = attempt(module)
    if refusals:  # a bare `except:` may have kept it from us
        refused = refusals[0]
        return {"problem": refused.problem, "kind": refused.kind, "file": refused.file, "line": refused.line}
    return answer


def attempt(module: str) -> dict[str, Any]:
    """What came of running the script."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Submitted as submitted:
        return {"job": describe(submitted.job, submitted.experiment)}
    except BaseException as error:  # noqa: BLE001 - whatever a script of others raises is its answer
        file, line = placed(error)
        said = str(error).replace(f"{HERE}/", "").strip().splitlines()
        problem = f"{type(error).__name__}: {said[0] if said else ''}".rstrip(": ")
        return {"problem": problem, "kind": "error", "file": file, "line": line}
    return {
        "problem": "the script ended and submitted no pipeline job",
        "kind": "nothing",
        "file": "",
        "line": 0,
    }


def fill_options(values: dict[str, str], fill_in: str) -> None:
    """Every option that a script wants has a value: the configuration's, or one that says nobody gave it."""
    parse = argparse.ArgumentParser.parse_known_args

    def filled(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        given: list[str] = []
        for action in parser._actions:
            if action.nargs == 0 or isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
                continue
            value = values.get(action.dest)
            if value is None and not (action.required or not action.option_strings):
                continue
            if value is None or (action.type in (int, float) and not value.replace(".", "").isdigit()):
                value = "1" if action.type in (int, float) else fill_in + action.dest
            if action.choices and value not in map(str, action.choices):
                value = str(next(iter(action.choices)))
            given += [*action.option_strings[-1:], value]
        return parse(parser, given, namespace)

    argparse.ArgumentParser.parse_known_args = filled  # type: ignore[method-assign,assignment]


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: ends what reaches out."""
    if event in _NETWORK:
        kind, what = "network", next((str(each) for each in arguments if isinstance(each, str | tuple)), "")
    elif event in _PROGRAMS:
        kind, what = "program", str(arguments[0] if arguments else "")
    else:
        return
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_absolute() and file.is_relative_to(HERE):
            refusals.append(Refused(kind, what, file.relative_to(HERE).as_posix(), frame.f_lineno))
            raise refusals[-1]
        frame = frame.f_back
    if kind == "network":
        raise ConnectionRefusedError("there is no network here")


def placed(error: BaseException) -> tuple[str, int]:
    """The innermost line of the project that the error passed through."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(HERE):
        return Path(error.filename).relative_to(HERE).as_posix(), error.lineno or 1
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_absolute() and file.is_relative_to(HERE):
            return file.relative_to(HERE).as_posix(), frame.lineno or 1
    return "", 0


def describe(job: Any, experiment: str) -> dict[str, Any]:
    """The job as plain data; bindings as Azure ML writes them."""
    document = job._to_dict()
    steps = {}
    for name, step in document.get("jobs", {}).items():
        component = getattr(job.jobs[name], "component", None)
        file = Path(str(getattr(component, "_source_path", None) or "/")).resolve()
        steps[name] = {
            "component": file.relative_to(HERE).as_posix() if file.is_relative_to(HERE) else "",
            "inputs": {key: bound(value) for key, value in step.get("inputs", {}).items()},
            "outputs": {key: bound(value) for key, value in step.get("outputs", {}).items()},
            "environment_variables": step.get("environment_variables") or {},
        }
    settings = document.get("settings", {})
    return {
        "steps": steps,
        "inputs": {key: given(value) for key, value in document.get("inputs", {}).items()},
        "outputs": document.get("outputs", {}),
        "settings": {
            **settings,
            "default_compute": settings.get("default_compute") or document.get("compute"),
        },
        "display_name": document.get("display_name"),
        "description": document.get("description"),
        "experiment_name": experiment or document.get("experiment_name"),
        "tags": document.get("tags"),
    }


def bound(value: Any) -> Any:
    """A binding, which stands below `path` where it is more than a reference, or the literal."""
    return value.get("path", value) if isinstance(value, dict) else value


def given(value: Any) -> Any:
    """A pipeline input: a literal, or a path as it was written (the client puts `azureml:` before what is not
    there)."""
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        path = value["path"].removeprefix("azureml:")
        return {
            **value,
            "path": path if (HERE / path).exists() or ":" not in value["path"] else value["path"],
        }
    return value


if __name__ == "__main__":
    main()
