"""What a pickle would build, as plain values: nothing that it names is imported or called.

Formats: Python's pickle, protocols 0 to 5 (the opcodes are `pickletools`'), and joblib's (1.x), which puts
the bytes of arrays between them. Calls become `Made`, so that a model's attributes can be read.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass, field
from typing import Any

MOST_OPCODES = 3_000_000
"""A pickle with more is not read: it takes seconds."""
_LARGE = 2**60
"""Integers below have hashes of their own; a tuple's hash can take for ever: neither is a key here."""
_DONE = object()
_MARK = object()


@dataclass(frozen=True)
class Named:
    """A class or function that the pickle names; TypeError when it is named by what is no text."""

    module: str
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.module, str) or not isinstance(self.name, str):
            raise TypeError("a name is no text")


_WRAPPER = Named("joblib.numpy_pickle", "NumpyArrayWrapper")


@dataclass(eq=False)
class Made:
    """What a call would give: of what, with which arguments, and the state set on it."""

    of: Any
    arguments: Any
    state: Any = None
    items: list[Any] = field(default_factory=list)
    """What was appended to it, or set in it as pairs."""

    def attribute(self, name: str) -> Any:
        """What its state says of that name; None when it does not."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        return state.get(name) if isinstance(state, dict) else None


def read_state(body: bytes) -> Any:
    """The pickle's value; ValueError when it cannot be told, or the body is no pickle."""
    try:
        return _Reader(io.BytesIO(body)).read()
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is no pickle that can be read: {error!r}") from error


def read_texts(array: Any) -> tuple[str, ...] | None:
    """The texts in a list, or in an array of numpy's; None when it is no such thing."""
    if isinstance(array, Made) and isinstance(array.state, tuple) and len(array.state) == 5:
        array = array.state[4]
    if not isinstance(array, list) or not all(isinstance(value, str) for value in array):
        return None
    return tuple(array)


class _Reader:
    """One pickle, opcode by opcode."""

    def __init__(self, file: io.BytesIO, left: int = MOST_OPCODES) -> None:
        self.file = file
        self.end = file.getbuffer().nbytes
        self.left = left
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.file):
            self.left -= 1
            if self.left < 0:
                raise ValueError("it is too large to be looked through")
            if self._take(opcode, argument) is _DONE:
                return self.stack.pop()
        raise ValueError("it has no end")

    def _take(self, opcode: Any, argument: Any) -> Any:
        name, stack = opcode.name, self.stack
        match name:
            case "STOP":
                return _DONE
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._marked()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "GLOBAL":
                stack.append(Named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                module, attribute = self._pop(2)
                stack.append(Named(module, attribute))
            case _ if not self._collect(name) and not self._call(name, argument):
                if opcode.stack_before or len(opcode.stack_after) != 1 or opcode.arg is None:
                    raise ValueError(f"its opcode {name} cannot be read")
                stack.append(argument)
        return None

    def _collect(self, name: str) -> bool:
        """Lists, tuples, dicts and sets; whether it was one of them."""
        stack = self.stack
        match name:
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE" | "EMPTY_SET":
                empty = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
                stack.append(empty[name]())
            case "LIST" | "FROZENSET":
                stack.append(self._marked())
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "DICT":
                pairs = self._marked()
                stack.append({})
                _set(stack[-1], pairs)
            case "APPEND":
                (value,) = self._pop(1)
                _append(stack[-1], [value])
            case "APPENDS" | "ADDITEMS":
                values = self._marked()
                _append(stack[-1], values)
            case "SETITEM":
                pairs = self._pop(2)
                _set(stack[-1], pairs)
            case "SETITEMS":
                pairs = self._marked()
                _set(stack[-1], pairs)
            case _:
                return False
        return True

    def _call(self, name: str, argument: Any) -> bool:
        """What would be called; whether it was that."""
        stack = self.stack
        match name:
            case "REDUCE" | "NEWOBJ":
                of, arguments = self._pop(2)
                stack.append(Made(of, arguments))
            case "NEWOBJ_EX":
                of, arguments, named = self._pop(3)
                stack.append(Made(of, (arguments, named)))
            case "OBJ":
                of, *rest = self._marked()
                stack.append(Made(of, tuple(rest)))
            case "INST":
                stack.append(Made(Named(*argument.split(" ", 1)), tuple(self._marked())))
            case "BUILD":
                (state,) = self._pop(1)
                made = stack[-1]
                if isinstance(made, Made):
                    made.state = state
                    if _is_wrapper(made):
                        stack[-1] = self._read_array(made)
            case _:
                return False
        return True

    def _pop(self, count: int) -> list[Any]:
        values = self.stack[len(self.stack) - count :]
        if len(values) != count or any(value is _MARK for value in values):
            raise ValueError("its stack is too short")
        del self.stack[len(self.stack) - count :]
        return values

    def _marked(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:  # IndexError below the bottom
            place -= 1
            if place < 0:
                raise ValueError("its mark is missing")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def _read_array(self, wrapper: Made) -> Any:
        """The array that joblib wrote behind its wrapper; of numbers only where it ends."""
        dtype = wrapper.attribute("dtype")
        code = dtype.arguments[0]
        if code[0] == "O":
            nested = _Reader(self.file, self.left)
            array = nested.read()
            self.left = nested.left
            return array
        size = int(code[1:]) * (4 if code[0] == "U" else 1)
        shape = wrapper.attribute("shape")
        if size < 0 or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("its array has no shape")
        if wrapper.attribute("numpy_array_alignment_bytes") is not None:
            (padding,) = self.file.read(1)
            self.file.seek(padding, io.SEEK_CUR)
        for length in sorted(shape):  # 0 first
            size *= length
            if size > self.end - self.file.tell():
                raise ValueError("its array ends too early")
        self.file.seek(size, io.SEEK_CUR)
        return wrapper


def _is_wrapper(made: Made) -> bool:
    """Whether it is joblib's wrapper, made by its class or, as the old protocols do, by a function."""
    of = made.arguments[0] if isinstance(made.arguments, tuple) and made.arguments else None
    return _WRAPPER in (made.of, of)


def _append(to: Any, values: list[Any]) -> None:
    (to.items if isinstance(to, Made) else to).extend(values)


def _set(to: Any, pairs: list[Any]) -> None:
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if isinstance(to, Made):
            to.items.append((key, value))
        elif key is None or isinstance(key, str | bytes) or (isinstance(key, int) and abs(key) < _LARGE):
            to[key] = value
