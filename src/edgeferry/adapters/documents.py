"""YAML files: documents whose every key has a line.

YAML is composed first (nodes with marks), then built: a fault's key path leads through the nodes to its line.
Documents are read in YAML 1.1 by PyYAML's safe loader; a key written twice is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgeferry.domain.finding import At, Fault, Found, Report, place


@dataclass(frozen=True)
class Document:
    """What a file holds."""

    file: Path
    node: yaml.Node | None
    content: object

    def mapping(self, found: Found) -> dict[str, Any] | None:
        """The content when it is a mapping of names; else that is found, and there is none."""
        if isinstance(self.content, dict) and all(isinstance(key, str) for key in self.content):
            return self.content
        fix = "start with lines like `name: value`"
        self.reporting(found)(Fault("not-yaml", "this is not a mapping of names", fix))
        return None

    def reporting(self, found: Found) -> Report:
        """Tells `found` of each fault, with this file and the line of its key."""
        return lambda fault: found(place(fault, str(self.file), self.line(fault.key)))

    def line(self, key: At) -> int:
        """The line of `key`, or of the last part of it that is there; counted from 1."""
        node, line = self.node, 1
        for part in key:
            pair = None
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == part), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                pair = (node.value[part], node.value[part])
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        return line


def load_document(file: Path, found: Found) -> Document | None:
    """The file's document; when it cannot be read or is no YAML, that is found, and there is none."""

    def wrong(rule: str, problem: str, fix: str, line: int = 1) -> None:
        found(place(Fault(rule, problem, fix), str(file), line))

    try:
        loader = yaml.SafeLoader(file.read_text("utf-8"))
        try:
            node = loader.get_single_node()
            content = loader.construct_document(node) if node else {}
            twice = list(_twice(node)) if node else []
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        fix = "mind the indentation, colons and quotes around this line"
        wrong("not-yaml", f"not YAML: {error.problem or error.context}", fix, mark.line + 1 if mark else 1)
        return None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        wrong("not-yaml", f"not YAML: {error}", "save it as UTF-8 text")
        return None
    except OSError as error:
        wrong("missing-file", f"this cannot be read: {error.strerror}", "check the path and its rights")
        return None
    except (ValueError, AttributeError) as error:  # PyYAML lets through what Python says of such a value
        line = next(_unbuilt(node), 1) if node else 1
        wrong("not-yaml", f"a date or number that is none: {error}", "put it in quotes", line)
        return None
    except RecursionError:
        wrong("not-yaml", "nested without end", "take away the `*` that refers to what it stands in")
        return None
    for key in twice:
        problem, line = f"`{key.value}` stands here twice", key.start_mark.line + 1
        wrong("duplicate-key", problem, "keep one of them", line)
    return Document(file, node, content)


def _twice(node: yaml.Node) -> Iterator[yaml.Node]:
    """Keys that stand in their mapping before (YAML forbids it, PyYAML takes the last)."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _twice(child)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _twice(value)


def _unbuilt(node: yaml.Node) -> Iterator[int]:
    """The lines of scalars that look like a date or number, and are none."""
    if isinstance(node, yaml.ScalarNode):
        try:
            yaml.SafeLoader("").construct_document(node)
        except (ValueError, AttributeError):
            yield node.start_mark.line + 1
    else:
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                yield from _unbuilt(part)


def load_json(file: Path, found: Found) -> Document | None:
    """The same for a JSON file. Its lines come from the YAML parser too, JSON being YAML but for tabs."""
    try:
        text = file.read_text("utf-8-sig")
        content = json.loads(text)
    except json.JSONDecodeError as error:
        fault = Fault(
            "not-yaml", f"not JSON: {error.msg}", "mind commas, quotes and brackets before this place"
        )
        found(place(fault, str(file), error.lineno))
        return None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        fault = Fault("not-yaml", f"this cannot be read: {error}", "save it as UTF-8 text")
        found(place(fault, str(file), 1))
        return None
    node = yaml.compose(text.replace("\t", " "), yaml.SafeLoader)
    for key in list(_twice(node)) if node else []:
        fault = Fault("duplicate-key", f"`{key.value}` stands here twice", "keep one of them")
        found(place(fault, str(file), key.start_mark.line + 1))
    return Document(file, node, content)
