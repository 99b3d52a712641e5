"""Which of our own modules a program needs: what it imports, and what those import, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import edgeferry
from edgeferry.errors import EdgeferryError

_ROOT = Path(edgeferry.__file__).parent.parent


def load_closure(entry: str, root: Path = _ROOT) -> Mapping[str, bytes]:
    """The sources that running module `entry` needs, by path below `root`, the folder `edgeferry` stands in.

    Packages come with their `__init__`; EdgeferryError when this installation lacks the entry.
    """
    if _source(root, entry) is None:
        raise EdgeferryError(f"{entry} is not part of this installation", fix="install edgeferry anew")
    sources: dict[str, bytes] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        path = _source(root, module)
        if path is None or (name := path.relative_to(root).as_posix()) in sources:
            continue
        sources[name] = path.read_bytes()
        waiting.extend(_imported(sources[name]))
        waiting.append(module.rpartition(".")[0])
    return dict(sorted(sources.items()))


def _source(root: Path, module: str) -> Path | None:
    """The file of one of our modules or packages; None for anything else."""
    if module.split(".")[0] != "edgeferry":
        return None
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imported(source: bytes) -> Iterator[str]:
    """Every module the source may import, anywhere in it; `from a import b` may mean the module a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
