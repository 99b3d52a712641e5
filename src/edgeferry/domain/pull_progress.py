"""How far a pull has come. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one pull has come, of what the engine has told so far; a layer's size is known once its
    download began."""

    bytes_done: int = 0
    bytes_known: int = 0
    bytes_unpacked: int = 0
    layers_done: int = 0
    layers: int = 0

    @property
    def moved(self) -> int:
        """Grows as long as anything comes or is unpacked."""
        return self.bytes_done + self.bytes_unpacked + self.layers_done

    @property
    def tenths(self) -> int:
        """How many tenths of the bytes that are known have come; 0 while none are."""
        return 10 * self.bytes_done // self.bytes_known if self.bytes_known else 0
