"""Which names are one person, by their keys. Pure.

One key is one person, by whatever names it signs; a name in other letters is the same name; who has several
keys is one person with each of them. A platform knows people by their logins, which sign nothing: a login
without a key here, `ann@example.org`, is taken for the `ann` who has one. Taking two for one can only shut a
gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class People:
    """Who is who."""

    _first: Mapping[str, str] = field(default_factory=dict)
    """By name in small letters the first of that person's names."""

    def id_of(self, name: str) -> str:
        """The same for all names of one person."""
        plain = name.casefold()
        if plain in self._first:
            return self._first[plain]
        return self._first.get(plain.partition("@")[0], plain)


def know_people(trusted: Mapping[str, Sequence[str]], signed: Iterable[tuple[str, str]] = ()) -> People:
    """Who is who by the keys that are `trusted`, by name, and by who `signed` with which key."""
    pairs = [(name.casefold(), key) for name, keys in trusted.items() for key in keys]
    pairs += [(name.casefold(), key) for name, key in signed if key]
    first: dict[str, str] = {}
    owner: dict[str, str] = {}
    for name, key in sorted(set(pairs)):
        mine, theirs = first.setdefault(name, name), owner.setdefault(key, first[name])
        one, other = min(mine, theirs), max(mine, theirs)
        for known in (first, owner):
            known.update({each: one for each, of in known.items() if of == other})
    return People(first)
