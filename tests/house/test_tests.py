"""Tests can fail: each checks something, no check holds by itself, none is skipped for what CI has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted((ROOT / "tests").rglob("*.py"))
}
CHECKS = {"pytest.raises", "pytest.fail", "np.testing.assert_allclose"}
"""What checks besides `assert`, as it is called."""
SUCCESS_IS_THE_CHECK = {
    "tests/wire/test_mqtt.py::test_a_mutated_stream_is_refused_or_read_and_nothing_else",
    "tests/wire/test_mqtt.py::test_a_packet_with_a_broken_byte_never_crashes",
    "tests/wire/test_pickle_state.py::test_a_pickle_with_one_wrong_byte_is_read_or_an_error",
    "tests/wire/test_serving.py::test_any_json_is_either_rows_or_a_refusal",
    "tests/wire/test_mqtt.py::test_garbage_is_refused_and_never_crashes",
    "tests/wire/test_telemetry.py::test_no_document_crashes_the_reader",
    "tests/wire/test_topics.py::test_no_topic_crashes_a_parser",
    "tests/domain/test_given_sample.py::test_rows_of_named_columns_are_taken",
    "tests/domain/test_beginning.py::test_small_letters_digits_and_underscores_make_a_name",
    "tests/hub/test_mqtt.py::test_telemetry_is_acknowledged",
}
"""Tests of what raises where it is not as it must be, and says nothing where it is."""
SKIPPING = {
    *("pytest.skip", "pytest.xfail", "pytest.importorskip"),
    *("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"),
}
SKIPS = {
    "tests/azure/conftest.py": (1, "an Azure subscription"),
    "tests/device/test_capture_faults.py": (1, "a kernel that can stall a disk"),
    "tests/device/test_capture_writing.py": (1, "a file system that is written through memory"),
    "tests/e2e/test_1_journey.py": (1, "../shared"),
    "tests/infra/test_bicep.py": (1, "Microsoft's bicep"),
    "tests/iot_edge.py": (1, "../shared"),
    "tests/needs.py": (1, "what ./run sets up; CI fails"),
    "tests/sdk/test_clients.py": (2, "what a client of Microsoft's cannot do"),
    "tests/sdk/test_docs_hub.py": (1, "the ports that the page names"),
    "tests/workflows/test_ci.py": (2, "../shared"),
    "tests/workflows/test_ci_github.py": (1, "../shared"),
    "tests/workflows/test_fleet_cases.py": (1, "minutes"),
    "tests/workflows/test_train.py": (1, "../shared"),
    "tests/accelerator/test_import.py": (1, "../shared"),
    "tests/domain/test_accelerator_component.py": (1, "../shared"),
    "tests/domain/test_accelerator_conda.py": (1, "../shared"),
    "tests/domain/test_accelerator_config.py": (1, "../shared"),
    "tests/domain/test_accelerator_edge.py": (1, "../shared"),
}
"""Which files skip tests, how often, and for want of what; `tests/needs.py` is the way for all that ./run
sets up."""


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def calls(node: ast.AST) -> Iterator[ast.expr]:
    """What is called in it."""
    return (one.func for one in ast.walk(node) if isinstance(one, ast.Call))


def checks(node: ast.AST) -> bool:
    asserts = any(isinstance(one, ast.Assert) for one in ast.walk(node))
    return asserts or any(ast.unparse(one) in CHECKS for one in calls(node))


def find_idle(trees: dict[str, ast.Module]) -> set[str]:
    """Tests, as path::name, that neither check anything nor call a function or method of tests that does."""
    checking = {path: {one.name for one in functions(tree) if checks(one)} for path, tree in trees.items()}
    anywhere = set().union(*checking.values())
    found = set()
    for path, tree in trees.items():
        imports = (one for one in ast.walk(tree) if isinstance(one, ast.ImportFrom))
        ours = {name.name for one in imports if (one.module or "").startswith("tests") for name in one.names}
        known = checking[path] | ours & anywhere
        for one in functions(tree):
            helped = any(
                each.id in known if isinstance(each, ast.Name) else getattr(each, "attr", "") in anywhere
                for each in calls(one)
            )
            if one.name.startswith("test_") and not checks(one) and not helped:
                found.add(f"{path}::{one.name}")
    return found


def holds_always(test: ast.expr) -> bool:
    """Whether the check is true whatever was measured, as far as its text tells."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return bool(parts)
        case ast.GeneratorExp() | ast.Lambda() | ast.JoinedStr():
            return True
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(holds_always(part) for part in parts)
        case ast.Call(func=called) if ast.unparse(called) in ("json.dumps", "repr", "iter", "print"):
            return True
        case ast.Compare(left=ast.Call(func=ast.Name(id="len")), ops=[ast.GtE()], comparators=[least]):
            return ast.unparse(least) == "0"
    return False


