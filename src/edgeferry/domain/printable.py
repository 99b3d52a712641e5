"""Texts of others, so that a terminal shows them and obeys nothing in them. Pure."""

from __future__ import annotations


def escape_unprintable(text: str, keep: str = "") -> str:
    r"""The text with what has no shape of its own written as \u001b: orders to terminals, marks that turn
    its direction, halves of pairs. Characters in `keep` stay."""
    return "".join(one if one.isprintable() or one in keep else _escape(ord(one)) for one in text)


def _escape(number: int) -> str:
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
