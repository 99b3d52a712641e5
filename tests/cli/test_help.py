"""What `--help` says of every command: an example that the command line reads, and the page that goes on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeferry.cli.main import lift_root_options
from edgeferry.cli.pages import PAGES, find_page
from tests.commands import ROOT

DOCS = Path(__file__).parents[2] / "docs"


def walk(command: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """The command and all below it, by their words."""
    yield " ".join(words), command
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from walk(below, *words, name)


COMMANDS = dict(walk(ROOT))


def examples(name: str) -> list[str]:
    """The lines of its help that show it as it is typed."""
    typed = f"edgeferry {name}".strip()
    text = re.sub(r"\[/?bold\]", "\n", COMMANDS[name].help)
    return re.findall(rf"{re.escape(typed)}(?![\w-]).*", re.sub(r'\$\((.*)\)"', r"\n\1\n", text))


def cut(example: str) -> list[str]:
    """The words of the command, without the sentence that it stands in."""
    words = shlex.split(example)
    end = next((place for place, word in enumerate(words) if word == "|" or word[-1] in ",;.:"), None)
    if end is None or words[end] == "|":
        return words[1:end]
    return [*words[1:end], words[end][:-1]]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example_and_the_command_line_reads_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examples(name)
    assert found, f"edgeferry {name} --help shows no example"
    if hasattr(COMMANDS[name], "commands"):
        return
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").touch()
    context = ROOT.make_context("edgeferry", lift_root_options(cut(found[0])))
    command = ROOT
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        word, command, rest = command.resolve_command(context, rest)
        context = command.make_context(word, rest, parent=context)
    assert command.name == name.split()[-1]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_every_help_ends_with_a_page_that_is_there(name: str) -> None:
    page = find_page(*name.split())
    assert (COMMANDS[name].epilog, (DOCS / page).is_file()) == (f"More: docs/{page}", True)


def test_no_page_is_for_a_command_that_is_none() -> None:
    assert set(PAGES) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_h_is_help_on_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ROOT.main([*name.split(), "-h"], prog_name="edgeferry", standalone_mode=False) == 0
    assert f"Usage: edgeferry {name}".strip() in " ".join(capsys.readouterr().out.split())
