"""What an ONNX file says of its graph's inputs. Format: ModelProto of onnx.proto (ONNX 1.x; protobuf).

The file is read as far as that; no library is needed, and nothing of the graph is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_GRAPH = 7
_INITIALIZER, _INPUT = 5, 11
_TENSOR_NAME, _INPUT_NAME = 8, 1
_KINDS = {1: "float", 6: "int32", 7: "int64", 8: "string", 9: "bool", 10: "float16", 11: "double"}


@dataclass(frozen=True)
class GraphInput:
    """One input: its name, what its elements are, and its size along each axis, None where that is open."""

    name: str
    kind: str
    """`float`, `double`, `string`, … or a number of onnx.proto's; "" when it is no tensor."""
    shape: tuple[int | None, ...] | None
    """None when the file does not say, not even how many axes there are."""


def read_graph_inputs(body: bytes) -> tuple[GraphInput, ...]:
    """The inputs that are no constants of the graph, in order; ValueError when the body is no ONNX model."""
    graphs = [value for field, value in _fields(memoryview(body)) if field == _GRAPH]
    if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
        raise ValueError("it is no ONNX model")
    constants, inputs = set(), []
    for field, value in _fields(graphs[0]):
        if field == _INITIALIZER and isinstance(value, memoryview):
            constants.add(_text(value, _TENSOR_NAME))
        elif field == _INPUT and isinstance(value, memoryview):
            inputs.append(_read_input(value))
    return tuple(each for each in inputs if each.name not in constants)


def _read_input(body: memoryview) -> GraphInput:
    tensor = _inside(_inside(body, 2), 1)  # ValueInfoProto.type, TypeProto.tensor_type
    if tensor is None:
        return GraphInput(_text(body, _INPUT_NAME), "", None)
    kind = next((value for field, value in _fields(tensor) if field == 1 and isinstance(value, int)), 0)
    shape = _inside(tensor, 2)
    sizes = None
    if shape is not None:
        axes = [value for field, value in _fields(shape) if field == 1 and isinstance(value, memoryview)]
        sizes = tuple(_read_axis(axis) for axis in axes)
    return GraphInput(_text(body, _INPUT_NAME), _KINDS.get(kind, str(kind)), sizes)


def _read_axis(body: memoryview) -> int | None:
    """Its size; a name, 0 or nothing stands for any."""
    return next(
        (value or None for field, value in _fields(body) if field == 1 and isinstance(value, int)), None
    )


def _inside(body: memoryview | None, wanted: int) -> memoryview | None:
    for field, value in _fields(body) if body is not None else ():
        if field == wanted and isinstance(value, memoryview):
            return value
    return None


def _text(body: memoryview, wanted: int) -> str:
    found = _inside(body, wanted)
    return "" if found is None else bytes(found).decode("utf-8")


def _fields(body: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of a message: its number, and its value or what is inside of it."""
    place = 0
    while place < len(body):
        tag, place = _varint(body, place)
        field, kind = tag >> 3, tag & 7
        value: int | memoryview
        if kind == 0:
            value, place = _varint(body, place)
        elif kind in (1, 2, 5):
            size, place = _varint(body, place) if kind == 2 else (8 if kind == 1 else 4, place)
            value, place = body[place : place + size], place + size
        else:
            raise ValueError("it is no ONNX model")
        if place > len(body) or not field:
            raise ValueError("it is no whole ONNX model")
        yield field, value


def _varint(body: memoryview, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(body) and shift < 64:
        byte = body[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
    raise ValueError("it is no whole ONNX model")