def find_hollow(trees: dict[str, ast.Module]) -> list[str]:
    return [
        f"{path}:{one.lineno}: assert {ast.unparse(one.test)}"
        for path, tree in trees.items()
        for one in ast.walk(tree)
        if isinstance(one, ast.Assert) and holds_always(one.test)
    ]


def find_skips(trees: dict[str, ast.Module]) -> dict[str, int]:
    """How often each file has what skips a test or lets it fail, called or not."""
    found = {path: sum(map(skips, ast.walk(tree))) for path, tree in trees.items()}
    return {path: count for path, count in found.items() if count}


def skips(node: ast.AST) -> int:
    match node:
        case ast.Attribute():
            return ast.unparse(node) in SKIPPING
        case ast.ImportFrom(module="pytest", names=names):  # by which it would pass unseen
            return len({"skip", "xfail", "mark", "importorskip"} & {name.name for name in names})
        case ast.Import(names=names):
            return any(name.name == "pytest" and name.asname for name in names)
    return 0


def test_every_test_checks_something() -> None:
    assert find_idle(TREES) == SUCCESS_IS_THE_CHECK


def test_no_check_holds_by_itself() -> None:
    assert find_hollow(TREES) == []


def test_tests_are_skipped_for_want_of_what_nobody_sets_up_alone() -> None:
    assert find_skips(TREES) == {path: count for path, (count, _) in SKIPS.items()}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("@pytest.mark.skip\ndef test_a(): ...", 1, id="bare"),
        pytest.param("pytestmark = [pytest.mark.skip, pytest.mark.xfail()]", 2, id="a module"),
        pytest.param("pytest.param(1, marks=pytest.mark.xfail)", 1, id="a case"),
        pytest.param("def test_a():\n    pytest.skip('no')", 1, id="amid a test"),
        pytest.param("np = pytest.importorskip('numpy')", 1, id="an import"),
        pytest.param("from pytest import mark, skip\nskip('no')", 2, id="by other names"),
        pytest.param("import pytest as p\n@p.mark.skip\ndef test_a(): ...", 1, id="by another module's name"),
        pytest.param("@pytest.mark.parametrize('skip', [1])\ndef test_a(skip): ...", 0, id="no skip"),
    ],
)
def test_every_skip_is_found(text: str, count: int) -> None:
    assert find_skips({"tests/test_x.py": ast.parse(text)}) == ({"tests/test_x.py": count} if count else {})


@pytest.mark.parametrize(
    ("text", "idle", "hollow"),
    [
        pytest.param("def test_a():\n    render()", {"tests/test_x.py::test_a"}, 0, id="nothing is checked"),
        pytest.param("def test_a():\n    helper()\ndef helper():\n    assert x", set(), 0, id="by a helper"),
        pytest.param("def test_a():\n    with pytest.raises(E):\n        f()", set(), 0, id="by an error"),
        pytest.param("assert (x == 1, 'why')", set(), 1, id="a pair"),
        pytest.param("assert (one for one in x)", set(), 1, id="a generator"),
        pytest.param("assert x == 1 or 'why'", set(), 1, id="or a text"),
        pytest.param("assert x.isprintable() or json.dumps(x)", set(), 1, id="or what is never empty"),
        pytest.param("assert len(x) >= 0", set(), 1, id="no fewer than none"),
        pytest.param("assert x == 1 or y == 2", set(), 0, id="one of two"),
        pytest.param("assert all(one for one in x)", set(), 0, id="each"),
    ],
)
def test_what_cannot_fail_is_found(text: str, idle: set[str], hollow: int) -> None:
    trees = {"tests/test_x.py": ast.parse(text)}
    assert find_idle(trees) == idle
    assert len(find_hollow(trees)) == hollow
