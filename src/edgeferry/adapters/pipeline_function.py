"""The pipelines of an accelerator project, made by its own Python: in a process of its own, offline."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeferry.errors import DefinitionError, UsageError

DRIVER = Path(__file__).with_name("pipeline_function_driver.py")
RECORDER = Path(__file__).with_name("record_version.py")
"""What goes into an imported project, beside its own sources."""
LIMIT_S = 180.0
"""For all scripts together; importing azure-ai-ml takes up to fifteen seconds."""
_KEPT = frozenset({".py", ".yml", ".yaml", ".json", ".txt", ".toml", ".cfg", ".ini"})
_LEFT = frozenset({".git", ".venv", "venv", "node_modules", "__pycache__", ".edgeferry"})
_MOST_BYTES = 1_000_000
_INHERITED = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")


class IsolatedFunctions:
    """Implements the `PipelineFunctions` port for the project in `root`."""

    def __init__(self, root: Path, limit_s: float = LIMIT_S, python: str = sys.executable) -> None:
        self._root = root
        self._limit_s = limit_s
        self._python = python

    def load(self, scripts: Mapping[str, Mapping[str, str]], fill_in: str) -> Mapping[str, Mapping[str, Any]]:
        """The job that each script submits, by the script's path below the project; `scripts`: the values of
        its options. An option without value gets `fill_in` and its name.

        UsageError where azure-ai-ml is missing; DefinitionError, with file and line, when a script fails,
        reaches for the network, starts a program, or does not end within the limit.
        """
        answers = self.ask(scripts, fill_in)
        return {script: self.read(script, answer) for script, answer in answers.items()}

    def ask(self, scripts: Mapping[str, Mapping[str, str]], fill_in: str) -> Mapping[str, Mapping[str, Any]]:
        """What came of each script: its `job`, or `problem`, `kind`, `file` and `line`."""
        if not _has_azure():
            raise _missing()
        with tempfile.TemporaryDirectory(prefix="edgeferry-import-") as scratch:
            copy, home = Path(scratch, "project"), Path(scratch, "home")
            home.mkdir()
            self._copy(copy)
            files = {script: home / f"{number}.json" for number, script in enumerate(scripts)}
            asked = [
                {"module": _module(script), "values": dict(values), "answer": str(files[script])}
                for script, values in scripts.items()
            ]
            request = home / "request.json"
            request.write_text(json.dumps({"scripts": asked, "fill_in": fill_in}), "utf-8")
            said = self._run(copy, home, request)
            if "No module named 'azure" in said:
                raise _missing()
            return {script: _answer(file, said) for script, file in files.items()}

    def read(self, script: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """The job; DefinitionError when the script has come to none."""
        if "job" in answer:
            job: Mapping[str, Any] = answer["job"]
            return job
        problem, fix = _explain(answer["kind"], answer["problem"])
        file = str(self._root / (answer["file"] or script))
        raise DefinitionError(problem, fix=fix, file=file, line=answer["line"] or 1)

    def _copy(self, copy: Path) -> None:
        def left_out(folder: str, names: list[str]) -> set[str]:
            return {name for name in names if name in _LEFT or not _is_wanted(Path(folder, name))}

        shutil.copytree(self._root, copy, ignore=left_out)

    def _run(self, copy: Path, home: Path, request: Path) -> str:
        """The last line of what the process said; it and all it started are gone."""
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [self._python, "-W", "ignore", str(DRIVER), str(request)],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            return f"did not end within {self._limit_s:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stderr:
                process.stderr.close()
        lines = said.strip().splitlines()
        return lines[-1] if lines else ""


def _has_azure() -> bool:
    try:
        return importlib.util.find_spec("azure.ai.ml") is not None
    except ModuleNotFoundError:
        return False


def _missing() -> UsageError:
    return UsageError(
        "azure-ai-ml is not installed, which the project's pipeline functions are made with",
        fix="pip install 'edgeferry[azure]'",
    )


def _answer(file: Path, said: str) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {"problem": said or "ended without a word", "kind": "ended", "file": "", "line": 0}
    return answer


def _explain(kind: str, problem: str) -> tuple[str, str]:
    if kind == "network":
        fix = "read it in a step, or behind the submission; a pipeline is imported without a network"
        return f"the pipeline function reaches for the network: {problem}", fix
    if kind == "program":
        fix = "do it in a step, or behind the submission"
        return f"the pipeline function starts a program: {problem}", fix
    if kind == "ended":
        fix = "let it come to jobs.create_or_update(…) without waiting for anything before"
        return f"the script {problem}", fix
    if kind == "nothing":
        fix = (
            "call client.jobs.create_or_update(pipeline_job) in the script, with the job that @pipeline made"
        )
        return problem, fix
    return f"the pipeline function fails: {problem}", "correct it: it must run as far as its submission"


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def _is_wanted(path: Path) -> bool:
    if path.is_symlink():  # it may lead anywhere, or in a circle
        return False
    if path.is_dir():
        return True
    return path.suffix.lower() in _KEPT and path.is_file() and path.stat().st_size <= _MOST_BYTES
