"""The docs stay true: every command and setting that exists is written down."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from edgeferry.domain.finding import RULES
from edgeferry.settings_table import SETTINGS
from tests.adapters.test_azure_agreement import NOTICED
from tests.commands import ROOT as COMMANDS
from tests.faults import FAULTS

ROOT = Path(__file__).parents[2]
PROSE = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def commands() -> list[str]:
    found = []
    for name, command in COMMANDS.commands.items():
        below = getattr(command, "commands", None)
        found += [f"{name} {inner}" for inner in below] if below else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_docs(command: str) -> None:
    assert f"edgeferry {command}" in PROSE


def test_every_option_in_the_docs_exists() -> None:
    """Of commands as they are printed, in lines of code and between backticks."""
    anywhere = {option for each in COMMANDS.params for option in each.opts} | {
        "--help",
        "--install-completion",
    }
    seen, wrong = 0, []
    for line in re.findall(
        r"^edgeferry .+$|(?<=`)edgeferry [^`]+(?=`)|(?<=\$\()edgeferry [^)]+(?=\))", PROSE, re.M
    ):
        words = line.partition(" #")[0].split()[1:]
        known, command = set(anywhere), COMMANDS
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
            known |= {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        options = re.findall(r"(?<![\w-])--[a-z0-9-]+", " ".join(words))
        seen += len(options)
        wrong += [f"{line}: {option}" for option in options if option not in known]
    assert seen > 50
    assert wrong == []


@pytest.mark.parametrize("setting", [setting.name for setting in SETTINGS])
def test_every_setting_is_in_the_docs(setting: str) -> None:
    assert f"`{setting}`" in (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_links_in_the_docs_lead_somewhere() -> None:
    dead = []
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            if not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert dead == []


def pure_modules() -> list[Path]:
    source = ROOT / "src" / "edgeferry"
    return sorted([*(source / "domain").glob("*.py"), *(source / "wire").glob("*.py")])


@pytest.mark.parametrize("path", pure_modules(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_pure_rooms_read_no_clock(path: Path) -> None:
    calls = [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "uuid4", "urandom")
    ]
    assert calls == []


def test_nothing_in_the_examples_imports_edgeferry() -> None:
    texts = {path: path.read_text("utf-8") for path in (ROOT / "examples").rglob("*.py")}
    assert texts
    assert [
        str(path) for path, text in texts.items() if re.search(r"^\s*(from|import) edgeferry", text, re.M)
    ] == []


def test_every_rule_of_validate_is_in_the_docs_as_it_is() -> None:
    page = (ROOT / "docs" / "validate.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning) \| (.+) \|$", page, re.M)
    assert rows == [(rule.name, rule.severity, rule.says) for rule in RULES.values()]


def test_every_fault_that_is_told_follows_a_rule() -> None:
    told = set()
    for path in (ROOT / "src" / "edgeferry").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Fault", "wrong"):
                told |= {each.value for each in node.args[:1] if isinstance(each, ast.Constant)}
    assert told & set(RULES)
    assert {name for name in told if re.fullmatch(r"[a-z-]+", str(name))} <= set(RULES)


def test_the_docs_count_the_seeded_faults_right() -> None:
    page = " ".join((ROOT / "docs" / "validate.md").read_text("utf-8").split())
    assert f"of {len(FAULTS)} seeded ones {len(NOTICED)}." in page
