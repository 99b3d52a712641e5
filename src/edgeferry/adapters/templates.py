"""What `edgeferry init` writes, rendered and carried forward by copier.

Every released version of the templates is a folder `templates/vN` of this package. copier wants them as a git
repository with tags, so one is made in a scratch folder whenever it is needed; what was written remembers its
version and the answers in `.edgeferry-template.yml`. copier runs as a process of its own: it costs half a
second to import, and changes the working folder while it works.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from edgeferry.adapters.planting import plant
from edgeferry.errors import RefusedError, UsageError
from edgeferry.git import Git
from edgeferry.ports_projects import Carried, Part
from edgeferry.surroundings import child_environment

ANSWERS = ".edgeferry-template.yml"
TEMPLATES = Path(__file__).parents[1] / "templates"
_REPOSITORY = "edgeferry-templates"
"""The repository as answers files name it: a folder below the one in which copier runs."""
_MARK = b"<<<<<<< before updating"
_AS_US = {
    "GIT_AUTHOR_NAME": "edgeferry",
    "GIT_AUTHOR_EMAIL": "edgeferry@localhost",
    "GIT_COMMITTER_NAME": "edgeferry",
    "GIT_COMMITTER_EMAIL": "edgeferry@localhost",
    "GIT_LFS_SKIP_SMUDGE": "1",  # large files do not change here
}
_QUIETLY = ("-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false")


class CopierTemplates:
    """Implements the `Templates` port. `folder` holds the versions, `v1` and on."""

    def __init__(self, folder: Path = TEMPLATES) -> None:
        self._folder = folder

    def write(self, parts: Sequence[Part], project: Path) -> Sequence[str]:
        """The files of the newest version that were not in `project` yet; UsageError, nothing written, when
        some are there and hold something else."""
        with self._scratch() as scratch:
            new = scratch / "new"
            for part in parts:
                (scratch / "answers.yml").write_text(yaml.safe_dump(dict(part.answers)), "utf-8")
                asked = ("--vcs-ref", self._versions()[-1], "--data-file", "answers.yml")
                self._copier(scratch, "copy", *asked, _REPOSITORY, str(new / part.below))
                for name, given in part.files.items():
                    copy = new / part.below / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copytree(given, copy) if given.is_dir() else shutil.copyfile(given, copy)
            return plant(new, project)

    def answers(self, folder: Path) -> Mapping[str, Any]:
        """What the folder's answers file says; nothing when there is none, or it names others' templates."""
        return _read_answers(folder / ANSWERS)

    def carry(self, project: Path) -> Carried:
        """What is new in the templates, carried into the project and what was written from them in it; edits
        are kept. The files change all together or not at all.

        UsageError when the project is in no git repository, or differs from its last commit.
        """
        with self._scratch() as scratch:
            top = _find_clean_repository(project)
            clone = scratch / "project"
            _git(scratch).ask("clone", "--quiet", "--shared", str(top), str(clone))
            git = _git(clone)
            before = git.ask("rev-parse", "HEAD").decode().strip()
            inside = clone / project.resolve().relative_to(top)
            newest = self._versions()[-1]
            updated = []
            for answers in find_answers(inside):
                was = _read_version(answers)
                if was == newest:
                    continue
                if was not in self._versions():
                    raise UsageError(
                        f"{answers.relative_to(inside)} names {was or 'no'} template of edgeferry; this one "
                        f"has {', '.join(self._versions())}",
                        fix="use the edgeferry that wrote it or a newer one; delete the file to go without",
                    )
                self._copier(scratch, "update", "--conflict", "inline", str(answers.parent))
                git.ask("add", "--all")
                git.ask("commit", "--quiet", "--allow-empty", "--no-verify", "-m", "update")
                updated.append((answers.parent.relative_to(inside).as_posix(), was))
            names = _names(git.ask("diff", "--name-only", "-z", "--no-renames", before, "HEAD"))
            marked = [name for name in names if (clone / name).is_file() and _is_marked(clone / name)]
            patch = git.ask("diff", "--binary", "--full-index", "--no-renames", before, "HEAD")
            if patch:
                _apply(_git(top), patch)
            return Carried(tuple(updated), newest, _below(top, project, names), _below(top, project, marked))

    def _versions(self) -> list[str]:
        """The names of all versions, oldest first."""
        found = [path.name for path in self._folder.iterdir() if re.fullmatch(r"v[0-9]+", path.name)]
        return sorted(found, key=lambda name: int(name[1:]))

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder, gone afterwards, with all versions as a git repository, one tag each."""
        if importlib.util.find_spec("copier") is None:
            raise UsageError(
                "copier is not installed, which writes new projects and models",
                fix="pip install 'edgeferry[init]'",
            )
        with tempfile.TemporaryDirectory(prefix="edgeferry-") as made:
            scratch = Path(made).resolve()
            repository = scratch / _REPOSITORY
            repository.mkdir()
            git = _git(repository)
            git.ask("init", "--quiet")
            for version in self._versions():
                for old in repository.iterdir():
                    if old.name != ".git":
                        shutil.rmtree(old) if old.is_dir() else old.unlink()
                shutil.copytree(self._folder / version, repository, dirs_exist_ok=True)
                git.ask("add", "--all", "--force")
                git.ask("commit", "--quiet", "--no-verify", "-m", version)
                git.ask("tag", "--no-sign", version)
            yield scratch

    def _copier(self, scratch: Path, verb: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "copier", verb, "--defaults", "--quiet", "--answers-file", ANSWERS]
        variables = {k: v for k, v in child_environment().items() if not k.startswith("GIT_")}
        done = subprocess.run(
            [*command, *arguments], cwd=scratch, env={**variables, **_AS_US}, capture_output=True, check=False
        )
        if done.returncode:
            said = " ".join((done.stdout + done.stderr).decode("utf-8", "replace").split())
            raise RefusedError(f"copier {verb} failed: {said}", fix="nothing was written; see what it says")


