"""What a step's Python source shows: results that depend on the order of a folder, and interfaces of MLflow
that Azure ML's server lacks. Pure; a reading by form, which cannot follow values from function to function.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from edgeferry.domain.finding import Fault

_LISTINGS = frozenset({"os.listdir", "os.scandir", "glob.glob", "glob.iglob"})
_METHODS = frozenset({"glob", "rglob", "iterdir"})
_SETTLED = frozenset(
    [
        "sorted",
        "set",
        "frozenset",
        "len",
        "sum",
        "min",
        "max",
        "any",
        "all",
        "bool",
        "collections.Counter",
        "natsort.natsorted",
        "numpy.sort",
    ]
)
"""What gives the same whatever the order of its argument."""
_PASSED_ON = frozenset(
    ["list", "tuple", "iter", "filter", "map", "itertools.chain", "itertools.chain.from_iterable"]
)
"""What keeps the order of its argument, so that what is around it decides."""
_EACH_ALONE = frozenset(
    [
        "unlink",
        "rmdir",
        "rmtree",
        "remove",
        "chmod",
        "touch",
        "copy",
        "copy2",
        "copyfile",
        "copytree",
        "move",
        "add",
        "discard",
        "update",
        "log_artifact",
        "log_artifacts",
    ]
)
"""What may be done to files one by one in any order."""
_Functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module


@dataclass(frozen=True)
class SourceFault:
    """A fault at a line of a source file."""

    line: int
    fault: Fault


def find_source_faults(source: str) -> tuple[SourceFault, ...]:
    """The faults of one Python file's text, by line."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        fix = "correct it, or keep it out of the code"
        return (SourceFault(line, Fault("not-python", "Python cannot read this file", fix)),)
    reading = _Reading(
        _imported(tree), {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    )
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    found = [SourceFault(call.lineno, fault) for call in calls if (fault := reading.judge(call))]
    return tuple(sorted(found, key=lambda each: each.line))


@dataclass(frozen=True)
class _Reading:
    imported: Mapping[str, str]
    """What a name of the file stands for, dotted."""
    parents: Mapping[ast.AST, ast.AST]

    def judge(self, call: ast.Call) -> Fault | None:
        name = self.dotted(call.func)
        if self._lists(call, name):
            if self._settled(call):
                return None
            shown = name.rpartition(".")[2] if name in _LISTINGS else getattr(call.func, "attr", name)
            problem = f"`{shown}` gives files in whatever order the machine lists them"
            return Fault("directory-order", problem, "put `sorted(…)` around it")
        if name.startswith("mlflow.") and name.endswith((".log_model", ".autolog")):
            return _judge_logging(call, name)
        return None

    def dotted(self, node: ast.expr) -> str:
        """The full name of what is called: `from os import listdir as ls` makes `ls` "os.listdir"."""
        if isinstance(node, ast.Name):
            return self.imported.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.dotted(node.value)
            return f"{before}.{node.attr}" if before else ""
        return ""

    def _lists(self, call: ast.Call, name: str) -> bool:
        if name in _LISTINGS:
            return True
        is_method = isinstance(call.func, ast.Attribute) and call.func.attr in _METHODS
        return is_method and name.partition(".")[0] not in ("glob", "re")

    def _settled(self, node: ast.AST) -> bool:
        """Whether what is around a listing makes its order meaningless, or settles it."""
        parent = self.parents.get(node)
        match parent:
            case ast.Call():
                name = self.dotted(parent.func)
                return name in _SETTLED or (name in _PASSED_ON and self._settled(parent))
            case ast.comprehension():
                around = self.parents[parent]
                if isinstance(around, ast.SetComp):
                    return True
                return isinstance(around, ast.ListComp | ast.GeneratorExp) and self._settled(around)
            case ast.Starred() | ast.List() | ast.Tuple() | ast.BinOp() | ast.IfExp() | ast.NamedExpr():
                return self._settled(parent)
            case ast.Set() | ast.Compare():
                return True
            case ast.UnaryOp():
                return isinstance(parent.op, ast.Not)
            case ast.If() | ast.While() | ast.Assert():
                return True
            case ast.With() | ast.withitem():
                return self._settled_with(parent)
            case ast.For():
                return parent.iter is node and all(_each_alone(statement) for statement in parent.body)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return self._sorted_later(parent, name)
        return False

    def _settled_with(self, parent: ast.AST) -> bool:
        """`with os.scandir(folder) as entries:` is as good as its later use of `entries`."""
        item = parent if isinstance(parent, ast.withitem) else None
        if item is not None and isinstance(item.optional_vars, ast.Name):
            return self._sorted_later(item, item.optional_vars.id)
        return False

    def _sorted_later(self, node: ast.AST, name: str) -> bool:
        """Whether the function around `node` sorts the variable, or uses it only where no order matters."""
        around: ast.AST = node
        while not isinstance(around, _Functions):
            around = self.parents[around]
        uses = [
            use
            for use in ast.walk(around)
            if isinstance(use, ast.Name) and use.id == name and isinstance(use.ctx, ast.Load)
        ]
        return any(self._sorts(use) for use in uses) or (bool(uses) and all(map(self._settled, uses)))

    def _sorts(self, use: ast.Name) -> bool:
        parent = self.parents.get(use)
        if isinstance(parent, ast.Call):
            return self.dotted(parent.func) in ("sorted", "natsort.natsorted")
        return isinstance(parent, ast.Attribute) and parent.attr == "sort"


def _judge_logging(call: ast.Call, name: str) -> Fault | None:
    portable = "mlflow.<flavour>.save_model(folder), then mlflow.log_artifacts(folder, 'model')"
    if name.endswith(".log_model"):
        problem = f"`{name}` fails on Azure ML: its server has no logged models"
        return Fault("log-model", problem, f"use {portable}")
    for word in call.keywords:
        if word.arg == "log_models" and isinstance(word.value, ast.Constant) and word.value.value is False:
            return None
    problem = f"`{name}` logs models, which fails on Azure ML: its server has no logged models"
    return Fault("log-model", problem, f"add `log_models=False`, and use {portable}")


def _each_alone(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name))):
            return name in _EACH_ALONE
        case ast.If(body=body, orelse=otherwise):
            return all(map(_each_alone, [*body, *otherwise]))
        case ast.Pass() | ast.Continue():
            return True
    return False


def _imported(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names
