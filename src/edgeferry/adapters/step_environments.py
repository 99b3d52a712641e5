"""The libraries that steps run in on this machine: virtual environments, made by uv, each named by what it
holds.

<hash>/   a virtual environment; edgeferry.lock, its exact versions, is written last
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgeferry.adapters.lock import locked
from edgeferry.domain.pipeline import StepEnvironment
from edgeferry.errors import DefinitionError, OutsideError
from edgeferry.surroundings import child_environment


class StepEnvironments:
    """Those in `folder`. `uv`: path of the uv program. `say`: a line for a person, before a long wait."""

    def __init__(self, folder: Path, uv: str, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._uv = uv
        self._say = say

    def settle(self, wanted: StepEnvironment) -> tuple[Path, str]:
        """The interpreter of the step environment, made when missing, and its exact versions as text."""
        place, base = self.place_of(wanted)
        python, lock = place / "bin" / "python", place / "edgeferry.lock"
        if not (lock.exists() and python.exists()):
            with locked(place.with_suffix(".lock")):
                if not (lock.exists() and python.exists()):
                    self._say(f"making the step environment of {wanted.conda_file} (once; a few seconds)")
                    self._make(wanted, base, place)
        return python, lock.read_text("utf-8")

    def place_of(self, wanted: StepEnvironment) -> tuple[Path, str]:
        """Where the environment is, once it is made, and the interpreter that it is made by."""
        base, version = self._interpreter(wanted)
        identity = json.dumps([version, sys.platform, wanted.requirements])
        return self._folder / hashlib.sha256(identity.encode()).hexdigest()[:16], base

    def _make(self, wanted: StepEnvironment, base: str, place: Path) -> None:
        """A virtual environment at `place`; edgeferry.lock goes in last and makes it count.

        Bytecode is not compiled here: steps write what they import, a third of the time of compiling all.
        """
        shutil.rmtree(place, ignore_errors=True)
        python = str(place / "bin" / "python")
        self._call_uv(wanted, "venv", "--quiet", "--python", base, str(place))
        if wanted.requirements:
            self._call_uv(wanted, "pip", "install", "--quiet", "--python", python, "--", *wanted.requirements)
        versions = self._call_uv(wanted, "pip", "freeze", "--quiet", "--python", python)
        interpreter = subprocess.run(
            [python, "-VV"], check=True, capture_output=True, text=True, env=child_environment()
        ).stdout.splitlines()[0]
        written = place / "edgeferry.lock.new"
        written.write_text(f"{interpreter}\n{versions}", "utf-8")
        written.rename(place / "edgeferry.lock")

    def _interpreter(self, wanted: StepEnvironment) -> tuple[str, str]:
        """An interpreter of the wanted version, and that version; else our own, said aloud."""
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        if wanted.python in ("", own):
            return sys.executable, own
        try:
            return self._call_uv(
                wanted, "python", "find", "--no-python-downloads", wanted.python
            ).strip(), wanted.python
        except OutsideError:
            self._say(f"{wanted.conda_file} wants Python {wanted.python}, which is not here; using {own}")
            return sys.executable, own

    def _call_uv(self, wanted: StepEnvironment, *arguments: str) -> str:
        """What uv prints; DefinitionError when the requirements cannot hold together, else OutsideError."""
        done = subprocess.run(
            [self._uv, "--no-progress", *arguments],
            cwd=Path(wanted.conda_file).parent,
            env={k: v for k, v in child_environment().items() if k != "VIRTUAL_ENV"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        reason = " ".join(done.stderr.split())
        if "No solution found" in reason or "Failed to parse" in reason:
            raise DefinitionError(
                f"these packages cannot be installed: {reason}",
                fix="correct the pip requirements",
                file=wanted.conda_file,
                line=1,
            )
        raise OutsideError(
            f"the step environment of {wanted.conda_file} could not be made: {reason or done.returncode}",
            fix="check that the package index (uv's configuration) can be reached",
            retryable=True,
        )