def find_answers(project: Path) -> Sequence[Path]:
    """The answers files of the project and its models."""
    found = [project / ANSWERS, *sorted((project / "models").glob(f"*/{ANSWERS}"))]
    return [path for path in found if path.is_file()]


def _read_version(answers: Path) -> str:
    """The version of our templates that an answers file names; "" when it names none or others' templates."""
    return str(_read_answers(answers).get("_commit", ""))


def _read_answers(file: Path) -> Mapping[str, Any]:
    try:
        said = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, OSError):
        return {}
    return said if isinstance(said, dict) and said.get("_src_path") == _REPOSITORY else {}


def _find_clean_repository(project: Path) -> Path:
    """The top of the git repository around the project, which holds what its last commit holds."""
    found = _git(project).run("rev-parse", "--show-toplevel", "HEAD")
    if found.returncode:
        raise UsageError(
            f"{project} is in no git repository with a commit, so edits could not be told from the template",
            fix=f"cd {project} && git init && git add -A && git commit -m 'as it is'",
        )
    top = Path(found.stdout.decode().splitlines()[0]).resolve()
    changed = _names(_git(top).ask("status", "--porcelain", "--untracked-files=no", "-z", "--no-renames"))
    if changed:
        raise UsageError(
            f"files differ from the last commit: {', '.join(line[3:] for line in changed[:8])}",
            fix=f"cd {project} && git add -A && git commit, or git stash",
        )
    return top


def _apply(git: Git, patch: bytes) -> None:
    """The patch is in the working folder, or nothing of it: RefusedError then."""
    done = git.run("apply", "--whitespace=nowarn", stdin=patch)
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise RefusedError(
            f"the update does not fit the project's files: {said}",
            fix="nothing was changed; mend what git names, then try again",
        )


def _below(top: Path, project: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The repository's files as seen from the project."""
    return tuple((top / name).relative_to(project.resolve()).as_posix() for name in names)


def _is_marked(file: Path) -> bool:
    return any(line.rstrip() == _MARK for line in file.read_bytes().splitlines())


def _git(folder: Path) -> Git:
    return Git(folder, options=_QUIETLY, variables=_AS_US)


def _names(said: bytes) -> list[str]:
    """What git tells with `-z`."""
    return said.decode("utf-8", "surrogateescape").split("\0")[:-1]
